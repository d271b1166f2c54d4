-- What is learned: follow-up actions that somebody does or owes, and the figures of each week.

---------------------------------------------------------------------------------------------------------------
-- Follow-up actions: what was promised stands in the record for ever; whether it is done stands here
---------------------------------------------------------------------------------------------------------------

-- One row for each action of a closed incident. Its title stands in the record alone (`incident_lessons`), so that an erasure
-- there is an erasure. Its owner stands here too, to be found by an index; an erasure empties it.
CREATE TABLE follow_ups (
    incident_id  uuid NOT NULL REFERENCES incidents (id),
    position     integer NOT NULL CHECK (position BETWEEN 1 AND 50),
    owner        text CHECK (char_length(owner) BETWEEN 1 AND 500),
    due_at       timestamptz,
    state        text NOT NULL DEFAULT 'OPEN' CHECK (state IN ('OPEN', 'DONE', 'REOPENED')),
    marked_at    timestamptz,
    marked_by    uuid REFERENCES users (id),
    note         text CHECK (char_length(note) BETWEEN 1 AND 500),
    reminders    integer NOT NULL DEFAULT 0 CHECK (reminders >= 0),
    remind_at    timestamptz,
    PRIMARY KEY (incident_id, position),
    CHECK ((state = 'OPEN') = (marked_at IS NULL) AND (marked_at IS NULL) = (marked_by IS NULL)),
    CHECK (remind_at IS NULL OR (state <> 'DONE' AND due_at IS NOT NULL))
);
CREATE INDEX follow_ups_open ON follow_ups (due_at, incident_id, position) WHERE state <> 'DONE';
CREATE INDEX follow_ups_owner ON follow_ups (lower(owner), due_at) WHERE state <> 'DONE' AND owner IS NOT NULL;
CREATE INDEX follow_ups_done ON follow_ups (marked_at DESC) WHERE state = 'DONE';
CREATE INDEX follow_ups_reminder ON follow_ups (remind_at) WHERE remind_at IS NOT NULL;
CREATE INDEX follow_ups_marked_by ON follow_ups (marked_by) WHERE marked_by IS NOT NULL;

CREATE VIEW follow_up_list AS
SELECT f.incident_id, i.number AS incident_number, i.title AS incident_title, f.position,
       l.follow_up_actions -> (f.position - 1) ->> 'title' AS title, l.follow_up_actions -> (f.position - 1) ->> 'owner' AS owner,
       l.follow_up_actions -> (f.position - 1) ->> 'dueAt' AS due, f.due_at, f.state, f.marked_at, f.marked_by,
       u.name AS marked_by_name, f.note, f.reminders, f.remind_at, f.owner AS sought_owner
FROM follow_ups f JOIN incidents i ON i.id = f.incident_id
LEFT JOIN incident_lessons l ON l.incident_id = f.incident_id LEFT JOIN users u ON u.id = f.marked_by;

-- What was closed before. A day is over at its end in UTC, as in domain/follow_up.py; what PostgreSQL does not read as that does
-- (a day of a week of the year, say) has no date to be overdue by.
INSERT INTO follow_ups (incident_id, position, owner, due_at, remind_at)
SELECT incident_id, position, owner, due_at, due_at FROM (
    SELECT l.incident_id, a.position, a.action ->> 'owner' AS owner,
           CASE WHEN a.action ->> 'dueAt' ~ '^[1-8]\d{3}-\d\d-\d\d$'
                THEN ((a.action ->> 'dueAt')::date + 1)::timestamp AT TIME ZONE 'UTC'
                WHEN a.action ->> 'dueAt' ~ '^[1-8]\d{3}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?$'
                THEN (a.action ->> 'dueAt')::timestamp AT TIME ZONE 'UTC'
                WHEN a.action ->> 'dueAt' ~ '^[1-8]\d{3}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)$'
                THEN (a.action ->> 'dueAt')::timestamptz
           END AS due_at
    FROM incident_heads h JOIN incident_lessons l ON l.incident_id = h.incident_id,
         jsonb_array_elements(l.follow_up_actions) WITH ORDINALITY AS a (action, position)
    WHERE h.status = 'CLOSED' AND a.position <= 50
) known;

---------------------------------------------------------------------------------------------------------------
-- The figures of each week
---------------------------------------------------------------------------------------------------------------

-- Durations as a histogram: bucket n holds those of about 1.05^n seconds, so that percentiles of any period are a sum away.
CREATE TABLE learning_weeks (
    week       date NOT NULL CHECK (extract(isodow FROM week) = 1),
    measure    text NOT NULL CHECK (measure IN ('OPENED', 'CAME_BACK', 'ACKNOWLEDGED', 'RESOLVED', 'CAUSE')),
    scope      text NOT NULL CHECK (scope IN ('SEVERITY', 'SERVICE', 'CATEGORY')),
    name       text NOT NULL CHECK (char_length(name) <= 200),
    bucket     smallint NOT NULL CHECK (bucket >= 0),
    incidents  bigint NOT NULL CHECK (incidents > 0),
    seconds    double precision NOT NULL CHECK (seconds >= 0),
    PRIMARY KEY (scope, measure, week, name, bucket)
);
-- Which weeks were counted, and when. A week that is over for a day does not change any more.
CREATE TABLE learned_weeks (
    week        date PRIMARY KEY,
    counted_at  timestamptz NOT NULL
);
CREATE INDEX incident_heads_acknowledged ON incident_heads (acknowledged_at) WHERE acknowledged_at IS NOT NULL;
CREATE INDEX incident_heads_resolved ON incident_heads (resolved_at) WHERE resolved_at IS NOT NULL;
CREATE INDEX incident_root_causes_identified ON incident_root_causes (identified_at, root_cause_category);
CREATE INDEX incidents_came_back ON incidents (created_at, project_id, fingerprint) WHERE recurrence_of IS NOT NULL;

---------------------------------------------------------------------------------------------------------------
-- Rights of the application
---------------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT, UPDATE ON follow_ups TO tocsin_app;
GRANT SELECT ON follow_up_list TO tocsin_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON learning_weeks, learned_weeks TO tocsin_app;
