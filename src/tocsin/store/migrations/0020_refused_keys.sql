-- Requests to intake with a key that opens nothing, hour by hour: with one that was revoked, or (NULL) with one that nobody knows. No
-- key is kept of those. There are never more rows in an hour than revoked keys, however many requests there are. An ordinary table.
CREATE TABLE refused_keys (
    hour      timestamptz NOT NULL,
    key_id    uuid REFERENCES project_keys,
    requests  bigint NOT NULL CHECK (requests > 0),
    last_at   timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (hour, key_id)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON refused_keys TO tocsin_app;
