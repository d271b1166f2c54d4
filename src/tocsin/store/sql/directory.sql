-- Who can be paged: who holds the duties, and who is told where nobody else can be.

-- name: duties
-- Who, or which schedule, holds each duty.
SELECT duty, user_id, schedule_id, assigned_at FROM duties ORDER BY duty

-- name: superadmins
-- Who is told where a step reaches nobody, the first one first.
SELECT id FROM users WHERE role = 'superadmin' AND active ORDER BY created_at, id LIMIT %(limit)s
