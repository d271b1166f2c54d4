-- The guards of 0001 say what they said, for less: of ten thousand failures at once each opens an incident, and each of
-- these runs every guard. What is changed is how they ask, not what they refuse.

---------------------------------------------------------------------------------------------------------------
-- Columns and canonical bytes
---------------------------------------------------------------------------------------------------------------

-- Makes the guard that holds a table's columns against its canonical bytes: a function of the table's own, whose types are
-- known when it is planned. It rebuilds the row from the bytes and nothing else, so that a column which they leave out
-- counts too. A migration that changes the columns of a guarded table calls this again; until it does, bytes that name a
-- new column are refused.
CREATE FUNCTION guard_canonical(guarded text) RETURNS void LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $make$
DECLARE
    columns  text[] := ARRAY(SELECT attname::text FROM pg_attribute
                             WHERE attrelid = guarded::regclass AND attnum > 0 AND NOT attisdropped
                               AND attname NOT IN ('canonical', 'checksum') ORDER BY attnum);
BEGIN
    EXECUTE format($guard$
        CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
        DECLARE
            said     jsonb := convert_from(NEW.canonical, 'UTF8')::jsonb;
            rebuilt  %2$I := jsonb_populate_record(NULL::%2$I, said);
        BEGIN
            rebuilt.canonical := NEW.canonical;
            IF rebuilt IS DISTINCT FROM NEW OR NOT said @> %3$L OR said - %4$L::text[] <> '{}' THEN
                RAISE EXCEPTION 'the row for %% does not say what its canonical bytes say', TG_TABLE_NAME
                    USING ERRCODE = 'TC003', HINT = 'Build the canonical bytes from the very values that are inserted.';
            END IF;
            RETURN NEW;
        END $$ $guard$,
        'check_canonical_' || guarded, guarded, jsonb_build_object('record', guarded, 'v', 1), columns || ARRAY['record', 'v']);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %I FROM PUBLIC', 'check_canonical_' || guarded);
    EXECUTE format('CREATE OR REPLACE TRIGGER b_canonical BEFORE INSERT ON %I FOR EACH ROW EXECUTE FUNCTION %I()',
        guarded, 'check_canonical_' || guarded);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER b_canonical', guarded);
END $make$;
REVOKE EXECUTE ON FUNCTION guard_canonical FROM PUBLIC;

SELECT guard_canonical(guarded)
FROM unnest(ARRAY['incidents', 'incident_lifecycle', 'incident_acknowledgments', 'incident_root_causes', 'incident_escalations',
    'incident_escalation_acknowledgments', 'incident_resolution', 'incident_closures']) AS guarded;

DROP FUNCTION check_canonical();

---------------------------------------------------------------------------------------------------------------
-- Steps: a function in SQL is planned again in each transaction, one in PL/pgSQL once in each session. Those that
-- take_step calls run with the search_path that it sets.
---------------------------------------------------------------------------------------------------------------

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
        WHEN event_type = 'ESCALATED' THEN CASE
            WHEN reason IN ('NO_ACK_1HR', 'NO_ACK_4HR') AND status = 'REPORTED' THEN status
            WHEN reason = 'NO_ROOT_CAUSE_24HR' AND status <> 'CLOSED' AND NOT has_root_cause THEN status
            WHEN reason = 'MANUAL_ESCALATION' AND status <> 'CLOSED' THEN status
            WHEN reason = 'SEVERITY_ESCALATED' THEN status END
        WHEN event_type IN ('ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SIGNAL_RECEIVED')
            AND status IS NOT NULL THEN status
    END;
END $$;

CREATE OR REPLACE FUNCTION detail_is_there(entry incident_lifecycle) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    CASE entry.event_type
        WHEN 'REPORTED' THEN RETURN EXISTS (SELECT FROM tocsin.incidents
            WHERE id = entry.incident_id AND checksum = entry.detail_checksum
              AND created_by_user_id IS NOT DISTINCT FROM entry.actor_user_id);
        WHEN 'ACKNOWLEDGED' THEN RETURN EXISTS (SELECT FROM tocsin.incident_acknowledgments
            WHERE incident_id = entry.incident_id AND checksum = entry.detail_checksum AND ack_by_user_id = entry.actor_user_id);
        WHEN 'ROOT_CAUSE_RECORDED' THEN RETURN EXISTS (SELECT FROM tocsin.incident_root_causes
            WHERE incident_id = entry.incident_id AND checksum = entry.detail_checksum AND identified_by_user_id = entry.actor_user_id);
        WHEN 'RESOLVED' THEN RETURN EXISTS (SELECT FROM tocsin.incident_resolution
            WHERE incident_id = entry.incident_id AND checksum = entry.detail_checksum AND resolved_by_user_id = entry.actor_user_id);
        WHEN 'ESCALATED' THEN RETURN EXISTS (SELECT FROM tocsin.incident_escalations
            WHERE incident_id = entry.incident_id AND checksum = entry.detail_checksum
              AND escalated_by_user_id IS NOT DISTINCT FROM entry.actor_user_id);
        -- Only the one to whom it was escalated, in this very incident, can say that it arrived.
        WHEN 'ESCALATION_ACKNOWLEDGED' THEN RETURN EXISTS (SELECT FROM tocsin.incident_escalation_acknowledgments a
            JOIN tocsin.incident_escalations e ON e.id = a.escalation_id AND e.incident_id = a.incident_id
                AND e.escalated_to_user_id = a.acknowledged_by_user_id
            WHERE a.incident_id = entry.incident_id AND a.checksum = entry.detail_checksum
              AND a.acknowledged_by_user_id = entry.actor_user_id);
        WHEN 'CLOSED' THEN
            IF entry.detail_checksum IS NULL THEN
                RETURN EXISTS (SELECT FROM tocsin.incident_resolution WHERE incident_id = entry.incident_id
                    AND lessons_learned IS NOT NULL AND follow_up_actions IS NOT NULL);
            END IF;
            RETURN EXISTS (SELECT FROM tocsin.incident_closures WHERE incident_id = entry.incident_id
                AND checksum = entry.detail_checksum AND closed_by_user_id = entry.actor_user_id);
        ELSE RETURN entry.detail_checksum IS NULL;
    END CASE;
END $$;

CREATE OR REPLACE FUNCTION escalation_reason_of(entry incident_lifecycle) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF entry.event_type <> 'ESCALATED' THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT escalation_reason FROM tocsin.incident_escalations
            WHERE incident_id = entry.incident_id AND checksum = entry.detail_checksum);
END $$;

CREATE OR REPLACE FUNCTION check_entry(entry incident_lifecycle, head incident_heads) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    expected  text := allowed_status_after(entry.event_type, head.status, head.root_cause_at IS NOT NULL,
        head.current_severity = 'CRITICAL' AND head.sessions_blocked_at IS NULL, escalation_reason_of(entry));
    reason    text;
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
    END IF;
    IF reason IS NOT NULL THEN
        PERFORM refuse_step(format('entry %s (%s)', entry.sequence, entry.event_type), reason);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION open_head(entry incident_lifecycle) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    incident  tocsin.incidents;
BEGIN
    SELECT * INTO incident FROM tocsin.incidents WHERE id = entry.incident_id;
    INSERT INTO tocsin.incident_heads (incident_id, number, status, current_severity, sequence, checksum, created_at, last_event_at)
    VALUES (incident.id, incident.number, 'REPORTED', incident.severity, 1, entry.checksum, incident.created_at, entry.event_at);
    INSERT INTO tocsin.incident_tallies VALUES ('REPORTED', incident.severity, 1);
END $$;

---------------------------------------------------------------------------------------------------------------
-- Jobs: who works at one kind must not read the others to find its earliest
---------------------------------------------------------------------------------------------------------------

CREATE INDEX jobs_due_of_kind ON jobs (kind, due_at) WHERE dead_at IS NULL;
