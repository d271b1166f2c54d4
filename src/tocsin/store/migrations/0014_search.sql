-- Finding incidents by what was said of them, and the lists that people come back to.
-- The indexes are over expressions, so that no second copy of a text exists: what is erased is not found any more. The queries
-- of store/sql/search.sql repeat the expressions word by word. 'simple': texts come in every language, and names stay whole.

CREATE INDEX incidents_words ON incidents USING gin
    (to_tsvector('simple', coalesce(title, '') || ' ' || coalesce(description, '')));
CREATE INDEX incident_root_causes_words ON incident_root_causes USING gin
    (to_tsvector('simple', coalesce(root_cause_summary, '') || ' ' || coalesce(remediation_steps, '')));
CREATE INDEX incident_resolution_words ON incident_resolution USING gin
    (to_tsvector('simple', coalesce(resolution_summary, '') || ' ' || coalesce(resolution_notes, '') || ' '
        || coalesce(impact_assessment, '') || ' ' || coalesce(lessons_learned, '')));
CREATE INDEX incident_closures_words ON incident_closures USING gin (to_tsvector('simple', coalesce(lessons_learned, '')));
CREATE INDEX incident_lifecycle_words ON incident_lifecycle USING gin
    (to_tsvector('simple', coalesce(personal ->> 'text', '') || ' ' || coalesce(personal ->> 'notes', '')))
    WHERE personal ? 'text' OR personal ? 'notes';

-- Lists of one service, one project, and of what somebody has.
CREATE INDEX incident_heads_service ON incident_heads (service, number DESC) WHERE service IS NOT NULL;
CREATE INDEX incident_heads_holder ON incident_heads (acknowledged_by, number DESC) WHERE acknowledged_by IS NOT NULL;
CREATE INDEX incidents_project ON incidents (project_id, number DESC) WHERE project_id IS NOT NULL;

-- A list that somebody named: its filters are the query of its address.
CREATE TABLE saved_views (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL REFERENCES users (id),
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    query       text NOT NULL CHECK (char_length(query) <= 2000),
    created_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX saved_views_name ON saved_views (user_id, lower(name));
GRANT SELECT, INSERT, UPDATE, DELETE ON saved_views TO tocsin_app;
