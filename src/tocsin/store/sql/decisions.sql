-- Why each candidate of a step was paged, or not: written once, in the transaction that decided it.

-- name: insert
-- Records decisions. What makes a step moot may be said twice: the first reason stands.
INSERT INTO paging_decisions (id, incident_id, step, reason, user_id, via, paged, because, about_user_id, silence_id, until,
    decided_at)
SELECT r.id, r.incident_id, r.step, r.reason, r.user_id, r.via, r.because = 'PAGED', r.because, r.about_user_id, r.silence_id,
    r.until, %(now)s
FROM json_to_recordset(%(rows)s) AS r (id uuid, incident_id uuid, step text, reason text, user_id uuid, via text, because text,
    about_user_id uuid, silence_id uuid, until timestamptz)
ON CONFLICT (incident_id, step, user_id) DO NOTHING

-- name: silenced
-- What silences held back of an incident, with when they end, and whether that was acted upon already.
SELECT d.silence_id, s.ends_at, d.user_id, d.reason, EXISTS (
    SELECT FROM paging_decisions r WHERE r.incident_id = d.incident_id AND r.step = 'SILENCE_ENDED ' || d.silence_id
) AS released
FROM paging_decisions d JOIN silences s ON s.id = d.silence_id
WHERE d.incident_id = %(incident_id)s AND d.because = 'SILENCED' ORDER BY d.decided_at, d.id

-- name: held_back
-- Of these incidents, those about which a silence ever held a page back.
SELECT DISTINCT incident_id FROM paging_decisions WHERE incident_id = ANY(%(incident_ids)s) AND because = 'SILENCED'

-- name: of_incident
-- The decisions of an incident in their order, with the names of people as they are now.
SELECT d.id, d.step, d.reason, d.user_id, u.name, d.via, d.because, d.about_user_id, a.name AS about_name, d.silence_id,
       s.kind AS silence_kind, s.reason AS silence_reason, s.ends_at AS silence_ends_at, d.decided_at
FROM paging_decisions d LEFT JOIN users u ON u.id = d.user_id LEFT JOIN users a ON a.id = d.about_user_id
LEFT JOIN silences s ON s.id = d.silence_id
WHERE d.incident_id = %(incident_id)s ORDER BY d.decided_at, d.step, d.id LIMIT %(limit)s

-- name: pages
-- The pages of an incident that follow from decisions, each with its attempts.
SELECT n.decision_id, n.channel, n.address, n.state, n.due_at, n.settled_at, n.because, coalesce((
    SELECT json_agg(json_build_object('at', coalesce(a.finished_at, b.started_at), 'outcome', a.outcome, 'answer', a.answer,
        'worker', b.worker) ORDER BY b.attempt)
    FROM (SELECT * FROM attempts_begun t WHERE t.notification_id = n.id ORDER BY t.attempt DESC LIMIT %(attempts)s) b
    LEFT JOIN delivery_attempts a ON a.id = b.id
), '[]') AS attempts
FROM notifications n WHERE n.incident_id = %(incident_id)s AND n.decision_id IS NOT NULL ORDER BY n.due_at, n.id LIMIT %(limit)s

-- name: mark_released
-- Marks the silences that ended by an instant and hold nothing back any more, so that no sweep looks at them again.
UPDATE silences s SET released_at = %(now)s
WHERE s.released_at IS NULL AND s.ends_at <= %(ended_by)s AND NOT EXISTS (
    SELECT FROM paging_decisions d WHERE d.silence_id = s.id AND NOT EXISTS (
        SELECT FROM paging_decisions r WHERE r.incident_id = d.incident_id AND r.step = 'SILENCE_ENDED ' || s.id))
