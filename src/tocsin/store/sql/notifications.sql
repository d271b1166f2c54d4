-- Notifications, their attempts, and whom to tell.

-- name: contacts_of_duty
-- How the holder of a duty is reached.
SELECT d.user_id, u.name, c.channel, c.address FROM duties d
JOIN users u ON u.id = d.user_id AND u.active
JOIN contact_methods c ON c.user_id = u.id
WHERE d.duty = %(duty)s ORDER BY c.created_at, c.id

-- name: contacts_of_user
-- How a person is reached.
SELECT c.user_id, u.name, c.channel, c.address FROM contact_methods c JOIN users u ON u.id = c.user_id AND u.active
WHERE c.user_id = %(user_id)s ORDER BY c.created_at, c.id

-- name: contacts_of_superadmins
-- Who is told when nobody holds the duty: somebody must be.
SELECT c.user_id, u.name, c.channel, c.address FROM contact_methods c JOIN users u ON u.id = c.user_id AND u.active
WHERE u.role = 'superadmin' ORDER BY u.created_at, u.id, c.created_at LIMIT %(limit)s

-- name: insert
-- Owes pages to people.
INSERT INTO notifications (id, incident_id, escalation_id, reason, user_id, channel, address, subject, body, payload,
    created_at, due_at, state)
SELECT r.id, r.incident_id, r.escalation_id, r.reason, r.user_id, r.channel, r.address, r.subject, r.body, r.payload,
    %(now)s, %(now)s, 'PENDING'
FROM json_to_recordset(%(rows)s) AS r (id uuid, incident_id uuid, escalation_id uuid, reason text, user_id uuid, channel text,
    address text, subject text, body text, payload jsonb)

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

-- name: rules
-- The escalation rules in force.
SELECT reason, after_seconds, duty FROM escalation_rules ORDER BY after_seconds

-- name: set_rule
-- Changes when a rule fires and whom it pages.
UPDATE escalation_rules SET after_seconds = %(after_seconds)s, duty = %(duty)s WHERE reason = %(reason)s

-- name: owed_since
-- Whether a page was owed for this incident and reason since then.
SELECT EXISTS (SELECT FROM notifications WHERE incident_id = %(incident_id)s AND reason = %(reason)s AND created_at > %(since)s)
