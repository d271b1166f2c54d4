-- People and how they are reached.

-- name: count
-- How many users there are.
SELECT count(*) FROM users

-- name: insert
-- Adds a user.
INSERT INTO users (id, email, name, role, password_hash, created_at)
VALUES (%(id)s, %(email)s, %(name)s, %(role)s, %(password_hash)s, %(created_at)s)

-- name: lock_users
-- Holds off other first starts until this transaction ends.
LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE

-- name: by_email
-- A user by e-mail, whatever its case.
SELECT id, email, name, role, password_hash, active, created_at, last_incident_ack_id, incident_ack_count FROM users
WHERE lower(email) = lower(%(email)s)

-- name: by_id
-- A user by id.
SELECT id, email, name, role, password_hash, active, created_at, last_incident_ack_id, incident_ack_count FROM users
WHERE id = %(id)s

-- name: list
-- Every user.
SELECT id, email, name, role, password_hash, active, created_at, last_incident_ack_id, incident_ack_count FROM users
ORDER BY lower(email) LIMIT %(limit)s

-- name: active_superadmins
-- Who can administer.
SELECT id, email, name, role, password_hash, active, created_at, last_incident_ack_id, incident_ack_count FROM users
WHERE role = 'superadmin' AND active ORDER BY created_at, id LIMIT %(limit)s

-- name: set_role
-- Changes a user's role.
UPDATE users SET role = %(role)s WHERE id = %(id)s

-- name: set_password
-- Changes a user's password.
UPDATE users SET password_hash = %(password_hash)s WHERE id = %(id)s

-- name: set_active
-- Lets a user in or shuts one out.
UPDATE users SET active = %(active)s WHERE id = %(id)s

-- name: count_acknowledgment
-- Counts an acknowledgment towards the user who made it.
UPDATE users SET last_incident_ack_id = %(acknowledgment_id)s, incident_ack_count = incident_ack_count + 1 WHERE id = %(id)s
