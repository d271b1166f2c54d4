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
