-- Incidents found by what was said of them. The expressions are those of the indexes in migration 0014, word by word.
-- The planner knows too little of words to choose the way (it takes making a tsvector for nearly free), so each way is a query.

-- name: look_back
-- Reads the newest incidents that a filter lets through, one by one: at once where nearly all of them have the words.
-- OFFSET 0 keeps the planner to one look for each of them: without it, it may read a whole table into a hash.
-- How many were looked at, the lowest of their numbers, whether an index can be asked, and those that have the words in a text.
WITH looked AS MATERIALIZED (
    SELECT h.incident_id, h.number FROM incident_heads h
    WHERE (%(statuses)s::text[] IS NULL OR h.status = ANY (%(statuses)s))
      AND (%(severities)s::text[] IS NULL OR h.current_severity = ANY (%(severities)s))
      AND (%(created_after)s::timestamptz IS NULL OR h.created_at >= %(created_after)s)
      AND (%(created_before)s::timestamptz IS NULL OR h.created_at < %(created_before)s)
      AND (%(service)s::text IS NULL OR h.service = %(service)s)
      AND (%(holder)s::uuid IS NULL OR h.acknowledged_by = %(holder)s)
      AND (%(project_id)s::bigint IS NULL OR h.number IN (SELECT number FROM incidents WHERE project_id = %(project_id)s))
      AND (%(before_number)s::bigint IS NULL OR h.number < %(before_number)s)
    ORDER BY h.number DESC LIMIT %(most)s
), has AS MATERIALIZED (
    SELECT l.incident_id, l.number FROM looked l WHERE EXISTS (
        SELECT FROM incidents i WHERE i.id = l.incident_id
          AND to_tsvector('simple', coalesce(i.title, '') || ' ' || coalesce(i.description, ''))
              @@ websearch_to_tsquery('simple', %(search)s) OFFSET 0)
    OR EXISTS (
        SELECT FROM incident_root_causes r WHERE r.incident_id = l.incident_id
          AND to_tsvector('simple', coalesce(r.root_cause_summary, '') || ' ' || coalesce(r.remediation_steps, ''))
              @@ websearch_to_tsquery('simple', %(search)s) OFFSET 0)
    OR EXISTS (
        SELECT FROM incident_resolution r WHERE r.incident_id = l.incident_id
          AND to_tsvector('simple', coalesce(r.resolution_summary, '') || ' ' || coalesce(r.resolution_notes, '') || ' '
                  || coalesce(r.impact_assessment, '') || ' ' || coalesce(r.lessons_learned, ''))
              @@ websearch_to_tsquery('simple', %(search)s) OFFSET 0)
    OR EXISTS (
        SELECT FROM incident_closures c WHERE c.incident_id = l.incident_id
          AND to_tsvector('simple', coalesce(c.lessons_learned, '')) @@ websearch_to_tsquery('simple', %(search)s) OFFSET 0)
    OR EXISTS (
        SELECT FROM incident_lifecycle e WHERE e.incident_id = l.incident_id AND (e.personal ? 'text' OR e.personal ? 'notes')
          AND to_tsvector('simple', coalesce(e.personal ->> 'text', '') || ' ' || coalesce(e.personal ->> 'notes', ''))
              @@ websearch_to_tsquery('simple', %(search)s) OFFSET 0)
)
SELECT (SELECT count(*) FROM looked) AS looked, (SELECT min(number) FROM looked) AS lowest,
       querytree(websearch_to_tsquery('simple', %(search)s)) NOT IN ('', 'T') AS indexable,
       ARRAY(SELECT incident_id FROM has ORDER BY number DESC LIMIT %(limit)s) AS found

-- name: ask_indexes
-- Asks the indexes of words: how many texts have them, up to a bound, and the newest of their incidents that a filter lets through.
WITH texts AS MATERIALIZED (
    (SELECT id AS incident_id FROM incidents
     WHERE to_tsvector('simple', coalesce(title, '') || ' ' || coalesce(description, ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id FROM incident_root_causes
     WHERE to_tsvector('simple', coalesce(root_cause_summary, '') || ' ' || coalesce(remediation_steps, ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id FROM incident_resolution
     WHERE to_tsvector('simple', coalesce(resolution_summary, '') || ' ' || coalesce(resolution_notes, '') || ' '
               || coalesce(impact_assessment, '') || ' ' || coalesce(lessons_learned, ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id FROM incident_closures
     WHERE to_tsvector('simple', coalesce(lessons_learned, '')) @@ websearch_to_tsquery('simple', %(search)s)
     LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id FROM incident_lifecycle
     WHERE (personal ? 'text' OR personal ? 'notes')
       AND to_tsvector('simple', coalesce(personal ->> 'text', '') || ' ' || coalesce(personal ->> 'notes', ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
), has AS MATERIALIZED (
    SELECT h.incident_id, h.number FROM (SELECT DISTINCT incident_id FROM texts) t
    JOIN incident_heads h ON h.incident_id = t.incident_id
    WHERE (%(statuses)s::text[] IS NULL OR h.status = ANY (%(statuses)s))
      AND (%(severities)s::text[] IS NULL OR h.current_severity = ANY (%(severities)s))
      AND (%(created_after)s::timestamptz IS NULL OR h.created_at >= %(created_after)s)
      AND (%(created_before)s::timestamptz IS NULL OR h.created_at < %(created_before)s)
      AND (%(service)s::text IS NULL OR h.service = %(service)s)
      AND (%(holder)s::uuid IS NULL OR h.acknowledged_by = %(holder)s)
      AND (%(project_id)s::bigint IS NULL OR EXISTS (
          SELECT FROM incidents i WHERE i.id = h.incident_id AND i.project_id = %(project_id)s))
      AND (%(before_number)s::bigint IS NULL OR h.number < %(before_number)s)
)
SELECT (SELECT count(*) FROM texts) AS texts, ARRAY(SELECT incident_id FROM has ORDER BY number DESC LIMIT %(limit)s) AS found

-- name: bound_time
-- How long a search may take: texts can be long.
SELECT set_config('statement_timeout', %(milliseconds)s, true)
