-- Tokens and sessions.

-- name: insert_token
-- Adds an API token; only its hash is kept.
INSERT INTO api_tokens (id, user_id, name, token_hash, created_at, expires_at)
VALUES (%(id)s, %(user_id)s, %(name)s, %(token_hash)s, %(now)s, %(expires_at)s)

-- name: by_token
-- The active user of a token that is neither revoked nor expired.
SELECT u.id, u.email, u.name, u.role, t.id AS credential_id FROM api_tokens t JOIN users u ON u.id = t.user_id AND u.active
WHERE t.token_hash = %(token_hash)s AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > %(now)s)

-- name: tokens
-- Every token, never its secret.
SELECT t.id, t.name, u.email, t.created_at, t.expires_at, t.revoked_at FROM api_tokens t JOIN users u ON u.id = t.user_id
ORDER BY t.created_at DESC LIMIT %(limit)s

-- name: revoke_token
-- Ends a token.
UPDATE api_tokens SET revoked_at = %(now)s WHERE id = %(id)s AND revoked_at IS NULL

-- name: share_blocking
-- Waits for a blocking or unblocking of sessions that is under way, and holds off the next one.
SELECT pg_advisory_xact_lock_shared(7399502)

-- name: lock_blocking
-- Holds off sign-ins while sessions are blocked or unblocked.
SELECT pg_advisory_xact_lock(7399502)

-- name: insert_session
-- Adds a session; only hashes of its secrets are kept.
INSERT INTO sessions (id, user_id, token_hash, csrf_hash, created_at, expires_at, client_address, user_agent,
    blocked_due_to_incident)
VALUES (%(id)s, %(user_id)s, %(token_hash)s, %(csrf_hash)s, %(now)s, %(expires_at)s, %(client_address)s, %(user_agent)s,
    %(blocked_due_to_incident)s)

-- name: by_session
-- The active user of a session that is neither revoked nor expired, what blocks it, and whether there is a second factor.
SELECT u.id, u.email, u.name, u.role, s.id AS credential_id, s.csrf_hash, s.blocked_due_to_incident,
    EXISTS (SELECT FROM second_factors f WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL) AS has_second_factor
FROM sessions s JOIN users u ON u.id = s.user_id AND u.active
WHERE s.token_hash = %(token_hash)s AND s.revoked_at IS NULL AND s.expires_at > %(now)s

-- name: revoke_session
-- Ends a session.
UPDATE sessions SET revoked_at = %(now)s WHERE token_hash = %(token_hash)s AND revoked_at IS NULL

-- name: sessions_of
-- The sessions of a user that are neither ended nor expired, the latest first.
SELECT id, created_at, expires_at, client_address, user_agent FROM sessions
WHERE user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > %(now)s ORDER BY created_at DESC, id DESC LIMIT %(limit)s

-- name: revoke_session_of
-- Ends one session of a user.
UPDATE sessions SET revoked_at = %(now)s
WHERE id = %(id)s AND user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > %(now)s

-- name: revoke_sessions_of
-- Ends every session of a user, but for one that may be spared.
UPDATE sessions SET revoked_at = %(now)s
WHERE user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > %(now)s AND id IS DISTINCT FROM %(spared)s

-- name: block_sessions
-- Blocks the sessions of everybody who cannot acknowledge.
UPDATE sessions s SET blocked_due_to_incident = %(incident_id)s FROM users u
WHERE u.id = s.user_id AND NOT u.role = ANY (%(never_blocked)s) AND s.blocked_due_to_incident IS NULL

-- name: unblock_sessions
-- Lifts the block of an incident, or hands it to the next incident that still blocks.
UPDATE sessions SET blocked_due_to_incident = %(next_incident_id)s WHERE blocked_due_to_incident = %(incident_id)s
