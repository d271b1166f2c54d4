-- The guarded tables: inserts only. Rows come as a JSON array, one statement for all of them: of each its canonical document,
-- from whose very bytes the columns are read (json, unlike jsonb, keeps an element as it was written), and beside it the texts
-- that the bytes only commit to, with their disclosures.

-- name: next_numbers
-- Gives incidents their numbers; a number whose transaction fails stays unused.
SELECT nextval('incident_number') AS number FROM generate_series(1, %(count)s)

-- name: insert_incidents
-- Records the facts of an incident.
INSERT INTO incidents (id, number, project_id, incident_type, severity, title, description, fingerprint, created_from_error_id,
    recurrence_of, created_at, created_by_system, created_by_user_id, disclosures, canonical)
SELECT r.id, r.number, r.project_id, r.incident_type, r.severity, p.title, p.description, r.fingerprint,
    r.created_from_error_id, r.recurrence_of, r.created_at, r.created_by_system, r.created_by_user_id, p.disclosures,
    convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incidents, one -> 'canonical') AS r,
    json_populate_record(NULL::incidents, one -> 'texts') AS p

-- name: insert_incident_lifecycle
-- Appends an entry to the timeline; the database checks that it is the next step and moves the head.
INSERT INTO incident_lifecycle (id, incident_id, sequence, previous_checksum, event_type, status_before, status_after,
    actor_user_id, actor_role, detail_checksum, metadata, personal, event_at, nonce, disclosures, canonical)
SELECT r.id, r.incident_id, r.sequence, r.previous_checksum, r.event_type, r.status_before, r.status_after, r.actor_user_id,
    r.actor_role, r.detail_checksum, r.metadata, p.personal, r.event_at, r.nonce, p.disclosures,
    convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_lifecycle, one -> 'canonical') AS r,
    json_populate_record(NULL::incident_lifecycle, one -> 'texts') AS p

-- name: insert_incident_acknowledgments
-- Records who took the incident.
INSERT INTO incident_acknowledgments (id, incident_id, ack_by_user_id, ack_at, ack_notes, severity_at_ack, disclosures,
    canonical)
SELECT r.id, r.incident_id, r.ack_by_user_id, r.ack_at, p.ack_notes, r.severity_at_ack, p.disclosures,
    convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_acknowledgments, one -> 'canonical') AS r,
    json_populate_record(NULL::incident_acknowledgments, one -> 'texts') AS p

-- name: insert_incident_root_causes
-- Records why it happened.
INSERT INTO incident_root_causes (id, incident_id, root_cause_summary, root_cause_category, identified_by_user_id,
    identified_at, remediation_steps, verified_at, disclosures, canonical)
SELECT r.id, r.incident_id, p.root_cause_summary, r.root_cause_category, r.identified_by_user_id, r.identified_at,
    p.remediation_steps, r.verified_at, p.disclosures, convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_root_causes, one -> 'canonical') AS r,
    json_populate_record(NULL::incident_root_causes, one -> 'texts') AS p

-- name: insert_incident_escalations
-- Records that it got louder, and towards whom.
INSERT INTO incident_escalations (id, incident_id, escalation_reason, escalated_to_user_id, escalated_by_user_id,
    escalation_notes, escalated_at, disclosures, canonical)
SELECT r.id, r.incident_id, r.escalation_reason, r.escalated_to_user_id, r.escalated_by_user_id, p.escalation_notes,
    r.escalated_at, p.disclosures, convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_escalations, one -> 'canonical') AS r,
    json_populate_record(NULL::incident_escalations, one -> 'texts') AS p

-- name: insert_incident_escalation_acknowledgments
-- Records that an escalation arrived.
INSERT INTO incident_escalation_acknowledgments (id, incident_id, escalation_id, acknowledged_by_user_id, acknowledged_at,
    canonical)
SELECT r.id, r.incident_id, r.escalation_id, r.acknowledged_by_user_id, r.acknowledged_at,
    convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_escalation_acknowledgments, one -> 'canonical') AS r

-- name: insert_incident_resolution
-- Records that it is over, and how.
INSERT INTO incident_resolution (id, incident_id, resolved_by_user_id, resolved_at, resolution_summary, resolution_notes,
    impact_assessment, lessons_learned, follow_up_actions, disclosures, canonical)
SELECT r.id, r.incident_id, r.resolved_by_user_id, r.resolved_at, p.resolution_summary, p.resolution_notes, p.impact_assessment,
    p.lessons_learned, p.follow_up_actions, p.disclosures, convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_resolution, one -> 'canonical') AS r,
    json_populate_record(NULL::incident_resolution, one -> 'texts') AS p

-- name: insert_incident_closures
-- Records what a closing adds to the resolution.
INSERT INTO incident_closures (id, incident_id, closed_by_user_id, closed_at, lessons_learned, follow_up_actions, disclosures,
    canonical)
SELECT r.id, r.incident_id, r.closed_by_user_id, r.closed_at, p.lessons_learned, p.follow_up_actions, p.disclosures,
    convert_to((one -> 'canonical')::text, 'UTF8')
FROM json_array_elements(%(rows)s) AS one, json_populate_record(NULL::incident_closures, one -> 'canonical') AS r,
    json_populate_record(NULL::incident_closures, one -> 'texts') AS p
