-- Error reports and the failures that they are reports of.

-- name: lock_failure
-- Locks the failure (making it if it is new) and tells its latest incident: reports of one failure are judged in turn.
INSERT INTO failures (project_id, fingerprint, first_seen_at, last_seen_at)
VALUES (%(project_id)s, %(fingerprint)s, %(now)s, %(now)s)
ON CONFLICT (project_id, fingerprint) DO UPDATE SET last_seen_at = greatest(failures.last_seen_at, excluded.last_seen_at)
RETURNING incident_id

-- name: latest_incident
-- Where the failure's latest incident stands. Read after the lock, so that it sees what the last holder did.
SELECT h.incident_id, h.status, h.current_severity, h.created_at FROM failures f
JOIN incident_heads h ON h.incident_id = f.incident_id
WHERE f.project_id = %(project_id)s AND f.fingerprint = %(fingerprint)s

-- name: set_latest_incident
-- Makes an incident the failure's latest.
UPDATE failures SET incident_id = %(incident_id)s WHERE project_id = %(project_id)s AND fingerprint = %(fingerprint)s

-- name: known_events
-- Which of these reports were accepted before, and what became of them.
SELECT event_id, incident_id FROM audit_logs WHERE project_id = %(project_id)s AND event_id = ANY (%(event_ids)s)

-- name: insert
-- Records a report.
INSERT INTO audit_logs (id, project_id, event_id, received_at, occurred_at, severity, error_type, title, fingerprint,
    fingerprint_version, fingerprint_basis, document, outcome, incident_id)
VALUES (%(id)s, %(project_id)s, %(event_id)s, %(received_at)s, %(occurred_at)s, %(severity)s, %(error_type)s, %(title)s,
    %(fingerprint)s, %(fingerprint_version)s, %(fingerprint_basis)s, %(document)s, %(outcome)s, %(incident_id)s)

-- name: get
-- One report.
SELECT id, project_id, event_id, received_at, occurred_at, severity, error_type, title, fingerprint, document, outcome,
       incident_id
FROM audit_logs WHERE id = %(id)s

-- name: link
-- Links a recorded report to the incident that a person opened for it.
UPDATE audit_logs SET incident_id = %(incident_id)s WHERE id = %(id)s

-- name: count_occurrences
-- Counts reports towards an incident.
INSERT INTO incident_occurrences (incident_id, occurrences, last_seen_at)
VALUES (%(incident_id)s, %(occurrences)s, %(last_seen_at)s)
ON CONFLICT (incident_id) DO UPDATE SET occurrences = incident_occurrences.occurrences + excluded.occurrences,
    last_seen_at = greatest(incident_occurrences.last_seen_at, excluded.last_seen_at)
