-- What `tocsin verify --db` reads. The rows themselves it recomputes in Python; here are the questions about pairs.

-- name: count_rows
-- How many guarded rows and leaves of the log there are, for the progress shown.
SELECT (SELECT count(*) FROM incidents) + (SELECT count(*) FROM incident_lifecycle)
     + (SELECT count(*) FROM incident_acknowledgments) + (SELECT count(*) FROM incident_root_causes)
     + (SELECT count(*) FROM incident_escalations) + (SELECT count(*) FROM incident_escalation_acknowledgments)
     + (SELECT count(*) FROM incident_resolution) + (SELECT count(*) FROM incident_closures)
     + (SELECT count(*) FROM log_entries)

-- name: texts_of_incidents
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, number, project_id, incident_type, severity, title, description, fingerprint,
    created_from_error_id::text, recurrence_of::text,
    to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at, created_by_system, created_by_user_id::text,
    disclosures, erased
FROM incidents ORDER BY id

-- name: texts_of_incident_acknowledgments
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, ack_by_user_id::text,
    to_char(ack_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS ack_at, ack_notes, severity_at_ack,
    disclosures, erased
FROM incident_acknowledgments ORDER BY id

-- name: texts_of_incident_root_causes
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, root_cause_summary, root_cause_category,
    identified_by_user_id::text, to_char(identified_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS identified_at,
    remediation_steps, to_char(verified_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS verified_at,
    disclosures, erased
FROM incident_root_causes ORDER BY id

-- name: texts_of_incident_escalations
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, escalation_reason, escalated_to_user_id::text,
    escalated_by_user_id::text, escalation_notes,
    to_char(escalated_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS escalated_at,
    disclosures, erased
FROM incident_escalations ORDER BY id

-- name: texts_of_incident_escalation_acknowledgments
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, escalation_id::text, acknowledged_by_user_id::text,
    to_char(acknowledged_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS acknowledged_at
FROM incident_escalation_acknowledgments ORDER BY id

-- name: texts_of_incident_resolution
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, resolved_by_user_id::text,
    to_char(resolved_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS resolved_at, resolution_summary, resolution_notes,
    impact_assessment, lessons_learned, follow_up_actions::text,
    disclosures, erased
FROM incident_resolution ORDER BY id

-- name: texts_of_incident_closures
-- Every row of the table: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, closed_by_user_id::text,
    to_char(closed_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS closed_at, lessons_learned, follow_up_actions::text,
    disclosures, erased
FROM incident_closures ORDER BY id

-- name: texts_of_incident_lifecycle
-- Every entry, timeline by timeline, in order: its columns as the canonical form writes them.
SELECT canonical, checksum, id::text, incident_id::text, sequence, previous_checksum::text, event_type, status_before,
    status_after, actor_user_id::text, actor_role, detail_checksum::text, metadata::text, personal::text,
    to_char(event_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS event_at, nonce::text,
    disclosures, erased
FROM incident_lifecycle ORDER BY incident_id, sequence

-- name: rows_of_incidents
-- Some rows of the table, as they are.
SELECT * FROM incidents WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_acknowledgments
-- Some rows of the table, as they are.
SELECT * FROM incident_acknowledgments WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_root_causes
-- Some rows of the table, as they are.
SELECT * FROM incident_root_causes WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_escalations
-- Some rows of the table, as they are.
SELECT * FROM incident_escalations WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_escalation_acknowledgments
-- Some rows of the table, as they are.
SELECT * FROM incident_escalation_acknowledgments WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_resolution
-- Some rows of the table, as they are.
SELECT * FROM incident_resolution WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_closures
-- Some rows of the table, as they are.
SELECT * FROM incident_closures WHERE id = ANY (%(ids)s::uuid[]) ORDER BY id

-- name: rows_of_incident_lifecycle
-- Some rows of the table, as they are.
SELECT * FROM incident_lifecycle WHERE id = ANY (%(ids)s::uuid[]) ORDER BY incident_id, sequence

-- name: count_heads
-- How many heads there are.
SELECT count(*) FROM incident_heads

-- name: heads
-- The heads that are not what the incident and its timeline make them, with the columns in which they are not. One pass
-- over the timeline; whole rows are compared first, for almost all of them are the same.
WITH told AS (
    SELECT e.incident_id, max(e.sequence) AS sequence,
           (array_agg(e.metadata ->> 'to' ORDER BY e.sequence DESC) FILTER (WHERE e.event_type = 'SEVERITY_CHANGED'))[1] AS severity,
           max(e.event_at) FILTER (WHERE e.event_type = 'ACKNOWLEDGED') AS acknowledged_at,
           (array_agg(e.actor_user_id) FILTER (WHERE e.event_type = 'ACKNOWLEDGED'))[1] AS acknowledged_by,
           max(e.event_at) FILTER (WHERE e.event_type = 'ROOT_CAUSE_RECORDED') AS root_cause_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'RESOLVED') AS resolved_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'CLOSED') AS closed_at,
           max(e.event_at) FILTER (WHERE x.escalation_reason = 'NO_ACK_1HR') AS no_ack_1hr_at,
           max(e.event_at) FILTER (WHERE x.escalation_reason = 'NO_ACK_4HR') AS no_ack_4hr_at,
           max(e.event_at) FILTER (WHERE x.escalation_reason = 'NO_ROOT_CAUSE_24HR') AS no_root_cause_24hr_at,
           max(e.event_at) FILTER (WHERE e.event_type = 'SESSIONS_BLOCKED') AS sessions_blocked_at,
           (array_agg(e.metadata ->> 'service') FILTER (WHERE e.sequence = 1))[1] AS service,
           max(e.sequence) FILTER (WHERE e.actor_user_id IS NOT NULL AND e.event_type <> 'PERSONAL_DATA_ERASED') AS progressed,
           array_agg(e.sequence) FILTER (WHERE e.event_type = 'ACKNOWLEDGMENT_LAPSED') AS lapsed,
           coalesce(array_agg(e.metadata ->> 'step' ORDER BY e.sequence) FILTER (WHERE x.escalation_reason = 'POLICY_STEP'), '{}')
               AS fired_steps
    FROM incident_lifecycle e
    LEFT JOIN incident_escalations x
           ON e.event_type = 'ESCALATED' AND x.incident_id = e.incident_id AND x.checksum = e.detail_checksum
    GROUP BY e.incident_id
), derived AS (
    SELECT i.id AS incident_id, i.number, l.status_after AS status, coalesce(t.severity, i.severity) AS current_severity,
           t.sequence, l.checksum, i.created_at::timestamptz AS created_at, l.event_at::timestamptz AS last_event_at,
           t.acknowledged_at, t.acknowledged_by, t.root_cause_at, t.resolved_at, t.closed_at,
           t.no_ack_1hr_at, t.no_ack_4hr_at, t.no_root_cause_24hr_at, t.sessions_blocked_at, t.service, t.fired_steps,
           (SELECT s.event_at FROM incident_lifecycle s WHERE s.incident_id = t.incident_id
                AND s.sequence = greatest(t.progressed, (SELECT max(n) FROM unnest(t.lapsed) n)))::timestamptz AS lease_from,
           (SELECT count(*) FROM unnest(t.lapsed) n WHERE n > coalesce(t.progressed, 0))::integer AS lapses
    FROM incidents i
    LEFT JOIN told t ON t.incident_id = i.id
    LEFT JOIN incident_lifecycle l ON l.incident_id = t.incident_id AND l.sequence = t.sequence
)
SELECT h.incident_id, ARRAY(SELECT said.key FROM jsonb_each(to_jsonb(h)) said
                            WHERE said.value IS DISTINCT FROM to_jsonb(d) -> said.key ORDER BY said.key) AS changed
FROM incident_heads h
LEFT JOIN derived d ON d.incident_id = h.incident_id
WHERE d.incident_id IS NULL
   OR (h.number, h.status, h.current_severity, h.sequence, h.checksum, h.created_at, h.last_event_at, h.acknowledged_at,
       h.acknowledged_by, h.root_cause_at, h.resolved_at, h.closed_at, h.no_ack_1hr_at, h.no_ack_4hr_at,
       h.no_root_cause_24hr_at, h.sessions_blocked_at, h.service, h.fired_steps, h.lease_from, h.lapses)
      IS DISTINCT FROM
      (d.number, d.status, d.current_severity, d.sequence, d.checksum, d.created_at, d.last_event_at, d.acknowledged_at,
       d.acknowledged_by, d.root_cause_at, d.resolved_at, d.closed_at, d.no_ack_1hr_at, d.no_ack_4hr_at,
       d.no_root_cause_24hr_at, d.sessions_blocked_at, d.service, d.fired_steps, d.lease_from, d.lapses)
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
LEFT JOIN (
    SELECT id AS incident_id, checksum FROM incidents
    UNION ALL SELECT incident_id, checksum FROM incident_acknowledgments
    UNION ALL SELECT incident_id, checksum FROM incident_root_causes
    UNION ALL SELECT incident_id, checksum FROM incident_escalations
    UNION ALL SELECT incident_id, checksum FROM incident_escalation_acknowledgments
    UNION ALL SELECT incident_id, checksum FROM incident_resolution
    UNION ALL SELECT incident_id, checksum FROM incident_closures
) d ON d.incident_id = e.incident_id AND d.checksum = e.detail_checksum
WHERE e.detail_checksum IS NOT NULL AND d.checksum IS NULL

-- name: changed_reports
-- First reports of incidents whose content is not what the incident's REPORTED entry says it was, or that are gone. One that
-- was erased, or whose checksum was, cannot be compared any more: that an entry says so is looked at elsewhere.
SELECT i.created_from_error_id AS id FROM incidents i
JOIN incident_lifecycle e ON e.incident_id = i.id AND e.sequence = 1
LEFT JOIN audit_logs a ON a.id = i.created_from_error_id
WHERE i.created_from_error_id IS NOT NULL
  AND (a.id IS NULL OR NOT (a.erased OR 'personal' = ANY (e.erased))
       AND encode(sha256('\x00'::bytea || a.document), 'hex')
           IS DISTINCT FROM coalesce(e.personal, e.metadata) ->> 'errorChecksum')

-- name: erasures
-- What the entries of all timelines say was erased.
SELECT incident_id, metadata -> 'erased' AS erased FROM incident_lifecycle
WHERE event_type = 'PERSONAL_DATA_ERASED' ORDER BY incident_id

-- name: reports_erased_silently
-- Reports that are erased, or what is left of them, without an entry or a leaf that names them.
WITH named AS (
    SELECT jsonb_array_elements_text(n -> 'ids')::uuid AS id FROM (
        SELECT jsonb_array_elements(metadata -> 'erased') AS n FROM incident_lifecycle WHERE event_type = 'PERSONAL_DATA_ERASED'
        UNION ALL SELECT jsonb_array_elements(convert_from(leaf, 'UTF8')::jsonb -> 'erased') FROM log_pending WHERE kind = 'log_erasure'
        UNION ALL SELECT jsonb_array_elements(convert_from(leaf, 'UTF8')::jsonb -> 'erased') FROM log_entries WHERE kind = 'log_erasure'
    ) everything WHERE n ->> 'table' = 'audit_logs'
)
SELECT a.id FROM audit_logs a WHERE a.erased AND NOT EXISTS (SELECT FROM named WHERE named.id = a.id)
  AND NOT EXISTS (SELECT FROM incident_lifecycle e WHERE e.incident_id = a.incident_id AND e.event_type = 'PERSONAL_DATA_ERASED'
                  AND e.metadata -> 'erased' @> '[{"table": "audit_logs", "all": true}]' AND e.event_at >= a.received_at)

-- name: accesses_erased_silently
-- Rows of the access log that are erased without a leaf that names them or their user.
WITH named AS (
    SELECT n ->> 'table' AS kind, jsonb_array_elements_text(n -> 'ids')::uuid AS id FROM (
        SELECT jsonb_array_elements(convert_from(leaf, 'UTF8')::jsonb -> 'erased') AS n FROM log_pending WHERE kind = 'log_erasure'
        UNION ALL SELECT jsonb_array_elements(convert_from(leaf, 'UTF8')::jsonb -> 'erased') FROM log_entries WHERE kind = 'log_erasure'
    ) everything
)
SELECT a.id FROM audit_access_log a WHERE a.erased
  AND NOT EXISTS (SELECT FROM named WHERE kind = 'audit_access_log' AND named.id = a.id)
  AND NOT EXISTS (SELECT FROM named WHERE kind = 'users' AND named.id = a.user_id)
