-- What `tocsin verify --db` reads. The rows themselves it recomputes in Python; here are the questions about pairs.

-- name: count_rows
-- How many guarded rows there are, for the progress shown.
SELECT (SELECT count(*) FROM incidents) + (SELECT count(*) FROM incident_lifecycle)
     + (SELECT count(*) FROM incident_acknowledgments) + (SELECT count(*) FROM incident_root_causes)
     + (SELECT count(*) FROM incident_escalations) + (SELECT count(*) FROM incident_escalation_acknowledgments)
     + (SELECT count(*) FROM incident_resolution) + (SELECT count(*) FROM incident_closures)

-- name: rows_of_incidents
-- Every row of the table.
SELECT * FROM incidents ORDER BY id

-- name: rows_of_incident_acknowledgments
-- Every row of the table.
SELECT * FROM incident_acknowledgments ORDER BY id

-- name: rows_of_incident_root_causes
-- Every row of the table.
SELECT * FROM incident_root_causes ORDER BY id

-- name: rows_of_incident_escalations
-- Every row of the table.
SELECT * FROM incident_escalations ORDER BY id

-- name: rows_of_incident_escalation_acknowledgments
-- Every row of the table.
SELECT * FROM incident_escalation_acknowledgments ORDER BY id

-- name: rows_of_incident_resolution
-- Every row of the table.
SELECT * FROM incident_resolution ORDER BY id

-- name: rows_of_incident_closures
-- Every row of the table.
SELECT * FROM incident_closures ORDER BY id

-- name: rows_of_incident_lifecycle
-- Every entry, timeline by timeline, in order.
SELECT * FROM incident_lifecycle ORDER BY incident_id, sequence

-- name: heads
-- Every head, with the columns in which it is not what its incident and its timeline make it. One pass over the timeline.
SELECT h.incident_id, ARRAY(SELECT said.key FROM jsonb_each(to_jsonb(h)) said
                            WHERE said.value IS DISTINCT FROM to_jsonb(derived) -> said.key ORDER BY said.key) AS changed
FROM incident_heads h
LEFT JOIN LATERAL (
    SELECT i.id AS incident_id, i.number, i.created_at,
           (array_agg(e.status_after ORDER BY e.sequence DESC))[1] AS status,
           coalesce((array_agg(e.metadata ->> 'to' ORDER BY e.sequence DESC)
                     FILTER (WHERE e.event_type = 'SEVERITY_CHANGED'))[1], i.severity) AS current_severity,
           max(e.sequence) AS sequence,
           (array_agg(e.checksum ORDER BY e.sequence DESC))[1] AS checksum,
           (array_agg(e.event_at ORDER BY e.sequence DESC))[1] AS last_event_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'ACKNOWLEDGED') AS acknowledged_at,
           (array_agg(e.actor_user_id) FILTER (WHERE e.event_type = 'ACKNOWLEDGED'))[1] AS acknowledged_by,
           max(e.event_at) FILTER (WHERE e.event_type = 'ROOT_CAUSE_RECORDED') AS root_cause_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'RESOLVED') AS resolved_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'CLOSED') AS closed_at,
           max(e.event_at) FILTER (WHERE x.escalation_reason = 'NO_ACK_1HR') AS no_ack_1hr_at,
           max(e.event_at) FILTER (WHERE x.escalation_reason = 'NO_ACK_4HR') AS no_ack_4hr_at,
           max(e.event_at) FILTER (WHERE x.escalation_reason = 'NO_ROOT_CAUSE_24HR') AS no_root_cause_24hr_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'SESSIONS_BLOCKED') AS sessions_blocked_at
    FROM incidents i
    LEFT JOIN incident_lifecycle e ON e.incident_id = i.id
    LEFT JOIN incident_escalations x ON e.event_type = 'ESCALATED' AND x.incident_id = i.id AND x.checksum = e.detail_checksum
    WHERE i.id = h.incident_id GROUP BY i.id
) derived ON true
ORDER BY h.incident_id

-- name: incidents_without_head
-- Incidents that have lost their head.
SELECT i.id FROM incidents i WHERE NOT EXISTS (SELECT FROM incident_heads h WHERE h.incident_id = i.id)

-- name: details_without_entry
-- Details that no entry names.
SELECT d.kind, d.id FROM (
    SELECT 'incidents' AS kind, id, id AS incident_id, checksum FROM incidents
    UNION ALL SELECT 'incident_acknowledgments', id, incident_id, checksum FROM incident_acknowledgments
    UNION ALL SELECT 'incident_root_causes', id, incident_id, checksum FROM incident_root_causes
    UNION ALL SELECT 'incident_escalations', id, incident_id, checksum FROM incident_escalations
    UNION ALL SELECT 'incident_escalation_acknowledgments', id, incident_id, checksum FROM incident_escalation_acknowledgments
    UNION ALL SELECT 'incident_resolution', id, incident_id, checksum FROM incident_resolution
    UNION ALL SELECT 'incident_closures', id, incident_id, checksum FROM incident_closures
) d
WHERE NOT EXISTS (SELECT FROM incident_lifecycle e WHERE e.incident_id = d.incident_id AND e.detail_checksum = d.checksum)

-- name: entries_without_detail
-- Entries that name a detail which is not there (any more).
SELECT e.id FROM incident_lifecycle e
WHERE e.detail_checksum IS NOT NULL AND NOT EXISTS (
    SELECT FROM incidents WHERE id = e.incident_id AND checksum = e.detail_checksum
    UNION ALL SELECT FROM incident_acknowledgments WHERE incident_id = e.incident_id AND checksum = e.detail_checksum
    UNION ALL SELECT FROM incident_root_causes WHERE incident_id = e.incident_id AND checksum = e.detail_checksum
    UNION ALL SELECT FROM incident_escalations WHERE incident_id = e.incident_id AND checksum = e.detail_checksum
    UNION ALL SELECT FROM incident_escalation_acknowledgments WHERE incident_id = e.incident_id AND checksum = e.detail_checksum
    UNION ALL SELECT FROM incident_resolution WHERE incident_id = e.incident_id AND checksum = e.detail_checksum
    UNION ALL SELECT FROM incident_closures WHERE incident_id = e.incident_id AND checksum = e.detail_checksum)

-- name: changed_reports
-- First reports of incidents whose content is not what the incident's REPORTED entry says it was, or that are gone.
SELECT i.created_from_error_id AS id FROM incidents i
JOIN incident_lifecycle e ON e.incident_id = i.id AND e.sequence = 1
LEFT JOIN audit_logs a ON a.id = i.created_from_error_id
WHERE i.created_from_error_id IS NOT NULL
  AND (a.id IS NULL OR encode(sha256('\x00'::bytea || a.document), 'hex') IS DISTINCT FROM e.metadata ->> 'errorChecksum')
