-- Heartbeats: what is expected to be heard from, its latest check-ins, and the check-ins that nobody could take.

-- name: lock_project
-- Lets one at a time add heartbeats to a project; reports go on meanwhile.
SELECT id FROM projects WHERE id = %(project_id)s FOR NO KEY UPDATE

-- name: insert
-- Adds a heartbeat, watched.
INSERT INTO heartbeats (id, project_id, slug, key_hash, every_seconds, crontab, time_zone, grace_seconds,
    max_runtime_seconds, severity, created_at, due_at, alarm_at)
VALUES (%(id)s, %(project_id)s, %(slug)s, %(key_hash)s, %(every_seconds)s, %(crontab)s, %(time_zone)s, %(grace_seconds)s,
    %(max_runtime_seconds)s, %(severity)s, %(now)s, %(due_at)s, %(alarm_at)s)

-- name: lock
-- Locks a heartbeat: what is heard of it, and what its silence means, is judged one after the other.
SELECT id, project_id, slug, every_seconds, crontab, time_zone, grace_seconds, max_runtime_seconds, severity, created_at,
       paused_at, due_at, alarm_at, run_id, run_started_at, finished_run_id, failing_since, last_check_in_at, check_ins
FROM heartbeats WHERE id = %(id)s FOR UPDATE

-- name: lock_by_slug
-- The same, by its name within its project.
SELECT id, project_id, slug, every_seconds, crontab, time_zone, grace_seconds, max_runtime_seconds, severity, created_at,
       paused_at, due_at, alarm_at, run_id, run_started_at, finished_run_id, failing_since, last_check_in_at, check_ins
FROM heartbeats WHERE project_id = %(project_id)s AND slug = %(slug)s FOR UPDATE

-- name: lock_by_key
-- The same, by what opens the door for its check-ins.
SELECT id, project_id, slug, every_seconds, crontab, time_zone, grace_seconds, max_runtime_seconds, severity, created_at,
       paused_at, due_at, alarm_at, run_id, run_started_at, finished_run_id, failing_since, last_check_in_at, check_ins
FROM heartbeats WHERE key_hash = %(key_hash)s FOR UPDATE

-- name: listed
-- Heartbeats of one project or of all, those in trouble first.
SELECT id, project_id, slug, every_seconds, crontab, time_zone, grace_seconds, max_runtime_seconds, severity, created_at,
       paused_at, due_at, alarm_at, run_id, run_started_at, finished_run_id, failing_since, last_check_in_at, check_ins
FROM heartbeats WHERE %(project_id)s::bigint IS NULL OR project_id = %(project_id)s
ORDER BY failing_since, project_id, slug LIMIT %(limit)s

-- name: count
-- How many heartbeats one project has, or all have.
SELECT count(*) FROM heartbeats WHERE %(project_id)s::bigint IS NULL OR project_id = %(project_id)s

-- name: set_watch
-- Says where the watch stands.
UPDATE heartbeats SET due_at = %(due_at)s, alarm_at = %(alarm_at)s, run_id = %(run_id)s, run_started_at = %(run_started_at)s,
    finished_run_id = %(finished_run_id)s, failing_since = %(failing_since)s, paused_at = NULL
WHERE id = %(id)s

-- name: pause
-- Ends the watch for now; what was wrong before stays known.
UPDATE heartbeats SET paused_at = %(now)s, due_at = NULL, alarm_at = NULL, run_id = NULL, run_started_at = NULL
WHERE id = %(id)s

-- name: set_plan
-- Changes what is expected.
UPDATE heartbeats SET every_seconds = %(every_seconds)s, crontab = %(crontab)s, time_zone = %(time_zone)s,
    grace_seconds = %(grace_seconds)s, max_runtime_seconds = %(max_runtime_seconds)s
WHERE id = %(id)s

-- name: set_key
-- Gives a heartbeat another key; only its hash is kept.
UPDATE heartbeats SET key_hash = %(key_hash)s WHERE id = %(id)s

-- name: remove
-- Removes a heartbeat with its check-ins; what was reported of it stays.
DELETE FROM heartbeats WHERE id = %(id)s

-- name: count_check_in
-- Counts a check-in.
UPDATE heartbeats SET check_ins = %(number)s, last_check_in_at = %(now)s WHERE id = %(id)s

-- name: keep_check_in
-- Keeps a check-in, in place of the one that is a whole round older.
INSERT INTO heartbeat_check_ins (heartbeat_id, slot, number, status, received_at, run_id, duration_seconds, note)
VALUES (%(id)s, %(slot)s, %(number)s, %(status)s, %(now)s, %(run_id)s, %(duration_seconds)s, %(note)s)
ON CONFLICT (heartbeat_id, slot) DO UPDATE SET number = excluded.number, status = excluded.status,
    received_at = excluded.received_at, run_id = excluded.run_id, duration_seconds = excluded.duration_seconds,
    note = excluded.note

-- name: check_ins
-- The check-ins that are kept, latest first.
SELECT number, status, received_at, run_id, duration_seconds, note FROM heartbeat_check_ins
WHERE heartbeat_id = %(id)s ORDER BY number DESC

-- name: overdue
-- Heartbeats whose silence should have been looked at by now, whatever the timers say.
SELECT id FROM heartbeats WHERE alarm_at <= %(before)s ORDER BY alarm_at LIMIT %(limit)s

-- name: attendance
-- Whether a worker was there at an instant, as far as the workers on record tell.
SELECT CASE WHEN count(*) = 0 THEN 'unknown'
            WHEN bool_or(started_at <= %(at)s AND seen_at >= %(seen_since)s) THEN 'present'
            ELSE 'absent' END
FROM workers

-- name: refuse
-- Remembers a check-in that nobody could take; when a project has too many names of them, under one name for the rest.
INSERT INTO heartbeat_refusals (project_id, slug, reason, times, first_at, last_at)
SELECT p.id, CASE WHEN EXISTS (SELECT FROM heartbeat_refusals r WHERE r.project_id = p.id AND r.slug = %(slug)s)
                    OR (SELECT count(*) FROM heartbeat_refusals r WHERE r.project_id = p.id) < %(limit)s
                  THEN %(slug)s ELSE %(rest)s END, %(reason)s, 1, %(now)s, %(now)s
FROM projects p WHERE p.id = %(project_id)s
ON CONFLICT (project_id, slug) DO UPDATE
    SET reason = excluded.reason, times = heartbeat_refusals.times + 1, last_at = excluded.last_at

-- name: forget_refusals
-- Forgets what was refused of a name that is known now.
DELETE FROM heartbeat_refusals WHERE project_id = %(project_id)s AND slug = %(slug)s

-- name: refusals
-- The check-ins that nobody could take, of one project or of all, latest first.
SELECT project_id, slug, reason, times, first_at, last_at FROM heartbeat_refusals
WHERE %(project_id)s::bigint IS NULL OR project_id = %(project_id)s ORDER BY last_at DESC LIMIT %(limit)s
