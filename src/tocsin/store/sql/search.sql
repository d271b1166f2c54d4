-- Incidents found by what was said of them. The expressions are those of the indexes in migration 0014, word by word.
-- The planner knows too little of words to choose the way (it takes making a tsvector for nearly free), so each way is a query:
-- looking back from the newest incidents on (`newest` of the lists, then `which_have`), or asking the indexes of words first.

-- name: which_have
-- Which of some incidents have the words in a text, and whether an index can be asked. Of each table the planner reads either their
-- rows, or no more of them than an index of words names.
SELECT querytree(websearch_to_tsquery('simple', %(search)s)) NOT IN ('', 'T') AS indexable, ARRAY(
    SELECT id FROM incidents WHERE id = ANY (%(incident_ids)s)
      AND to_tsvector('simple', coalesce(title, '') || ' ' || coalesce(description, ''))
          @@ websearch_to_tsquery('simple', %(search)s)
    UNION
    SELECT incident_id FROM incident_root_causes WHERE incident_id = ANY (%(incident_ids)s)
      AND to_tsvector('simple', coalesce(root_cause_summary, '') || ' ' || coalesce(remediation_steps, ''))
          @@ websearch_to_tsquery('simple', %(search)s)
    UNION
    SELECT incident_id FROM incident_resolution WHERE incident_id = ANY (%(incident_ids)s)
      AND to_tsvector('simple', coalesce(resolution_summary, '') || ' ' || coalesce(resolution_notes, '') || ' '
              || coalesce(impact_assessment, '') || ' ' || coalesce(lessons_learned, ''))
          @@ websearch_to_tsquery('simple', %(search)s)
    UNION
    SELECT incident_id FROM incident_closures WHERE incident_id = ANY (%(incident_ids)s)
      AND to_tsvector('simple', coalesce(lessons_learned, '')) @@ websearch_to_tsquery('simple', %(search)s)
    UNION
    SELECT incident_id FROM incident_lifecycle WHERE incident_id = ANY (%(incident_ids)s)
      AND (personal ? 'text' OR personal ? 'notes')
      AND to_tsvector('simple', coalesce(personal ->> 'text', '') || ' ' || coalesce(personal ->> 'notes', ''))
          @@ websearch_to_tsquery('simple', %(search)s)
) AS found

-- name: ask_indexes
-- Asks the indexes of words: how many texts have them, up to a bound, and the newest of their incidents that a filter lets through.
-- At the bound none: which are the newest is not known then, and not worth a look at each.
WITH texts AS MATERIALIZED (
    (SELECT id AS incident_id, number FROM incidents
     WHERE to_tsvector('simple', coalesce(title, '') || ' ' || coalesce(description, ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id, NULL FROM incident_root_causes
     WHERE to_tsvector('simple', coalesce(root_cause_summary, '') || ' ' || coalesce(remediation_steps, ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id, NULL FROM incident_resolution
     WHERE to_tsvector('simple', coalesce(resolution_summary, '') || ' ' || coalesce(resolution_notes, '') || ' '
               || coalesce(impact_assessment, '') || ' ' || coalesce(lessons_learned, ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id, NULL FROM incident_closures
     WHERE to_tsvector('simple', coalesce(lessons_learned, '')) @@ websearch_to_tsquery('simple', %(search)s)
     LIMIT %(most)s)
    UNION ALL
    (SELECT incident_id, NULL FROM incident_lifecycle
     WHERE (personal ? 'text' OR personal ? 'notes')
       AND to_tsvector('simple', coalesce(personal ->> 'text', '') || ' ' || coalesce(personal ->> 'notes', ''))
           @@ websearch_to_tsquery('simple', %(search)s) LIMIT %(most)s)
), numbered AS MATERIALIZED (
    SELECT DISTINCT incident_id,
           coalesce(number, (SELECT h.number FROM incident_heads h WHERE h.incident_id = texts.incident_id)) AS number
    FROM texts WHERE (SELECT count(*) FROM texts) < %(most)s ORDER BY number DESC
)
SELECT (SELECT count(*) FROM texts) AS texts, ARRAY(
    SELECT n.incident_id FROM numbered n
    WHERE EXISTS (
        SELECT FROM incident_heads h WHERE h.incident_id = n.incident_id
          AND (%(statuses)s::text[] IS NULL OR h.status = ANY (%(statuses)s))
          AND (%(severities)s::text[] IS NULL OR h.current_severity = ANY (%(severities)s))
          AND (%(created_after)s::timestamptz IS NULL OR h.created_at >= %(created_after)s)
          AND (%(created_before)s::timestamptz IS NULL OR h.created_at < %(created_before)s)
          AND (%(service)s::text IS NULL OR h.service = %(service)s)
          AND (%(holder)s::uuid IS NULL OR h.acknowledged_by = %(holder)s)
          AND (%(project_id)s::bigint IS NULL OR EXISTS (
              SELECT FROM incidents i WHERE i.id = h.incident_id AND i.project_id = %(project_id)s))
        OFFSET 0)
      AND (%(before_number)s::bigint IS NULL OR n.number < %(before_number)s)
    ORDER BY n.number DESC LIMIT %(limit)s
) AS found

-- name: bound_time
-- How long a search may take: texts can be long.
SELECT set_config('statement_timeout', %(milliseconds)s, true)
