-- Paging: how people are reached, who is on call, whom a policy pages when, what holds pages back, and why each candidate
-- was paged or not. And what the record says of it: further steps of a policy, held pages, acknowledgments that lapsed.

---------------------------------------------------------------------------------------------------------------
-- How people are reached
---------------------------------------------------------------------------------------------------------------

ALTER TABLE contact_methods DROP CONSTRAINT contact_methods_channel_check;
ALTER TABLE contact_methods ADD CONSTRAINT contact_methods_channel_check CHECK (channel IN
    ('email', 'webhook', 'slack', 'slack_app', 'ntfy', 'apprise', 'sms', 'voice'));
-- A method is verified once, by a code that was sent over it: only its hash is kept, and only while it is good.
ALTER TABLE contact_methods
    ADD COLUMN verified_at    timestamptz,
    ADD COLUMN code_hash      bytea CHECK (octet_length(code_hash) = 32),
    ADD COLUMN code_sent_at   timestamptz,
    ADD COLUMN code_tries     integer NOT NULL DEFAULT 0,
    ADD COLUMN last_answer    text CHECK (char_length(last_answer) <= 1000),
    ADD COLUMN last_answer_at timestamptz;

-- "At once by push; after 5 minutes by call." Who has no rules is reached at once over everything.
CREATE TABLE notification_rules (
    id                 uuid PRIMARY KEY,
    user_id            uuid NOT NULL REFERENCES users (id),
    contact_method_id  uuid NOT NULL REFERENCES contact_methods (id) ON DELETE CASCADE,
    after_seconds      integer NOT NULL CHECK (after_seconds BETWEEN 0 AND 86400),
    created_at         timestamptz NOT NULL,
    UNIQUE (user_id, contact_method_id, after_seconds)
);
CREATE INDEX notification_rules_contact_method ON notification_rules (contact_method_id);

---------------------------------------------------------------------------------------------------------------
-- Who is on call
---------------------------------------------------------------------------------------------------------------

CREATE TABLE schedules (
    id          uuid PRIMARY KEY,
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    time_zone   text NOT NULL CHECK (char_length(time_zone) BETWEEN 1 AND 100),
    people      integer NOT NULL CHECK (people BETWEEN 1 AND 20),
    created_at  timestamptz NOT NULL
);
CREATE UNIQUE INDEX schedules_name ON schedules (lower(name));

-- Of the layers that cover an instant the one with the highest position counts.
CREATE TABLE schedule_layers (
    id             uuid PRIMARY KEY,
    schedule_id    uuid NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    position       integer NOT NULL CHECK (position BETWEEN 0 AND 19),
    name           text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    rotation       text NOT NULL CHECK (rotation IN ('HOURLY', 'DAILY', 'WEEKLY', 'CUSTOM')),
    -- Hours, days, weeks; of a custom rotation seconds.
    every          integer NOT NULL CHECK (every BETWEEN 1 AND 31536000),
    starts_on      date NOT NULL,
    hand_off       time NOT NULL,
    -- [{"weekdays": [0, …, 6], "start": "09:00", "end": "17:00"}], Monday is 0; empty: always.
    restrictions   jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(restrictions) = 'array'),
    starts_at      timestamptz,
    ends_at        timestamptz,
    UNIQUE (schedule_id, position) DEFERRABLE INITIALLY DEFERRED,
    CHECK (starts_at < ends_at)
);

CREATE TABLE schedule_members (
    layer_id  uuid NOT NULL REFERENCES schedule_layers (id) ON DELETE CASCADE,
    position  integer NOT NULL CHECK (position BETWEEN 0 AND 49),
    user_id   uuid NOT NULL REFERENCES users (id),
    PRIMARY KEY (layer_id, position)
);
CREATE INDEX schedule_members_user ON schedule_members (user_id);

CREATE TABLE schedule_overrides (
    id           uuid PRIMARY KEY,
    schedule_id  uuid NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    user_id      uuid NOT NULL REFERENCES users (id),
    instead_of   uuid REFERENCES users (id),
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL,
    created_by   uuid NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    CHECK (starts_at < ends_at)
);
CREATE INDEX schedule_overrides_schedule ON schedule_overrides (schedule_id, ends_at);
CREATE INDEX schedule_overrides_user ON schedule_overrides (user_id);

-- A calendar program cannot sign in: whoever has the token of a feed can read the schedule, and nothing else.
CREATE TABLE calendar_feeds (
    id           uuid PRIMARY KEY,
    schedule_id  uuid NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    user_id      uuid REFERENCES users (id),
    token_hash   bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_by   uuid NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    revoked_at   timestamptz
);
CREATE INDEX calendar_feeds_schedule ON calendar_feeds (schedule_id);

ALTER TABLE duties ALTER COLUMN user_id DROP NOT NULL, ADD COLUMN schedule_id uuid REFERENCES schedules (id),
    ADD CHECK (num_nonnulls(user_id, schedule_id) = 1);

---------------------------------------------------------------------------------------------------------------
-- Whom a policy pages when
---------------------------------------------------------------------------------------------------------------

CREATE TABLE policies (
    id             uuid PRIMARY KEY,
    name           text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    is_default     boolean NOT NULL,
    -- How many further rounds the steps that wait for an acknowledgment are played.
    repeat         integer NOT NULL DEFAULT 0 CHECK (repeat BETWEEN 0 AND 20),
    -- How long an acknowledgment holds without progress; NULL: for ever.
    lease_seconds  integer DEFAULT 14400 CHECK (lease_seconds BETWEEN 60 AND 31536000),
    created_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX policies_name ON policies (lower(name));
CREATE UNIQUE INDEX policies_default ON policies (is_default) WHERE is_default;

CREATE TABLE policy_steps (
    policy_id      uuid NOT NULL REFERENCES policies (id) ON DELETE CASCADE,
    position       integer NOT NULL CHECK (position BETWEEN 0 AND 29),
    reason         text NOT NULL CHECK (reason IN
        ('INCIDENT_OPENED', 'NO_ACK_1HR', 'NO_ACK_4HR', 'NO_ROOT_CAUSE_24HR', 'POLICY_STEP')),
    after_seconds  integer NOT NULL CHECK (after_seconds BETWEEN 0 AND 31536000),
    PRIMARY KEY (policy_id, position),
    CHECK ((reason = 'INCIDENT_OPENED') = (after_seconds = 0))
);
CREATE UNIQUE INDEX policy_steps_reason ON policy_steps (policy_id, reason) WHERE reason <> 'POLICY_STEP';

CREATE TABLE policy_targets (
    policy_id    uuid NOT NULL,
    step         integer NOT NULL,
    position     integer NOT NULL CHECK (position BETWEEN 0 AND 19),
    user_id      uuid REFERENCES users (id),
    schedule_id  uuid REFERENCES schedules (id),
    duty         text CHECK (duty IN ('ON_CALL', 'SUPERVISOR', 'DIRECTOR')),
    PRIMARY KEY (policy_id, step, position),
    FOREIGN KEY (policy_id, step) REFERENCES policy_steps (policy_id, position) ON DELETE CASCADE,
    CHECK (num_nonnulls(user_id, schedule_id, duty) = 1)
);
CREATE INDEX policy_targets_user ON policy_targets (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX policy_targets_schedule ON policy_targets (schedule_id) WHERE schedule_id IS NOT NULL;

-- Which policy an incident follows: of the routes that match, the one with the lowest position; of none, the default.
CREATE TABLE policy_routes (
    id          uuid PRIMARY KEY,
    position    integer NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED CHECK (position BETWEEN 0 AND 999),
    service     text CHECK (char_length(service) BETWEEN 1 AND 200),
    severities  text[] CHECK (severities <@ ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'] AND cardinality(severities) > 0),
    policy_id   uuid NOT NULL REFERENCES policies (id)
);
CREATE INDEX policy_routes_policy ON policy_routes (policy_id);

-- The three rules in force, with the first alert at once, become the default policy.
INSERT INTO policies (id, name, is_default, created_at)
VALUES ('00000000-0000-7000-8000-000000000001', 'default', true, '2026-01-01 00:00:00+00');
INSERT INTO policy_steps (policy_id, position, reason, after_seconds)
SELECT '00000000-0000-7000-8000-000000000001', row_number() OVER (ORDER BY after_seconds, reason) - 1, reason, after_seconds
FROM (SELECT 'INCIDENT_OPENED' AS reason, 0 AS after_seconds UNION ALL SELECT reason, after_seconds FROM escalation_rules) r;
INSERT INTO policy_targets (policy_id, step, position, duty)
SELECT s.policy_id, s.position, 0, coalesce(r.duty, 'ON_CALL')
FROM policy_steps s LEFT JOIN escalation_rules r ON r.reason = s.reason;

-- Which policy an incident follows now: a row, and no search path of its own, so that it is planned as a part of the query.
CREATE FUNCTION policy_of(of_service text, of_severity text) RETURNS TABLE (policy_id uuid) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT coalesce(
        (SELECT r.policy_id FROM tocsin.policy_routes r
         WHERE (r.service IS NULL OR r.service = of_service) AND (r.severities IS NULL OR of_severity = ANY (r.severities))
         ORDER BY r.position LIMIT 1),
        (SELECT p.id FROM tocsin.policies p WHERE p.is_default))
$$;

-- The steps beyond the first alert and the three rules, of every round, by the names under which heads know them.
CREATE VIEW further_steps AS
SELECT s.policy_id, format('%s.%s/%s', round, s.position, s.policy_id) AS name, round * c.cycle + s.after_seconds AS after_seconds
FROM policies p
JOIN (SELECT policy_id, max(after_seconds) AS cycle FROM policy_steps
      WHERE reason IN ('NO_ACK_1HR', 'NO_ACK_4HR', 'POLICY_STEP') GROUP BY policy_id) c ON c.policy_id = p.id
CROSS JOIN generate_series(0, p.repeat) AS round
JOIN policy_steps s ON s.policy_id = p.id
    AND (s.reason = 'POLICY_STEP' OR round > 0 AND s.reason IN ('NO_ACK_1HR', 'NO_ACK_4HR'));

-- The rules are the default policy's now. Who counts as overdue is asked of it, whatever other policies say.
CREATE OR REPLACE VIEW overdue_incidents AS
SELECT s.*, now() - s.created_at AS age FROM current_incident_status s
WHERE s.status = 'REPORTED' AND s.created_at <= now() - make_interval(secs => (
    SELECT t.after_seconds FROM policy_steps t JOIN policies p ON p.id = t.policy_id
    WHERE p.is_default AND t.reason = 'NO_ACK_1HR'));
DROP TABLE escalation_rules;

---------------------------------------------------------------------------------------------------------------
-- What holds pages back, and why each candidate was paged or not
---------------------------------------------------------------------------------------------------------------

-- A silence holds pages back, never incidents. What is NULL matches everything.
CREATE TABLE silences (
    id           uuid PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('SILENCE', 'MAINTENANCE')),
    incident_id  uuid REFERENCES incidents (id),
    project_id   bigint REFERENCES projects (id),
    service      text CHECK (char_length(service) BETWEEN 1 AND 200),
    severities   text[] CHECK (severities <@ ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'] AND cardinality(severities) > 0),
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL,
    reason       text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    created_by   uuid NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    -- Set when somebody ended it early; then ends_at is that instant too.
    ended_by     uuid REFERENCES users (id),
    -- Set when the sweep has seen that nothing it held back waits any more: it need not look again.
    released_at  timestamptz,
    CHECK (starts_at <= ends_at)
);
CREATE INDEX silences_end ON silences (ends_at);
CREATE INDEX silences_unreleased ON silences (ends_at) WHERE released_at IS NULL;
CREATE INDEX silences_incident ON silences (incident_id) WHERE incident_id IS NOT NULL;

-- For each incident, step and candidate one reason. Names are not written here: they can be erased where they stand.
CREATE TABLE paging_decisions (
    id             uuid PRIMARY KEY,
    incident_id    uuid NOT NULL REFERENCES incidents (id),
    -- INCIDENT_OPENED, NO_ACK_1HR, …; POLICY_STEP with its round, position and policy; others with what makes them one.
    step           text NOT NULL CHECK (char_length(step) BETWEEN 1 AND 100),
    reason         text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 50),
    -- NULL: the step reached nobody at all.
    user_id        uuid REFERENCES users (id),
    -- How they came to be a candidate: 'duty ON_CALL', 'schedule primary', …
    via            text NOT NULL CHECK (char_length(via) <= 500),
    paged          boolean NOT NULL,
    because        text NOT NULL CHECK (char_length(because) BETWEEN 1 AND 50),
    -- Who or what the reason names: who acknowledged, who is on call instead, which silence, until when.
    about_user_id  uuid REFERENCES users (id),
    silence_id     uuid REFERENCES silences (id),
    until          timestamptz,
    decided_at     timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (incident_id, step, user_id)
);
CREATE INDEX paging_decisions_silence ON paging_decisions (silence_id, incident_id) WHERE silence_id IS NOT NULL;
CREATE INDEX paging_decisions_user ON paging_decisions (user_id, decided_at DESC);
CREATE TRIGGER a_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON paging_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER a_no_row_change BEFORE UPDATE OR DELETE ON paging_decisions FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE paging_decisions ENABLE ALWAYS TRIGGER a_no_change;
ALTER TABLE paging_decisions ENABLE ALWAYS TRIGGER a_no_row_change;

-- A page may be due later than it is owed, and be cancelled before: somebody acknowledged meanwhile. What goes out in one
-- message shares its bundle's id, which is fixed before the message is sent.
ALTER TABLE notifications DROP CONSTRAINT notifications_state_check;
ALTER TABLE notifications ADD CONSTRAINT notifications_state_check CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED', 'CANCELLED'));
ALTER TABLE notifications
    ADD COLUMN decision_id  uuid REFERENCES paging_decisions (id),
    ADD COLUMN due_at       timestamptz,
    ADD COLUMN bundle_id    uuid,
    ADD COLUMN because      text CHECK (char_length(because) BETWEEN 1 AND 50),
    -- When somebody acknowledged by the link in it: it is good for once.
    ADD COLUMN link_used_at timestamptz;
UPDATE notifications SET due_at = created_at;
ALTER TABLE notifications ALTER COLUMN due_at SET NOT NULL;
ALTER TABLE notifications ADD CHECK (because IS NULL OR state = 'CANCELLED');
CREATE INDEX notifications_decision ON notifications (decision_id) WHERE decision_id IS NOT NULL;
CREATE INDEX notifications_bundle ON notifications (bundle_id) WHERE bundle_id IS NOT NULL;
CREATE INDEX notifications_waiting ON notifications (channel, address, due_at) WHERE state = 'PENDING';
CREATE INDEX notifications_of_contact ON notifications (channel, address, settled_at DESC) WHERE state = 'DELIVERED';

---------------------------------------------------------------------------------------------------------------
-- What the record says of it
---------------------------------------------------------------------------------------------------------------

ALTER TABLE incident_escalations DROP CONSTRAINT incident_escalations_escalation_reason_check;
ALTER TABLE incident_escalations ADD CONSTRAINT incident_escalations_escalation_reason_check CHECK (escalation_reason IN
    ('NO_ACK_1HR', 'NO_ACK_4HR', 'NO_ROOT_CAUSE_24HR', 'POLICY_STEP', 'MANUAL_ESCALATION', 'SEVERITY_ESCALATED'));
ALTER TABLE incident_lifecycle DROP CONSTRAINT incident_lifecycle_event_type_check;
ALTER TABLE incident_lifecycle ADD CONSTRAINT incident_lifecycle_event_type_check CHECK (event_type IN
    ('REPORTED', 'ACKNOWLEDGED', 'INVESTIGATION_STARTED', 'ROOT_CAUSE_RECORDED', 'RESOLVED', 'CLOSED', 'ESCALATED',
     'ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SESSIONS_BLOCKED', 'SIGNAL_RECEIVED', 'PERSONAL_DATA_ERASED',
     'ACKNOWLEDGMENT_LAPSED', 'PAGES_HELD'));

-- The service is what the first entry says; the lease of an acknowledgment runs from the last thing that a person did, or from
-- where it lapsed last; a further step of a policy is named by its round and position, and fires once.
ALTER TABLE incident_heads
    ADD COLUMN service      text,
    ADD COLUMN lease_from   timestamptz,
    ADD COLUMN lapses       integer NOT NULL DEFAULT 0,
    ADD COLUMN fired_steps  text[] NOT NULL DEFAULT '{}';
CREATE INDEX incident_heads_leased ON incident_heads (lease_from) WHERE status IN ('ACKNOWLEDGED', 'INVESTIGATING');

ALTER TABLE incident_heads DISABLE TRIGGER c_follows;
UPDATE incident_heads h SET lease_from = e.at
FROM (SELECT incident_id, max(event_at) AS at FROM incident_lifecycle
      WHERE actor_user_id IS NOT NULL AND event_type <> 'PERSONAL_DATA_ERASED' GROUP BY incident_id) e
WHERE e.incident_id = h.incident_id;
ALTER TABLE incident_heads ENABLE ALWAYS TRIGGER c_follows;

CREATE OR REPLACE FUNCTION allowed_status_after(event_type text, status text, has_root_cause boolean, may_block boolean, reason text)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE
        WHEN event_type = 'REPORTED' AND status IS NULL THEN 'REPORTED'
        WHEN event_type = 'ACKNOWLEDGED' AND status = 'REPORTED' THEN 'ACKNOWLEDGED'
        WHEN event_type = 'INVESTIGATION_STARTED' AND status = 'ACKNOWLEDGED' THEN 'INVESTIGATING'
        WHEN event_type = 'ROOT_CAUSE_RECORDED' AND status = 'INVESTIGATING' AND NOT has_root_cause THEN 'INVESTIGATING'
        WHEN event_type = 'RESOLVED' AND status = 'INVESTIGATING' AND has_root_cause THEN 'RESOLVED'
        WHEN event_type = 'CLOSED' AND status = 'RESOLVED' THEN 'CLOSED'
        WHEN event_type = 'SESSIONS_BLOCKED' AND status = 'REPORTED' AND may_block THEN status
        WHEN event_type = 'ACKNOWLEDGMENT_LAPSED' AND status IN ('ACKNOWLEDGED', 'INVESTIGATING') THEN status
        WHEN event_type = 'PAGES_HELD' AND status <> 'CLOSED' THEN status
        WHEN event_type = 'ESCALATED' THEN CASE
            WHEN reason IN ('NO_ACK_1HR', 'NO_ACK_4HR', 'POLICY_STEP') AND status = 'REPORTED' THEN status
            WHEN reason = 'NO_ROOT_CAUSE_24HR' AND status <> 'CLOSED' AND NOT has_root_cause THEN status
            WHEN reason = 'MANUAL_ESCALATION' AND status <> 'CLOSED' THEN status
            WHEN reason = 'SEVERITY_ESCALATED' THEN status END
        WHEN event_type IN ('ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SIGNAL_RECEIVED', 'PERSONAL_DATA_ERASED')
            AND status IS NOT NULL THEN status
    END;
END $$;

CREATE OR REPLACE FUNCTION check_entry(entry incident_lifecycle, head incident_heads) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    escalation  text := escalation_reason_of(entry);
    expected    text := allowed_status_after(entry.event_type, head.status, head.root_cause_at IS NOT NULL,
        head.current_severity = 'CRITICAL' AND head.sessions_blocked_at IS NULL, escalation);
    reason      text;
BEGIN
    IF entry.sequence <> coalesce(head.sequence, 0) + 1 THEN
        reason := format('the next entry is number %s', coalesce(head.sequence, 0) + 1);
    ELSIF entry.previous_checksum IS DISTINCT FROM head.checksum THEN
        reason := 'it does not continue the last entry (previous_checksum differs)';
    ELSIF entry.status_before IS DISTINCT FROM head.status THEN
        reason := format('the incident is %s', coalesce(head.status, 'not reported yet'));
    ELSIF expected IS NULL OR expected <> entry.status_after THEN
        reason := format('it does not lead from %s to %s', coalesce(head.status, 'nothing'), entry.status_after);
    ELSIF NOT detail_is_there(entry) THEN
        reason := 'the detail that it names is not recorded';
    ELSIF entry.event_type = 'SEVERITY_CHANGED' AND (entry.metadata ->> 'from' IS DISTINCT FROM head.current_severity
        OR NOT may_change_severity(head.current_severity, entry.metadata ->> 'to', head.status, entry.actor_role)) THEN
        reason := 'severity may not change this way: its metadata says from which to which';
    ELSIF escalation = 'POLICY_STEP' AND coalesce(entry.metadata ->> 'step' = ANY (head.fired_steps), true) THEN
        reason := 'its metadata must name a step of the policy, which fires once';
    ELSIF entry.event_type IN ('ACKNOWLEDGMENT_LAPSED', 'PAGES_HELD') AND entry.actor_role <> 'system' THEN
        reason := 'only the clock says so';
    END IF;
    IF reason IS NOT NULL THEN
        PERFORM refuse_step(format('entry %s (%s)', entry.sequence, entry.event_type), reason);
    END IF;
END $$;

-- What of a head follows from an entry whatever came before, the first one too.
CREATE FUNCTION lease_after(entry incident_lifecycle, lease_from timestamptz) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF entry.event_type = 'ACKNOWLEDGMENT_LAPSED' OR (entry.actor_user_id IS NOT NULL AND entry.event_type <> 'PERSONAL_DATA_ERASED') THEN
        RETURN entry.event_at;
    END IF;
    RETURN lease_from;
END $$;

CREATE OR REPLACE FUNCTION open_head(entry incident_lifecycle) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    incident  tocsin.incidents;
BEGIN
    SELECT * INTO incident FROM tocsin.incidents WHERE id = entry.incident_id;
    INSERT INTO tocsin.incident_heads (incident_id, number, status, current_severity, sequence, checksum, created_at, last_event_at,
        service, lease_from)
    VALUES (incident.id, incident.number, 'REPORTED', incident.severity, 1, entry.checksum, incident.created_at, entry.event_at,
        entry.metadata ->> 'service', lease_after(entry, NULL));
    INSERT INTO tocsin.incident_tallies VALUES ('REPORTED', incident.severity, 1);
END $$;

CREATE OR REPLACE FUNCTION head_after(entry incident_lifecycle, head incident_heads) RETURNS incident_heads LANGUAGE plpgsql STABLE AS $$
DECLARE
    reason  text := escalation_reason_of(entry);
BEGIN
    head.status := entry.status_after;
    head.sequence := entry.sequence;
    head.checksum := entry.checksum;
    head.last_event_at := entry.event_at;
    IF entry.event_type = 'ACKNOWLEDGMENT_LAPSED' THEN
        head.lapses := head.lapses + 1;
    ELSIF lease_after(entry, NULL) IS NOT NULL THEN
        head.lapses := 0;
    END IF;
    head.lease_from := lease_after(entry, head.lease_from);
    CASE entry.event_type
        WHEN 'ACKNOWLEDGED' THEN
            head.acknowledged_at := entry.event_at;
            head.acknowledged_by := entry.actor_user_id;
        WHEN 'ROOT_CAUSE_RECORDED' THEN head.root_cause_at := entry.event_at;
        WHEN 'RESOLVED' THEN head.resolved_at := entry.event_at;
        WHEN 'CLOSED' THEN head.closed_at := entry.event_at;
        WHEN 'SESSIONS_BLOCKED' THEN head.sessions_blocked_at := entry.event_at;
        WHEN 'SEVERITY_CHANGED' THEN head.current_severity := entry.metadata ->> 'to';
        ELSE NULL;
    END CASE;
    CASE reason
        WHEN 'NO_ACK_1HR' THEN head.no_ack_1hr_at := entry.event_at;
        WHEN 'NO_ACK_4HR' THEN head.no_ack_4hr_at := entry.event_at;
        WHEN 'NO_ROOT_CAUSE_24HR' THEN head.no_root_cause_24hr_at := entry.event_at;
        WHEN 'POLICY_STEP' THEN head.fired_steps := head.fired_steps || (entry.metadata ->> 'step');
        ELSE NULL;
    END CASE;
    RETURN head;
END $$;

CREATE OR REPLACE FUNCTION move_head(entry incident_lifecycle, head incident_heads) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved  incident_heads := head_after(entry, head);
BEGIN
    UPDATE incident_heads SET
        status = moved.status, current_severity = moved.current_severity, sequence = moved.sequence, checksum = moved.checksum,
        last_event_at = moved.last_event_at, acknowledged_at = moved.acknowledged_at, acknowledged_by = moved.acknowledged_by,
        root_cause_at = moved.root_cause_at, resolved_at = moved.resolved_at, closed_at = moved.closed_at,
        no_ack_1hr_at = moved.no_ack_1hr_at, no_ack_4hr_at = moved.no_ack_4hr_at,
        no_root_cause_24hr_at = moved.no_root_cause_24hr_at, sessions_blocked_at = moved.sessions_blocked_at,
        lease_from = moved.lease_from, lapses = moved.lapses, fired_steps = moved.fired_steps
    WHERE incident_id = entry.incident_id;
    IF (head.status, head.current_severity) IS DISTINCT FROM (moved.status, moved.current_severity) THEN
        INSERT INTO incident_tallies VALUES
            (head.status, head.current_severity, -1), (moved.status, moved.current_severity, 1);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION check_head() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
DECLARE
    entry     incident_lifecycle;
    incident  incidents;
    follows   boolean;
BEGIN
    SELECT * INTO entry FROM incident_lifecycle WHERE incident_id = NEW.incident_id AND sequence = NEW.sequence;
    IF TG_OP = 'INSERT' THEN
        SELECT * INTO incident FROM incidents WHERE id = NEW.incident_id;
        follows := NEW.sequence = 1 AND NEW.number = incident.number AND NEW.current_severity = incident.severity
            AND NEW.created_at = incident.created_at AND NEW.status = entry.status_after AND NEW.checksum = entry.checksum
            AND NEW.last_event_at = entry.event_at
            AND NEW.service IS NOT DISTINCT FROM entry.metadata ->> 'service'
            AND NEW.lease_from IS NOT DISTINCT FROM lease_after(entry, NULL)
            AND NEW.lapses = 0 AND cardinality(NEW.fired_steps) = 0
            AND num_nonnulls(NEW.acknowledged_at, NEW.acknowledged_by, NEW.root_cause_at, NEW.resolved_at, NEW.closed_at,
                NEW.no_ack_1hr_at, NEW.no_ack_4hr_at, NEW.no_root_cause_24hr_at, NEW.sessions_blocked_at) = 0;
    ELSE
        follows := entry.sequence = OLD.sequence + 1 AND NEW IS NOT DISTINCT FROM head_after(entry, OLD);
    END IF;
    IF follows IS NOT TRUE THEN
        RAISE EXCEPTION '% on incident_heads refused: a head says what its timeline says', TG_OP
            USING ERRCODE = 'TC001', HINT = 'Add the entry that says what is different now; the head follows it.';
    END IF;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION lease_after FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION policy_of FROM PUBLIC;

---------------------------------------------------------------------------------------------------------------
-- Rights of the application
---------------------------------------------------------------------------------------------------------------

GRANT SELECT, INSERT, UPDATE, DELETE ON notification_rules, schedules, schedule_layers, schedule_members, schedule_overrides,
    policy_steps, policy_targets, policy_routes, policies TO tocsin_app;
GRANT SELECT, INSERT, UPDATE ON calendar_feeds, silences TO tocsin_app;
GRANT SELECT, INSERT ON paging_decisions TO tocsin_app;
GRANT SELECT ON further_steps TO tocsin_app;
GRANT EXECUTE ON FUNCTION policy_of TO tocsin_app;
