-- The second factor: what somebody has besides a password, and sign-ins that wait for it.

CREATE TABLE second_factors (
    user_id        uuid PRIMARY KEY REFERENCES users (id),
    -- AES-GCM with the installation's key: 12 bytes of nonce, the secret, 16 bytes of tag.
    sealed_secret  bytea NOT NULL CHECK (octet_length(sealed_secret) BETWEEN 29 AND 200),
    created_at     timestamptz NOT NULL,
    -- The session that was shown the secret, and to which alone it is shown again until it is confirmed.
    begun_in       uuid NOT NULL,
    -- Until a code has shown that the other side has the secret, it counts for nothing.
    confirmed_at   timestamptz,
    -- The newest time step (RFC 6238) of which a code was used: none is good twice.
    last_step      bigint NOT NULL DEFAULT 0,
    failures       integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since  timestamptz,
    CHECK ((failures = 0) = (failing_since IS NULL))
);

CREATE TABLE recovery_codes (
    user_id    uuid NOT NULL REFERENCES second_factors (user_id) ON DELETE CASCADE,
    code_hash  bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    PRIMARY KEY (user_id, code_hash)
);

-- Somebody who knew the password, and has not shown the second factor yet. It is no session, and opens one once.
CREATE TABLE pending_sign_ins (
    token_hash     bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    user_id        uuid NOT NULL REFERENCES users (id),
    -- The SHA-256 of the password's hash that was verified: a password that changes meanwhile ends it.
    verified_hash  bytea NOT NULL CHECK (octet_length(verified_hash) = 32),
    expires_at     timestamptz NOT NULL
);
CREATE INDEX pending_sign_ins_user ON pending_sign_ins (user_id);
CREATE INDEX pending_sign_ins_expiry ON pending_sign_ins (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON second_factors TO tocsin_app;
GRANT SELECT, INSERT, DELETE ON recovery_codes TO tocsin_app;
-- UPDATE is what SELECT … FOR UPDATE asks for.
GRANT SELECT, INSERT, UPDATE, DELETE ON pending_sign_ins TO tocsin_app;
