-- Jobs and timers: claimed by lease, woken by NOTIFY.

-- name: enqueue
-- Adds jobs, or brings existing ones of the same keys forward, in the order of their keys. A dead one comes back to life;
-- one that somebody is at is run once more: what is wanted now may have come too late for them.
INSERT INTO jobs (id, kind, key, payload, due_at, created_at)
SELECT r.id, r.kind, r.key, r.payload, r.due_at, %(now)s
FROM json_to_recordset(%(rows)s) AS r (id uuid, kind text, key text, payload jsonb, due_at timestamptz) ORDER BY r.key
ON CONFLICT (key) DO UPDATE SET due_at = least(jobs.due_at, excluded.due_at), dead_at = NULL,
    lease_doubted = jobs.lease_doubted OR excluded.due_at < jobs.due_at,
    attempts = CASE WHEN jobs.dead_at IS NULL THEN jobs.attempts ELSE 0 END

-- name: enqueue_behind
-- Adds jobs, or brings forward those of the same keys that nobody has tried. One that somebody is at, or that waits to be
-- tried again, stays where it is: to bring it forward would be to send the same message twice, or to hammer on who refuses it.
INSERT INTO jobs (id, kind, key, payload, due_at, created_at)
SELECT r.id, r.kind, r.key, r.payload, r.due_at, %(now)s
FROM json_to_recordset(%(rows)s) AS r (id uuid, kind text, key text, payload jsonb, due_at timestamptz) ORDER BY r.key
ON CONFLICT (key) DO UPDATE SET due_at = CASE WHEN jobs.attempts = 0 OR jobs.dead_at IS NOT NULL
    THEN least(jobs.due_at, excluded.due_at) ELSE jobs.due_at END, dead_at = NULL,
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
-- Takes due jobs for the length of a lease. One whose lease has ended is doubted first, and taken when the doubt is as old as
-- a delivery can be. Each kind is looked for by itself: a hundred thousand timers that wait must not be read to find that
-- no page is owed.
WITH due AS MATERIALIZED (
    SELECT due.id, due.is_free FROM unnest(%(kinds)s::text[]) AS k (kind) CROSS JOIN LATERAL (
        SELECT j.id, j.due_at, j.lease_token IS NULL OR j.lease_doubted AS is_free
        FROM jobs j WHERE j.kind = k.kind AND j.dead_at IS NULL AND j.due_at <= %(now)s
        ORDER BY j.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) due ORDER BY due.due_at LIMIT %(limit)s
), doubted AS (
    UPDATE jobs SET due_at = %(doubt_until)s, lease_doubted = true WHERE id IN (SELECT id FROM due WHERE NOT is_free)
)
UPDATE jobs SET lease_token = %(lease_token)s, due_at = %(lease_until)s, lease_doubted = false, attempts = attempts + 1
WHERE id IN (SELECT id FROM due WHERE is_free)
RETURNING id, kind, key, payload, attempts

-- name: next_due
-- When the earliest job of these kinds is due.
SELECT min(next.due_at) FROM unnest(%(kinds)s::text[]) AS k (kind) CROSS JOIN LATERAL (
    SELECT j.due_at FROM jobs j WHERE j.kind = k.kind AND j.dead_at IS NULL ORDER BY j.due_at LIMIT 1
) next

-- name: hold
-- Lets nobody change a job until this transaction ends, if its lease is still ours.
SELECT id FROM jobs WHERE id = %(id)s AND lease_token = %(lease_token)s FOR UPDATE

-- name: finish
-- Removes a job that is done, if its lease is still ours.
DELETE FROM jobs WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: reschedule
-- Sets a job to run again at an instant, its attempts starting anew, if its lease is still ours.
UPDATE jobs SET due_at = %(due_at)s, attempts = 0, lease_token = NULL, last_error = NULL
WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: settle_many
-- Sets jobs to run again at their instants, or removes those that have none, if their lease is still ours; in the order of
-- their keys, as everybody who locks several.
WITH settled AS MATERIALIZED (
    SELECT j.id, r.due_at FROM json_to_recordset(%(rows)s) AS r (id uuid, due_at timestamptz)
    JOIN jobs j ON j.id = r.id AND j.lease_token = %(lease_token)s ORDER BY j.key FOR UPDATE OF j
), done AS (
    DELETE FROM jobs WHERE id IN (SELECT id FROM settled WHERE due_at IS NULL)
)
UPDATE jobs SET due_at = settled.due_at, attempts = 0, lease_token = NULL, last_error = NULL
FROM settled WHERE jobs.id = settled.id AND settled.due_at IS NOT NULL

-- name: retry
-- Sets a failed job to run again at an instant, its attempts counted, if its lease is still ours.
UPDATE jobs SET due_at = %(due_at)s, lease_token = NULL, last_error = %(error)s
WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: bury
-- Sets a job aside that failed too often, if its lease is still ours.
UPDATE jobs SET dead_at = %(now)s, lease_token = NULL, last_error = %(error)s
WHERE id = %(id)s AND lease_token = %(lease_token)s

-- name: overdue_by_state
-- Incidents that should have got louder by %(by)s, each by the policy that it follows now, whatever the timers say. Each branch
-- is a short range of an index, bounded by the shortest delay that any policy has; then each incident's own policy decides.
-- A delay that no policy has is NULL, and its branch is empty.
WITH further AS MATERIALIZED (SELECT policy_id, name, after_seconds FROM further_steps), shortest AS MATERIALIZED (
    SELECT make_interval(secs => min(after_seconds) FILTER (WHERE reason = 'NO_ACK_1HR')) AS no_ack_1hr,
           make_interval(secs => min(after_seconds) FILTER (WHERE reason = 'NO_ACK_4HR')) AS no_ack_4hr,
           make_interval(secs => min(after_seconds) FILTER (WHERE reason = 'NO_ROOT_CAUSE_24HR')) AS no_root_cause_24hr,
           (SELECT make_interval(secs => min(after_seconds)) FROM further) AS further,
           (SELECT make_interval(secs => min(lease_seconds)) FROM policies) AS lease
    FROM policy_steps
)
(SELECT h.incident_id FROM incident_heads h WHERE h.status = 'REPORTED' AND h.no_ack_1hr_at IS NULL
    AND h.created_at <= %(by)s::timestamptz - (SELECT no_ack_1hr FROM shortest)
    AND EXISTS (SELECT FROM policy_of(h.service, h.current_severity) p JOIN policy_steps s ON s.policy_id = p.policy_id
        WHERE s.reason = 'NO_ACK_1HR' AND h.created_at <= %(by)s::timestamptz - make_interval(secs => s.after_seconds))
    ORDER BY h.created_at LIMIT %(limit)s)
UNION
(SELECT h.incident_id FROM incident_heads h WHERE h.status = 'REPORTED' AND h.no_ack_4hr_at IS NULL
    AND h.created_at <= %(by)s::timestamptz - (SELECT no_ack_4hr FROM shortest)
    AND EXISTS (SELECT FROM policy_of(h.service, h.current_severity) p JOIN policy_steps s ON s.policy_id = p.policy_id
        WHERE s.reason = 'NO_ACK_4HR' AND h.created_at <= %(by)s::timestamptz - make_interval(secs => s.after_seconds))
    ORDER BY h.created_at LIMIT %(limit)s)
UNION
(SELECT h.incident_id FROM incident_heads h
    WHERE h.root_cause_at IS NULL AND h.no_root_cause_24hr_at IS NULL AND h.status <> 'CLOSED'
    AND h.created_at <= %(by)s::timestamptz - (SELECT no_root_cause_24hr FROM shortest)
    AND EXISTS (SELECT FROM policy_of(h.service, h.current_severity) p JOIN policy_steps s ON s.policy_id = p.policy_id
        WHERE s.reason = 'NO_ROOT_CAUSE_24HR' AND h.created_at <= %(by)s::timestamptz - make_interval(secs => s.after_seconds))
    ORDER BY h.created_at LIMIT %(limit)s)
UNION
(SELECT h.incident_id FROM incident_heads h WHERE h.status = 'REPORTED'
    AND h.created_at <= %(by)s::timestamptz - (SELECT further FROM shortest)
    AND EXISTS (SELECT FROM policy_of(h.service, h.current_severity) p JOIN further f ON f.policy_id = p.policy_id
        WHERE h.created_at <= %(by)s::timestamptz - make_interval(secs => f.after_seconds) AND NOT f.name = ANY (h.fired_steps))
    ORDER BY h.created_at LIMIT %(limit)s)
UNION
(SELECT h.incident_id FROM incident_heads h WHERE h.status = 'REPORTED' AND h.current_severity = 'CRITICAL'
    AND h.sessions_blocked_at IS NULL AND h.created_at <= %(block)s ORDER BY h.created_at LIMIT %(limit)s)
UNION
(SELECT h.incident_id FROM incident_heads h WHERE h.status IN ('ACKNOWLEDGED', 'INVESTIGATING')
    AND h.lease_from <= %(by)s::timestamptz - (SELECT lease FROM shortest)
    AND EXISTS (SELECT FROM policy_of(h.service, h.current_severity) o JOIN policies p ON p.id = o.policy_id
        WHERE h.lease_from <= %(by)s::timestamptz - make_interval(secs => p.lease_seconds))
    ORDER BY h.lease_from LIMIT %(limit)s)
UNION
(SELECT d.incident_id FROM silences s JOIN paging_decisions d ON d.silence_id = s.id
    WHERE s.released_at IS NULL AND s.ends_at <= %(by)s::timestamptz AND NOT EXISTS (
        SELECT FROM paging_decisions r WHERE r.incident_id = d.incident_id AND r.step = 'SILENCE_ENDED ' || s.id)
    LIMIT %(limit)s)

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
       (SELECT min(due_at) FROM notifications WHERE state = 'PENDING') AS oldest_unsent_page_due_at,
       (SELECT count(*) FROM notifications WHERE state = 'PENDING' AND due_at <= %(now)s) AS unsent_pages,
       (SELECT count(*) FROM notifications WHERE state = 'FAILED' AND settled_at >= %(failed_since)s) AS failed_pages

-- name: dead
-- Jobs that were set aside.
SELECT kind, key, attempts, last_error, dead_at FROM jobs WHERE dead_at IS NOT NULL ORDER BY dead_at DESC LIMIT %(limit)s
