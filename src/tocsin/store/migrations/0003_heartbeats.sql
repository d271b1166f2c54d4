-- Heartbeats: what must be heard from, when it was, and from which instant on its silence is an error.
-- Ordinary tables: what is recorded of a silence are the error reports that it becomes.

CREATE TABLE heartbeats (
    id                   uuid PRIMARY KEY,
    project_id           bigint NOT NULL REFERENCES projects (id),
    slug                 text NOT NULL CHECK (char_length(slug) BETWEEN 1 AND 165),
    -- What a Sentry client made has no key until somebody asks for one.
    key_hash             bytea UNIQUE CHECK (octet_length(key_hash) = 32),
    every_seconds        integer CHECK (every_seconds BETWEEN 10 AND 31622400),
    crontab              text CHECK (char_length(crontab) BETWEEN 9 AND 100),
    time_zone            text CHECK (char_length(time_zone) BETWEEN 1 AND 64),
    grace_seconds        integer NOT NULL CHECK (grace_seconds BETWEEN 1 AND 31622400),
    max_runtime_seconds  integer CHECK (max_runtime_seconds BETWEEN 1 AND 31622400),
    severity             text NOT NULL CHECK (severity IN ('LOW', 'MEDIUM', 'HIGH', 'CRITICAL')),
    created_at           timestamptz NOT NULL,
    paused_at            timestamptz,
    -- When it is expected, and from when on its silence is an error: the two differ by the grace, by the time that a
    -- run may take, and by the time in which nobody listened.
    due_at               timestamptz,
    alarm_at             timestamptz,
    run_id               text CHECK (char_length(run_id) <= 64),
    run_started_at       timestamptz,
    finished_run_id      text NOT NULL DEFAULT '' CHECK (char_length(finished_run_id) <= 64),
    failing_since        timestamptz,
    last_check_in_at     timestamptz,
    check_ins            bigint NOT NULL DEFAULT 0,
    UNIQUE (project_id, slug),
    CHECK (num_nonnulls(every_seconds, crontab) = 1),
    CHECK (num_nonnulls(crontab, time_zone) <> 1),
    -- Either it is paused, or it is watched.
    CHECK (num_nonnulls(due_at, alarm_at) = CASE WHEN paused_at IS NULL THEN 2 ELSE 0 END),
    CHECK (num_nonnulls(run_id, run_started_at) <> 1)
);
CREATE INDEX heartbeats_alarm ON heartbeats (alarm_at) WHERE alarm_at IS NOT NULL;

-- The latest check-ins of each: the slot is the number modulo 100, so that the hundred-and-first overwrites the first.
CREATE TABLE heartbeat_check_ins (
    heartbeat_id      uuid NOT NULL REFERENCES heartbeats (id) ON DELETE CASCADE,
    slot              smallint NOT NULL CHECK (slot BETWEEN 0 AND 99),
    number            bigint NOT NULL,
    status            text NOT NULL CHECK (status IN ('in_progress', 'ok', 'error')),
    received_at       timestamptz NOT NULL,
    run_id            text NOT NULL CHECK (char_length(run_id) <= 64),
    duration_seconds  double precision CHECK (duration_seconds >= 0),
    note              text NOT NULL CHECK (char_length(note) <= 10000),
    PRIMARY KEY (heartbeat_id, slot)
);

-- Check-ins that nobody could take: of something that is not known, or that cannot be understood.
CREATE TABLE heartbeat_refusals (
    project_id  bigint NOT NULL REFERENCES projects (id),
    slug        text NOT NULL CHECK (char_length(slug) BETWEEN 1 AND 165),
    reason      text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    times       bigint NOT NULL CHECK (times >= 1),
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    PRIMARY KEY (project_id, slug)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON heartbeats, heartbeat_check_ins, heartbeat_refusals TO tocsin_app;
