-- The second factor, and sign-ins that wait for it.

-- name: begin
-- Keeps a new secret that is not confirmed, in the place of an older one that is not either.
INSERT INTO second_factors (user_id, sealed_secret, created_at, begun_in)
VALUES (%(user_id)s, %(sealed_secret)s, %(now)s, %(begun_in)s)
ON CONFLICT (user_id) DO UPDATE SET sealed_secret = excluded.sealed_secret, created_at = excluded.created_at,
    begun_in = excluded.begun_in
WHERE second_factors.confirmed_at IS NULL

-- name: locked
-- A user's second factor, locked: of two who bring the same code at once, one is later.
SELECT user_id, sealed_secret, created_at, begun_in, confirmed_at, last_step, failures, failing_since
FROM second_factors WHERE user_id = %(user_id)s FOR UPDATE

-- name: standing
-- Since when a user has a second factor, and how many recovery codes are left.
SELECT f.confirmed_at, (SELECT count(*) FROM recovery_codes c WHERE c.user_id = f.user_id) AS recovery_codes
FROM second_factors f WHERE f.user_id = %(user_id)s AND f.confirmed_at IS NOT NULL

-- name: confirm
-- Makes the secret count.
UPDATE second_factors SET confirmed_at = %(now)s WHERE user_id = %(user_id)s

-- name: passed
-- Notes the step of a code that was used; what failed before is forgiven.
UPDATE second_factors SET last_step = greatest(last_step, %(step)s), failures = 0, failing_since = NULL WHERE user_id = %(user_id)s

-- name: failed
-- Counts a wrong code.
UPDATE second_factors SET failures = %(failures)s, failing_since = %(since)s WHERE user_id = %(user_id)s

-- name: remove
-- Takes the second factor off, with its recovery codes.
DELETE FROM second_factors WHERE user_id = %(user_id)s

-- name: forget_recovery_codes
-- Removes what recovery codes there are.
DELETE FROM recovery_codes WHERE user_id = %(user_id)s

-- name: add_recovery_codes
-- Keeps recovery codes, as hashes.
INSERT INTO recovery_codes (user_id, code_hash) SELECT %(user_id)s, unnest(%(hashes)s::bytea[])

-- name: use_recovery_code
-- Uses a recovery code up.
DELETE FROM recovery_codes WHERE user_id = %(user_id)s AND code_hash = %(code_hash)s

-- name: add_pending
-- Keeps a sign-in that waits for its second factor.
INSERT INTO pending_sign_ins (token_hash, user_id, verified_hash, expires_at)
VALUES (%(token_hash)s, %(user_id)s, sha256(convert_to(%(verified_hash)s, 'UTF8')), %(expires_at)s)

-- name: pending
-- Whose a waiting sign-in is, locked; none if its time is over, or the password has changed meanwhile.
SELECT u.email, u.password_hash FROM pending_sign_ins p JOIN users u ON u.id = p.user_id AND u.active
WHERE p.token_hash = %(token_hash)s AND p.expires_at > %(now)s AND p.verified_hash = sha256(convert_to(u.password_hash, 'UTF8'))
FOR UPDATE OF p

-- name: end_pending
-- Ends a waiting sign-in.
DELETE FROM pending_sign_ins WHERE token_hash = %(token_hash)s
