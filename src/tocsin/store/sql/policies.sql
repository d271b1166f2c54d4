-- Policies, their steps and targets, and the routes that lead to them.

-- name: all
-- Every policy whole, in one document: there are few, and they are read together.
SELECT p.id, p.name, p.is_default, p.repeat, p.lease_seconds, (
    SELECT json_agg(json_build_object('reason', s.reason, 'after_seconds', s.after_seconds, 'targets', (
        SELECT json_agg(json_build_object('user_id', t.user_id, 'schedule_id', t.schedule_id, 'duty', t.duty) ORDER BY t.position)
        FROM policy_targets t WHERE t.policy_id = s.policy_id AND t.step = s.position)) ORDER BY s.position)
    FROM policy_steps s WHERE s.policy_id = p.id) AS steps
FROM policies p ORDER BY p.is_default DESC, lower(p.name)

-- name: routes
-- The routes in their order.
SELECT id, service, severities, policy_id FROM policy_routes ORDER BY position

-- name: lock_policies
-- Holds off others who change policies or routes until this transaction ends.
LOCK TABLE policies IN SHARE ROW EXCLUSIVE MODE

-- name: insert
-- Adds a policy, which is not the default.
INSERT INTO policies (id, name, is_default, repeat, lease_seconds, created_at)
VALUES (%(id)s, %(name)s, false, %(repeat)s, %(lease_seconds)s, %(now)s)

-- name: set_policy
-- Changes what a policy says beside its steps.
UPDATE policies SET name = %(name)s, repeat = %(repeat)s, lease_seconds = %(lease_seconds)s WHERE id = %(id)s

-- name: remove_steps
-- Removes the steps of a policy with their targets.
DELETE FROM policy_steps WHERE policy_id = %(id)s

-- name: insert_steps
-- Adds the steps of a policy, in their order.
INSERT INTO policy_steps (policy_id, position, reason, after_seconds)
SELECT %(id)s, s.position, s.reason, s.after_seconds
FROM json_to_recordset(%(steps)s) AS s (position integer, reason text, after_seconds integer)

-- name: insert_targets
-- Adds the targets of a policy's steps, in their order.
INSERT INTO policy_targets (policy_id, step, position, user_id, schedule_id, duty)
SELECT %(id)s, t.step, t.position, t.user_id, t.schedule_id, t.duty
FROM json_to_recordset(%(targets)s) AS t (step integer, position integer, user_id uuid, schedule_id uuid, duty text)

-- name: remove
-- Removes a policy with its steps.
DELETE FROM policies WHERE id = %(id)s AND NOT is_default

-- name: remove_other_routes
-- Removes the routes that are not named.
DELETE FROM policy_routes WHERE NOT id = ANY (%(ids)s)

-- name: put_routes
-- Writes the routes in their order.
INSERT INTO policy_routes (id, position, service, severities, policy_id)
SELECT r.id, r.position, r.service, r.severities, r.policy_id
FROM json_to_recordset(%(routes)s) AS r (id uuid, position integer, service text, severities text[], policy_id uuid)
ON CONFLICT (id) DO UPDATE SET position = excluded.position

-- name: people
-- Everybody whom a policy, a duty or a schedule names.
SELECT u.id, u.email, u.active, EXISTS (SELECT FROM contact_methods c WHERE c.user_id = u.id) AS has_contact FROM users u
WHERE u.id IN (SELECT user_id FROM policy_targets UNION SELECT user_id FROM duties UNION SELECT user_id FROM schedule_members)

-- name: rosters
-- Every schedule with the members of its layers that are not over.
SELECT s.id, s.name, coalesce(array_agg(m.user_id) FILTER (WHERE m.user_id IS NOT NULL), '{}') AS members
FROM schedules s LEFT JOIN schedule_layers l ON l.schedule_id = s.id AND (l.ends_at IS NULL OR l.ends_at > %(now)s)
LEFT JOIN schedule_members m ON m.layer_id = l.id GROUP BY s.id

-- name: duties
-- Who or which schedule holds each duty.
SELECT duty, user_id, schedule_id FROM duties

-- name: superadmins_told
-- Whether some superadmin can be reached.
SELECT EXISTS (SELECT FROM users u JOIN contact_methods c ON c.user_id = u.id WHERE u.role = 'superadmin' AND u.active)

-- name: schedule_by_name
-- A schedule by its name, whatever its case.
SELECT id FROM schedules WHERE lower(name) = lower(%(name)s)
