-- The access log, and the answers that a repeated request gets again.

-- name: insert_access
-- Records an access to the administration.
INSERT INTO audit_access_log (id, accessed_at, user_id, credential, action, target, client_address, user_agent, status,
    outcome, request_id)
VALUES (%(id)s, %(accessed_at)s, %(user_id)s, %(credential)s, %(action)s, %(target)s, %(client_address)s, %(user_agent)s,
    %(status)s, %(outcome)s, %(request_id)s)

-- name: remembered_answer
-- The answer that was given to a request with this key.
SELECT request_hash, status, body FROM idempotency_keys WHERE principal = %(principal)s AND key = %(key)s

-- name: lock_answer
-- Holds off another request with the same key until this one ends.
SELECT pg_advisory_xact_lock(hashtextextended(%(principal)s || ' ' || %(key)s, 8420))

-- name: remember_first
-- Remembers which of these requests came first; whoever repeats one that is under way waits for its end. In the order of
-- their keys, so that two batches never wait for each other in a circle.
INSERT INTO idempotency_keys (principal, key, request_hash, status, body, created_at)
SELECT r.principal, r.key, '', 200, '', %(now)s
FROM json_to_recordset(%(rows)s) AS r (principal text, key text) ORDER BY r.principal, r.key
ON CONFLICT DO NOTHING RETURNING principal, key

-- name: remember_answer
-- Keeps the answer for requests that repeat this one.
INSERT INTO idempotency_keys (principal, key, request_hash, status, body, created_at)
VALUES (%(principal)s, %(key)s, %(request_hash)s, %(status)s, %(body)s, %(now)s)
