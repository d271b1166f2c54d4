-- How it goes with those outside who vouch for the log: witnesses, the time-stamp authority, copies. An ordinary table;
-- what they said is kept in log_cosignatures and log_timestamps, and a copy says itself what it has.
CREATE TABLE log_outside (
    name           text PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 300),
    kind           text NOT NULL CHECK (kind IN ('witness', 'timestamp', 'copy')),
    size           bigint NOT NULL CHECK (size >= 0),
    due_at         timestamptz NOT NULL,
    seen_at        timestamptz NOT NULL,
    succeeded_at   timestamptz,
    failing_since  timestamptz,
    failures       integer NOT NULL DEFAULT 0,
    failure        text CHECK (char_length(failure) BETWEEN 1 AND 1000),
    CHECK ((failing_since IS NULL) = (failure IS NULL))
);
GRANT SELECT, INSERT, UPDATE, DELETE ON log_outside TO tocsin_app;
