-- How people are reached: contact methods and notification rules.

-- name: reach
-- Everything that it takes to page these people, one row for each who exists.
SELECT u.id, u.name, u.role, u.active,
       coalesce((
           SELECT json_agg(json_build_object('id', c.id, 'channel', c.channel, 'address', c.address,
                                             'verified_at', c.verified_at) ORDER BY c.created_at, c.id)
           FROM contact_methods c WHERE c.user_id = u.id), '[]') AS methods,
       coalesce((
           SELECT json_agg(json_build_object('after_seconds', r.after_seconds, 'contact_method_id', r.contact_method_id)
                           ORDER BY r.after_seconds, r.created_at, r.id)
           FROM notification_rules r WHERE r.user_id = u.id), '[]') AS rules
FROM users u WHERE u.id = ANY (%(user_ids)s)

-- name: add
-- Adds a way to reach a user.
INSERT INTO contact_methods (id, user_id, channel, address, created_at)
VALUES (%(id)s, %(user_id)s, %(channel)s, %(address)s, %(now)s)
ON CONFLICT (user_id, channel, address) DO NOTHING

-- name: remove
-- Removes a way to reach a user, and with it the rules over it.
DELETE FROM contact_methods WHERE id = %(id)s

-- name: of_user
-- The ways to reach a user, oldest first.
SELECT id, user_id, channel, address, created_at, verified_at, code_sent_at, last_answer, last_answer_at FROM contact_methods
WHERE user_id = %(user_id)s ORDER BY created_at, id

-- name: locked
-- A way to reach a user; locked, so that two guesses at the same time are two guesses.
SELECT id, user_id, channel, address, created_at, verified_at, code_sent_at, last_answer, last_answer_at FROM contact_methods
WHERE id = %(id)s FOR UPDATE

-- name: pending
-- The code that was sent last over a contact method.
SELECT id AS contact_id, code_hash, code_sent_at AS sent_at, code_tries AS tries FROM contact_methods WHERE id = %(id)s

-- name: set_code
-- Keeps the hash of a new code; the one before is good no more.
UPDATE contact_methods SET code_hash = %(code_hash)s, code_sent_at = %(now)s, code_tries = 0 WHERE id = %(id)s

-- name: count_try
-- Counts a wrong code.
UPDATE contact_methods SET code_tries = code_tries + 1 WHERE id = %(id)s

-- name: set_verified
-- Says that a code came back.
UPDATE contact_methods SET verified_at = %(now)s, code_hash = NULL WHERE id = %(id)s

-- name: set_answer
-- Keeps what came of the last code or test.
UPDATE contact_methods SET last_answer = %(answer)s, last_answer_at = %(now)s WHERE id = %(id)s

-- name: add_rule
-- Adds a notification rule.
INSERT INTO notification_rules (id, user_id, contact_method_id, after_seconds, created_at)
VALUES (%(id)s, %(user_id)s, %(contact_method_id)s, %(after_seconds)s, %(now)s)
ON CONFLICT (user_id, contact_method_id, after_seconds) DO NOTHING

-- name: rules
-- The notification rules of a user, in the order in which they act.
SELECT r.id, r.user_id, r.contact_method_id, c.channel, c.address, r.after_seconds, r.created_at
FROM notification_rules r JOIN contact_methods c ON c.id = r.contact_method_id
WHERE r.user_id = %(user_id)s ORDER BY r.after_seconds, r.created_at, r.id

-- name: rule
-- One notification rule.
SELECT r.id, r.user_id, r.contact_method_id, c.channel, c.address, r.after_seconds, r.created_at
FROM notification_rules r JOIN contact_methods c ON c.id = r.contact_method_id
WHERE r.id = %(id)s

-- name: remove_rule
-- Removes a notification rule.
DELETE FROM notification_rules WHERE id = %(id)s
