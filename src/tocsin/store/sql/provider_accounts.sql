-- Who somebody is at the OpenID provider.

-- name: user_of
-- The user whom the provider knows by this id.
SELECT user_id FROM provider_accounts WHERE subject_hash = %(subject_hash)s

-- name: bind
-- Keeps which user it is whom the provider knows by an id; each user once.
INSERT INTO provider_accounts (user_id, subject_hash) VALUES (%(user_id)s, %(subject_hash)s) ON CONFLICT (user_id) DO NOTHING
