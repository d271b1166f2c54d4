-- Notifications, their attempts, and whom to tell.

-- name: insert
-- Owes pages to people.
INSERT INTO notifications (id, incident_id, decision_id, escalation_id, reason, user_id, channel, address, subject, body,
    payload, created_at, due_at, state)
SELECT r.id, r.incident_id, r.decision_id, r.escalation_id, r.reason, r.user_id, r.channel, r.address, r.subject, r.body,
    r.payload, %(now)s, r.due_at, 'PENDING'
FROM json_to_recordset(%(rows)s) AS r (id uuid, incident_id uuid, decision_id uuid, escalation_id uuid, reason text,
    user_id uuid, channel text, address text, subject text, body text, payload jsonb, due_at timestamptz)

-- name: get
-- One page that is owed.
SELECT id, incident_id, reason, user_id, channel, address, subject, body, payload, created_at, state FROM notifications
WHERE id = %(id)s

-- name: insert_attempt
-- Records what came of one attempt.
INSERT INTO delivery_attempts (id, notification_id, attempt, started_at, finished_at, outcome, answer)
SELECT %(id)s, %(notification_id)s, 1 + count(*), %(started_at)s, %(finished_at)s, %(outcome)s, %(answer)s
FROM delivery_attempts WHERE notification_id = %(notification_id)s

-- name: settle
-- Says how a page ended.
UPDATE notifications SET state = %(state)s, settled_at = %(now)s WHERE id = %(id)s AND state = 'PENDING'

-- name: of_incident
-- The pages of an incident, with their last answer.
SELECT n.id, n.reason, n.user_id, u.name AS user_name, n.channel, n.address, n.created_at, n.state, n.settled_at,
       a.attempt AS attempts, a.answer AS last_answer
FROM notifications n JOIN users u ON u.id = n.user_id
LEFT JOIN LATERAL (SELECT attempt, answer FROM delivery_attempts WHERE notification_id = n.id ORDER BY attempt DESC LIMIT 1) a ON true
WHERE n.incident_id = %(incident_id)s ORDER BY n.created_at, n.id LIMIT %(limit)s

-- name: duties
-- Who holds which duty.
SELECT d.duty, d.user_id, u.name, u.email, u.active, d.assigned_at, d.schedule_id, s.name AS schedule
FROM duties d LEFT JOIN users u ON u.id = d.user_id LEFT JOIN schedules s ON s.id = d.schedule_id ORDER BY d.duty

-- name: assign_duty
-- Gives a duty to a user or a schedule.
INSERT INTO duties (duty, user_id, schedule_id, assigned_at) VALUES (%(duty)s, %(user_id)s, %(schedule_id)s, %(now)s)
ON CONFLICT (duty) DO UPDATE
SET user_id = excluded.user_id, schedule_id = excluded.schedule_id, assigned_at = excluded.assigned_at

-- name: owed_since
-- Whether a page was owed for this incident and reason since then.
SELECT EXISTS (SELECT FROM notifications WHERE incident_id = %(incident_id)s AND reason = %(reason)s AND created_at > %(since)s)
