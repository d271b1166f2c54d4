-- Jobs and timers: claimed by lease, woken by NOTIFY.

-- name: enqueue
-- Adds jobs, or brings existing ones of the same keys forward, in the order of their keys. A dead one comes back to life.
INSERT INTO jobs (id, kind, key, payload, due_at, created_at)
SELECT r.id, r.kind, r.key, r.payload, r.due_at, %(now)s
FROM json_to_recordset(%(rows)s) AS r (id uuid, kind text, key text, payload jsonb, due_at timestamptz) ORDER BY r.key
ON CONFLICT (key) DO UPDATE SET due_at = least(jobs.due_at, excluded.due_at), dead_at = NULL,
    attempts = CASE WHEN jobs.dead_at IS NULL THEN jobs.attempts ELSE 0 END

-- name: postpone
-- Adds a job, or puts off an existing one of the same key: whoever is at it just now loses it.
INSERT INTO jobs (id, kind, key, payload, due_at, created_at)
VALUES (%(id)s, %(kind)s, %(key)s, %(payload)s, %(due_at)s, %(now)s)
ON CONFLICT (key) DO UPDATE SET due_at = CASE WHEN jobs.lease_token IS NULL THEN greatest(jobs.due_at, excluded.due_at)
    ELSE excluded.due_at END, lease_token = NULL, payload = excluded.payload, dead_at = NULL,
    attempts = CASE WHEN jobs.dead_at IS NULL THEN jobs.attempts ELSE 0 END

-- name: cancel
-- Removes a job that nobody is at.
DELETE FROM jobs WHERE key = %(key)s AND lease_token IS NULL

-- name: ensure
-- Adds a recurring job unless it is there; one that was set aside comes back to life.
INSERT INTO jobs (id, kind, key, payload, due_at, created_at)
VALUES (%(id)s, %(kind)s, %(key)s, '{}', %(due_at)s, %(now)s)
ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at, dead_at = NULL, attempts = 0 WHERE jobs.dead_at IS NOT NULL

-- name: notify
-- Wakes those who work at these kinds of jobs when this transaction commits.
SELECT pg_notify('tocsin_jobs', kind) FROM json_array_elements_text(%(kinds)s) AS kind

-- name: claim
-- Takes due jobs for the length of a lease; a job whose worker dies becomes due again when the lease ends. Each kind is
-- looked for by itself: a hundred thousand timers that wait must not be read to find that no page is owed.
UPDATE jobs SET lease_token = %(lease_token)s, due_at = %(lease_until)s, attempts = attempts + 1
WHERE id IN (
    SELECT due.id FROM unnest(%(kinds)s::text[]) AS k (kind) CROSS JOIN LATERAL (
        SELECT j.id, j.due_at FROM jobs j WHERE j.kind = k.kind AND j.dead_at IS NULL AND j.due_at <= %(now)s
        ORDER BY j.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) due ORDER BY due.due_at LIMIT %(limit)s
)
RETURNING id, kind, key, payload, attempts

-- name: next_due
-- When the earliest job of these kinds is due.
SELECT min(next.due_at) FROM unnest(%(kinds)s::text[]) AS k (kind) CROSS JOIN LATERAL (
    SELECT j.due_at FROM jobs j WHERE j.kind = k.kind AND j.dead_at IS NULL ORDER BY j.due_at LIMIT 1
) next

-- name: finish
-- Removes a job that is done, if its lease is still ours.
DELETE FROM jobs WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: reschedule
-- Sets a job to run again at an instant, its attempts starting anew, if its lease is still ours.
UPDATE jobs SET due_at = %(due_at)s, attempts = 0, lease_token = NULL, last_error = NULL
WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: retry
-- Sets a failed job to run again at an instant, its attempts counted, if its lease is still ours.
UPDATE jobs SET due_at = %(due_at)s, lease_token = NULL, last_error = %(error)s
WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: bury
-- Sets a job aside that failed too often, if its lease is still ours.
UPDATE jobs SET dead_at = %(now)s, lease_token = NULL, last_error = %(error)s
WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: overdue_by_state
-- Incidents that a rule should have reached by now, whatever the timers say: four short index ranges.
(SELECT incident_id FROM incident_heads WHERE status = 'REPORTED' AND no_ack_1hr_at IS NULL
    AND created_at <= %(no_ack_1hr)s ORDER BY created_at LIMIT %(limit)s)
UNION
(SELECT incident_id FROM incident_heads WHERE status = 'REPORTED' AND no_ack_4hr_at IS NULL
    AND created_at <= %(no_ack_4hr)s ORDER BY created_at LIMIT %(limit)s)
UNION
(SELECT incident_id FROM incident_heads WHERE root_cause_at IS NULL AND no_root_cause_24hr_at IS NULL AND status <> 'CLOSED'
    AND created_at <= %(no_root_cause_24hr)s ORDER BY created_at LIMIT %(limit)s)
UNION
(SELECT incident_id FROM incident_heads WHERE status = 'REPORTED' AND current_severity = 'CRITICAL'
    AND sessions_blocked_at IS NULL AND created_at <= %(block)s ORDER BY created_at LIMIT %(limit)s)

-- name: orphaned_notifications
-- Pages that are owed and have no living job.
SELECT n.id FROM notifications n
WHERE n.state = 'PENDING' AND NOT EXISTS (SELECT FROM jobs j WHERE j.key = 'deliver:' || n.id AND j.dead_at IS NULL)
ORDER BY n.created_at LIMIT %(limit)s

-- name: expire
-- Removes what has served its time: remembered answers, ended sessions and sign-ins, workers that stopped long ago.
WITH a AS (DELETE FROM idempotency_keys WHERE created_at < %(before)s),
     b AS (DELETE FROM sessions WHERE expires_at < %(before)s),
     c AS (DELETE FROM pending_sign_ins WHERE expires_at < %(before)s)
DELETE FROM workers WHERE seen_at < %(before)s

-- name: worker_seen
-- Notes that a worker is alive.
INSERT INTO workers (id, name, started_at, seen_at) VALUES (%(id)s, %(name)s, %(now)s, %(now)s)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at

-- name: worker_gone
-- Notes that a worker stopped in good order.
DELETE FROM workers WHERE id = %(id)s

-- name: health
-- What the readiness check, the doctor and the metrics look at, in one row.
SELECT (SELECT max(seen_at) FROM workers) AS worker_seen_at,
       (SELECT count(*) FROM workers WHERE seen_at >= %(alive_since)s) AS workers_alive,
       (SELECT min(due_at) FROM jobs WHERE dead_at IS NULL) AS earliest_job_due_at,
       (SELECT count(*) FROM jobs WHERE dead_at IS NOT NULL) AS dead_jobs,
       (SELECT min(created_at) FROM notifications WHERE state = 'PENDING') AS oldest_unsent_page_at,
       (SELECT count(*) FROM notifications WHERE state = 'PENDING') AS unsent_pages,
       (SELECT count(*) FROM notifications WHERE state = 'FAILED' AND settled_at >= %(failed_since)s) AS failed_pages

-- name: dead
-- Jobs that were set aside.
SELECT kind, key, attempts, last_error, dead_at FROM jobs WHERE dead_at IS NOT NULL ORDER BY dead_at DESC LIMIT %(limit)s
