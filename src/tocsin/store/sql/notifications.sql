-- Notifications, their attempts, and whom to tell.

-- name: insert
-- Owes pages to people.
INSERT INTO notifications (id, incident_id, decision_id, escalation_id, reason, user_id, channel, address, subject, body,
    payload, created_at, due_at, state)
SELECT r.id, r.incident_id, r.decision_id, r.escalation_id, r.reason, r.user_id, r.channel, r.address, r.subject, r.body,
    r.payload, %(now)s, r.due_at, 'PENDING'
FROM json_to_recordset(%(rows)s) AS r (id uuid, incident_id uuid, decision_id uuid, escalation_id uuid, reason text,
    user_id uuid, channel text, address text, subject text, body text, payload jsonb, due_at timestamptz)

-- name: by_ids
-- Pages, whom they are for, and how their incidents stand.
SELECT n.id, n.incident_id, n.reason, n.user_id, u.name AS user_name, u.role AS user_role, u.active AS user_active, n.channel,
       n.address, n.subject, n.body, n.payload, n.created_at, n.due_at, n.state, n.bundle_id,
       h.acknowledged_at, h.root_cause_at, h.closed_at,
       CASE WHEN n.reason = 'ACK_LAPSED' THEN (
           SELECT max(e.event_at)::timestamptz FROM incident_lifecycle e WHERE e.incident_id = n.incident_id
           AND e.actor_user_id IS NOT NULL AND e.event_type <> 'PERSONAL_DATA_ERASED') END AS progressed_at
FROM notifications n JOIN users u ON u.id = n.user_id JOIN incident_heads h ON h.incident_id = n.incident_id
WHERE n.id = ANY (%(ids)s) ORDER BY n.due_at, n.created_at, n.id

-- name: open_bundle
-- The pages of the bundle that is on its way over a contact method: there is one at a time.
SELECT id FROM notifications WHERE state = 'PENDING' AND channel = %(channel)s AND address = %(address)s AND bundle_id = (
    SELECT bundle_id FROM notifications
    WHERE state = 'PENDING' AND channel = %(channel)s AND address = %(address)s AND bundle_id IS NOT NULL
    ORDER BY due_at LIMIT 1)

-- name: due_of_contact
-- The pages that are due over a contact method, in no bundle yet, and are no messages of their own.
SELECT id FROM notifications
WHERE state = 'PENDING' AND channel = %(channel)s AND address = %(address)s AND due_at <= %(now)s AND bundle_id IS NULL
  AND reason <> ALL (%(alone)s) ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: bundle
-- Fixes which pages go out in one message.
UPDATE notifications SET bundle_id = %(bundle_id)s WHERE id = ANY (%(ids)s) AND state = 'PENDING'

-- name: next_of_contact
-- When the next page over a contact method is due that is no message of its own.
SELECT due_at FROM notifications
WHERE state = 'PENDING' AND channel = %(channel)s AND address = %(address)s AND reason <> ALL (%(alone)s)
ORDER BY due_at LIMIT 1

-- name: last_bundle_at
-- When a bundle was last delivered over a contact method.
SELECT settled_at FROM notifications
WHERE state = 'DELIVERED' AND channel = %(channel)s AND address = %(address)s AND bundle_id IS NOT NULL
ORDER BY settled_at DESC LIMIT 1

-- name: begin_attempt
-- Records that an attempt begins, for each page that it is to deliver.
INSERT INTO attempts_begun (id, notification_id, attempt, started_at, worker)
SELECT a.id, a.notification_id, 1 + (SELECT count(*) FROM attempts_begun b WHERE b.notification_id = a.notification_id),
       %(now)s, %(worker)s
FROM unnest(%(ids)s::uuid[], %(notification_ids)s::uuid[]) AS a (id, notification_id)

-- name: end_attempt
-- Writes down what came of an attempt.
INSERT INTO delivery_attempts (id, notification_id, attempt, started_at, finished_at, outcome, answer)
SELECT id, notification_id, attempt, started_at, greatest(started_at, %(now)s), %(outcome)s, %(answer)s
FROM attempts_begun WHERE id = ANY (%(ids)s)

-- name: settle
-- Says how pages ended.
UPDATE notifications SET state = %(state)s, because = %(because)s, settled_at = %(now)s
WHERE id = ANY (%(ids)s) AND state = 'PENDING'

-- name: orphaned
-- Pages that are owed and have no living job: neither one of their own, nor one of their contact method.
SELECT n.id, n.reason, n.channel, n.address, n.due_at FROM notifications n
WHERE n.state = 'PENDING' AND NOT EXISTS (SELECT FROM jobs j WHERE j.dead_at IS NULL AND j.key IN ('deliver:' || n.id,
    'bundle:' || n.channel || ':' || left(encode(sha256(convert_to(n.address, 'UTF8')), 'hex'), 16)))
ORDER BY n.created_at LIMIT %(limit)s

-- name: link
-- The page of a link, and whom it was for.
SELECT n.incident_id, n.reason, n.due_at, n.link_used_at, n.user_id, u.name AS user_name, u.role AS user_role,
       u.active AS user_active
FROM notifications n JOIN users u ON u.id = n.user_id WHERE n.id = %(id)s

-- name: slack_user
-- Who is reached under a Slack user id: whom this page went to there, or who verified that the id is theirs.
SELECT u.id, u.name, u.role FROM users u
LEFT JOIN notifications n ON n.id = %(id)s AND n.user_id = u.id AND n.channel = 'slack_app' AND n.address = %(slack_id)s
WHERE u.active AND (n.id IS NOT NULL OR u.id IN (
    SELECT user_id FROM contact_methods
    WHERE channel = 'slack_app' AND address = %(slack_id)s AND verified_at IS NOT NULL))
ORDER BY n.id IS NULL, u.created_at, u.id LIMIT 1

-- name: use_link
-- Notes that the link of a page was followed to its end.
UPDATE notifications SET link_used_at = %(now)s WHERE id = %(id)s AND link_used_at IS NULL

-- name: of_incident
-- The pages of an incident, with their last answer.
SELECT n.id, n.reason, n.user_id, u.name AS user_name, n.channel, n.address, n.created_at, n.state, n.settled_at,
       b.attempt AS attempts, a.answer AS last_answer, a.outcome AS last_outcome, b.worker AS last_worker
FROM notifications n JOIN users u ON u.id = n.user_id
LEFT JOIN LATERAL (
    SELECT id, attempt, worker FROM attempts_begun WHERE notification_id = n.id ORDER BY attempt DESC LIMIT 1) b ON true
LEFT JOIN delivery_attempts a ON a.id = b.id
WHERE n.incident_id = %(incident_id)s ORDER BY n.created_at, n.id LIMIT %(limit)s

-- name: pages_of_incident
-- The pages of an incident, newest first.
SELECT n.id, n.incident_id, h.number AS incident_number, n.reason, n.user_id, u.name AS user_name, n.channel, n.address,
       n.created_at, n.due_at, n.state, n.because, n.settled_at, n.bundle_id, n.link_used_at
FROM notifications n JOIN users u ON u.id = n.user_id JOIN incident_heads h ON h.incident_id = n.incident_id
WHERE n.incident_id = %(incident_id)s
  AND (n.created_at, n.id) < (coalesce((SELECT created_at FROM notifications WHERE id = %(before)s), 'infinity'),
      coalesce(%(before)s, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
ORDER BY n.created_at DESC, n.id DESC LIMIT %(limit)s

-- name: pages
-- Pages, newest first.
SELECT n.id, n.incident_id, h.number AS incident_number, n.reason, n.user_id, u.name AS user_name, n.channel, n.address,
       n.created_at, n.due_at, n.state, n.because, n.settled_at, n.bundle_id, n.link_used_at
FROM notifications n JOIN users u ON u.id = n.user_id JOIN incident_heads h ON h.incident_id = n.incident_id
WHERE n.created_at >= %(since)s AND (%(state)s::text IS NULL OR n.state = %(state)s)
  AND (n.created_at, n.id) < (coalesce((SELECT created_at FROM notifications WHERE id = %(before)s), 'infinity'),
      coalesce(%(before)s, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
ORDER BY n.created_at DESC, n.id DESC LIMIT %(limit)s

-- name: pages_of_user
-- Pages to one person, newest first.
SELECT n.id, n.incident_id, h.number AS incident_number, n.reason, n.user_id, u.name AS user_name, n.channel, n.address,
       n.created_at, n.due_at, n.state, n.because, n.settled_at, n.bundle_id, n.link_used_at
FROM notifications n JOIN users u ON u.id = n.user_id JOIN incident_heads h ON h.incident_id = n.incident_id
WHERE n.user_id = %(user_id)s AND n.created_at >= %(since)s AND (%(state)s::text IS NULL OR n.state = %(state)s)
  AND (n.created_at, n.id) < (coalesce((SELECT created_at FROM notifications WHERE id = %(before)s), 'infinity'),
      coalesce(%(before)s, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
ORDER BY n.created_at DESC, n.id DESC LIMIT %(limit)s

-- name: attempts
-- Every attempt to deliver these pages.
SELECT b.notification_id, b.attempt, b.started_at, a.finished_at, a.outcome, a.answer, b.worker
FROM attempts_begun b LEFT JOIN delivery_attempts a ON a.id = b.id
WHERE b.notification_id = ANY (%(ids)s) ORDER BY b.notification_id, b.attempt

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
