-- Pages listed by time and by person; and the call by which somebody outside notices that nobody here can page any more.
CREATE INDEX notifications_listed ON notifications (created_at, id);
CREATE INDEX notifications_user ON notifications (user_id, created_at, id);

-- One row: when the next call is due (that is also the lease of whoever makes it), how the last ones went, and why they
-- were held back. An ordinary table.
CREATE TABLE watchdog (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    due_at          timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL,
    called_at       timestamptz,
    withheld_since  timestamptz,
    withheld        text CHECK (char_length(withheld) BETWEEN 1 AND 1000),
    failing_since   timestamptz,
    failures        integer NOT NULL DEFAULT 0,
    failure         text CHECK (char_length(failure) BETWEEN 1 AND 1000),
    CHECK ((failing_since IS NULL) = (failure IS NULL)),
    CHECK ((withheld_since IS NULL) = (withheld IS NULL))
);
GRANT SELECT, INSERT, UPDATE ON watchdog TO tocsin_app;
