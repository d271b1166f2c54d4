-- Intake at the speed of the disk: reports that are counted and not kept whole, counters without a row that everybody
-- waits for, the ledger of intake, and what a project decides for itself.

---------------------------------------------------------------------------------------------------------------
-- Reports: in a storm only samples keep their document, so the others must cost little to store
---------------------------------------------------------------------------------------------------------------

ALTER TABLE audit_logs ALTER COLUMN document DROP NOT NULL;
ALTER TABLE audit_logs ALTER COLUMN checksum DROP NOT NULL;
ALTER TABLE audit_logs ALTER COLUMN document SET STORAGE MAIN;
ALTER TABLE audit_logs ADD COLUMN signal text CHECK (signal IN ('acknowledge', 'resolve'));
-- What opened an incident is always kept: the incident's first entry names its checksum.
ALTER TABLE audit_logs ADD CHECK (outcome <> 'opened' OR document IS NOT NULL);

DROP INDEX audit_logs_failure;
DROP INDEX audit_logs_incident;
CREATE INDEX audit_logs_samples ON audit_logs (incident_id, received_at DESC)
    WHERE incident_id IS NOT NULL AND document IS NOT NULL;
-- The ledger is compared with what was recorded minute by minute; rows arrive in the order of their times.
CREATE INDEX audit_logs_received ON audit_logs USING brin (received_at) WITH (pages_per_range = 32, autosummarize = on);

-- A foreign key looks once for each row, and locks the one incident that a storm is about. Incidents and projects are
-- never deleted, so it is enough to look once for each statement.
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_incident_id_fkey;
ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_project_id_fkey;

CREATE FUNCTION check_links() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT project_id FROM arrived) a
               WHERE NOT EXISTS (SELECT FROM projects p WHERE p.id = a.project_id))
    OR EXISTS (SELECT FROM (SELECT DISTINCT incident_id FROM arrived WHERE incident_id IS NOT NULL) a
               WHERE NOT EXISTS (SELECT FROM incidents i WHERE i.id = a.incident_id)) THEN
        RAISE EXCEPTION 'a report names a project or an incident that does not exist' USING ERRCODE = 'TC004';
    END IF;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION check_links FROM PUBLIC;
CREATE TRIGGER c_links AFTER INSERT ON audit_logs REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION check_links();
CREATE TRIGGER c_links_changed AFTER UPDATE ON audit_logs REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION check_links();
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER c_links;
ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER c_links_changed;

-- When a failure was seen is told by its reports; a time here would be a row that every report writes to.
ALTER TABLE failures DROP COLUMN last_seen_at;

-- Whether a project is in a storm is told by the incidents that it opened just now.
CREATE INDEX incidents_project_recent ON incidents (project_id, created_at DESC) WHERE project_id IS NOT NULL;

-- The latest report of a failure whose row in audit_logs was not kept whole.
CREATE TABLE latest_reports (
    project_id   bigint NOT NULL REFERENCES projects (id),
    fingerprint  text NOT NULL,
    incident_id  uuid REFERENCES incidents (id),
    report_id    uuid NOT NULL,
    received_at  timestamptz NOT NULL,
    document     bytea NOT NULL,
    PRIMARY KEY (project_id, fingerprint)
) WITH (fillfactor = 50);
CREATE INDEX latest_reports_incident ON latest_reports (incident_id) WHERE incident_id IS NOT NULL;

---------------------------------------------------------------------------------------------------------------
-- Counters as differences: whoever counts adds a row, a chore folds them, whoever reads adds both up
---------------------------------------------------------------------------------------------------------------

CREATE TABLE occurrence_changes (
    incident_id   uuid NOT NULL,
    occurrences   bigint NOT NULL,
    last_seen_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX occurrence_changes_incident ON occurrence_changes (incident_id);

-- The ledger of intake: for each project and minute, received = opened + joined + recorded + duplicate + rejected.
-- The reason of what was received is its protocol, of what was rejected why; 'lost' is what clients say they dropped.
CREATE TABLE intake_changes (
    project_id  bigint NOT NULL,
    minute      timestamptz NOT NULL,
    measure     text NOT NULL CHECK (measure IN
        ('received', 'opened', 'joined', 'recorded', 'duplicate', 'rejected', 'lost')),
    reason      text NOT NULL CHECK (char_length(reason) <= 200),
    quantity    bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE TABLE intake_minutes (
    project_id  bigint NOT NULL,
    minute      timestamptz NOT NULL,
    measure     text NOT NULL,
    reason      text NOT NULL,
    quantity    bigint NOT NULL,
    PRIMARY KEY (minute, project_id, measure, reason)
);

-- The minutes up to this one were compared with what was recorded.
CREATE TABLE ledger_progress (
    only_one    boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    checked_to  timestamptz NOT NULL
);

CREATE VIEW intake_ledger AS
SELECT project_id, minute, measure, reason, sum(quantity)::bigint AS quantity
FROM (SELECT * FROM intake_minutes UNION ALL SELECT * FROM intake_changes) everything
GROUP BY project_id, minute, measure, reason;

CREATE OR REPLACE VIEW current_incident_status AS
SELECT i.id, h.number, i.project_id, i.incident_type, i.severity, h.current_severity, h.status, i.title, i.description,
       h.created_at, i.created_by_system, i.created_by_user_id, i.created_from_error_id, i.recurrence_of, i.fingerprint,
       (coalesce(o.occurrences, 0) + coalesce(c.occurrences, 0))::bigint AS occurrences,
       coalesce(greatest(o.last_seen_at, c.last_seen_at), h.created_at) AS last_seen_at,
       h.acknowledged_at, h.acknowledged_by, h.root_cause_at, h.resolved_at, h.closed_at, h.last_event_at, h.sequence, i.checksum
FROM incident_heads h
JOIN incidents i ON i.id = h.incident_id
LEFT JOIN incident_occurrences o ON o.incident_id = h.incident_id
LEFT JOIN LATERAL (
    SELECT sum(occurrences) AS occurrences, max(last_seen_at) AS last_seen_at
    FROM occurrence_changes WHERE incident_id = h.incident_id
) c ON true;

---------------------------------------------------------------------------------------------------------------
-- What a project decides for itself
---------------------------------------------------------------------------------------------------------------

ALTER TABLE projects
    ADD COLUMN dedup_window_seconds integer CHECK (dedup_window_seconds BETWEEN 0 AND 86400),
    ADD COLUMN incident_threshold text CHECK (incident_threshold IN ('LOW', 'MEDIUM', 'HIGH')),
    ADD COLUMN severity_rules jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(severity_rules) = 'array'),
    ADD COLUMN field_mapping jsonb CHECK (jsonb_typeof(field_mapping) = 'object');

---------------------------------------------------------------------------------------------------------------
-- Signals: what another system says of a failure is an entry, and leads nowhere
---------------------------------------------------------------------------------------------------------------

ALTER TABLE incident_lifecycle DROP CONSTRAINT incident_lifecycle_event_type_check;
ALTER TABLE incident_lifecycle ADD CONSTRAINT incident_lifecycle_event_type_check CHECK (event_type IN
    ('REPORTED', 'ACKNOWLEDGED', 'INVESTIGATION_STARTED', 'ROOT_CAUSE_RECORDED', 'RESOLVED', 'CLOSED',
     'ESCALATED', 'ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SESSIONS_BLOCKED', 'SIGNAL_RECEIVED'));

CREATE OR REPLACE FUNCTION allowed_status_after(event_type text, status text, has_root_cause boolean, may_block boolean, reason text)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN event_type = 'REPORTED' AND status IS NULL THEN 'REPORTED'
        WHEN event_type = 'ACKNOWLEDGED' AND status = 'REPORTED' THEN 'ACKNOWLEDGED'
        WHEN event_type = 'INVESTIGATION_STARTED' AND status = 'ACKNOWLEDGED' THEN 'INVESTIGATING'
        WHEN event_type = 'ROOT_CAUSE_RECORDED' AND status = 'INVESTIGATING' AND NOT has_root_cause THEN 'INVESTIGATING'
        WHEN event_type = 'RESOLVED' AND status = 'INVESTIGATING' AND has_root_cause THEN 'RESOLVED'
        WHEN event_type = 'CLOSED' AND status = 'RESOLVED' THEN 'CLOSED'
        WHEN event_type = 'SESSIONS_BLOCKED' AND status = 'REPORTED' AND may_block THEN status
        WHEN event_type = 'ESCALATED' THEN CASE
            WHEN reason IN ('NO_ACK_1HR', 'NO_ACK_4HR') AND status = 'REPORTED' THEN status
            WHEN reason = 'NO_ROOT_CAUSE_24HR' AND status <> 'CLOSED' AND NOT has_root_cause THEN status
            WHEN reason = 'MANUAL_ESCALATION' AND status <> 'CLOSED' THEN status
            WHEN reason = 'SEVERITY_ESCALATED' THEN status END
        WHEN event_type IN ('ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SIGNAL_RECEIVED')
            AND status IS NOT NULL THEN status
    END
$$;

---------------------------------------------------------------------------------------------------------------
-- Rights
---------------------------------------------------------------------------------------------------------------

GRANT SELECT ON latest_reports, occurrence_changes, intake_changes, intake_minutes, ledger_progress, intake_ledger TO tocsin_app;
GRANT INSERT, UPDATE ON latest_reports, intake_minutes, ledger_progress TO tocsin_app;
GRANT INSERT, DELETE ON occurrence_changes, intake_changes TO tocsin_app;
GRANT DELETE ON intake_minutes TO tocsin_app;
