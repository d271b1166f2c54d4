-- The guarded tables: inserts only, each with the canonical bytes of its row.

-- name: next_numbers
-- Gives incidents their numbers; a number whose transaction fails stays unused.
SELECT nextval('incident_number') AS number FROM generate_series(1, %(count)s)

-- name: insert_incidents
-- Records the facts of an incident.
INSERT INTO incidents (id, number, project_id, incident_type, severity, title, description, fingerprint,
    created_from_error_id, recurrence_of, created_at, created_by_system, created_by_user_id, canonical)
VALUES (%(id)s, %(number)s, %(project_id)s, %(incident_type)s, %(severity)s, %(title)s, %(description)s, %(fingerprint)s,
    %(created_from_error_id)s, %(recurrence_of)s, %(created_at)s, %(created_by_system)s, %(created_by_user_id)s, %(canonical)s)

-- name: insert_incident_lifecycle
-- Appends an entry to the timeline; the database checks that it is the next step and moves the head.
INSERT INTO incident_lifecycle (id, incident_id, sequence, previous_checksum, event_type, status_before, status_after,
    actor_user_id, actor_role, detail_checksum, metadata, event_at, nonce, canonical)
VALUES (%(id)s, %(incident_id)s, %(sequence)s, %(previous_checksum)s, %(event_type)s, %(status_before)s, %(status_after)s,
    %(actor_user_id)s, %(actor_role)s, %(detail_checksum)s, %(metadata)s, %(event_at)s, %(nonce)s, %(canonical)s)

-- name: insert_incident_acknowledgments
-- Records who took the incident.
INSERT INTO incident_acknowledgments (id, incident_id, ack_by_user_id, ack_at, ack_notes, severity_at_ack, canonical)
VALUES (%(id)s, %(incident_id)s, %(ack_by_user_id)s, %(ack_at)s, %(ack_notes)s, %(severity_at_ack)s, %(canonical)s)

-- name: insert_incident_root_causes
-- Records why it happened.
INSERT INTO incident_root_causes (id, incident_id, root_cause_summary, root_cause_category, identified_by_user_id,
    identified_at, remediation_steps, verified_at, canonical)
VALUES (%(id)s, %(incident_id)s, %(root_cause_summary)s, %(root_cause_category)s, %(identified_by_user_id)s,
    %(identified_at)s, %(remediation_steps)s, %(verified_at)s, %(canonical)s)

-- name: insert_incident_escalations
-- Records that it got louder, and towards whom.
INSERT INTO incident_escalations (id, incident_id, escalation_reason, escalated_to_user_id, escalated_by_user_id,
    escalation_notes, escalated_at, canonical)
VALUES (%(id)s, %(incident_id)s, %(escalation_reason)s, %(escalated_to_user_id)s, %(escalated_by_user_id)s,
    %(escalation_notes)s, %(escalated_at)s, %(canonical)s)

-- name: insert_incident_escalation_acknowledgments
-- Records that an escalation arrived.
INSERT INTO incident_escalation_acknowledgments (id, incident_id, escalation_id, acknowledged_by_user_id, acknowledged_at,
    canonical)
VALUES (%(id)s, %(incident_id)s, %(escalation_id)s, %(acknowledged_by_user_id)s, %(acknowledged_at)s, %(canonical)s)

-- name: insert_incident_resolution
-- Records that it is over, and how.
INSERT INTO incident_resolution (id, incident_id, resolved_by_user_id, resolved_at, resolution_summary, resolution_notes,
    impact_assessment, lessons_learned, follow_up_actions, canonical)
VALUES (%(id)s, %(incident_id)s, %(resolved_by_user_id)s, %(resolved_at)s, %(resolution_summary)s, %(resolution_notes)s,
    %(impact_assessment)s, %(lessons_learned)s, %(follow_up_actions)s, %(canonical)s)

-- name: insert_incident_closures
-- Records what a closing adds to the resolution.
INSERT INTO incident_closures (id, incident_id, closed_by_user_id, closed_at, lessons_learned, follow_up_actions, canonical)
VALUES (%(id)s, %(incident_id)s, %(closed_by_user_id)s, %(closed_at)s, %(lessons_learned)s, %(follow_up_actions)s,
    %(canonical)s)
