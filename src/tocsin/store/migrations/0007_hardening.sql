-- What the owner of the tables could still do by plain statements: tell of an incident what its timeline does not say, and
-- change who was paged. What it could do by changing the schema itself is refused by hardening.sql, which takes a superuser.

-- Where an incident stands after an entry, from where it stood before. Runs with the search_path that its callers set.
CREATE FUNCTION head_after(entry incident_lifecycle, head incident_heads) RETURNS incident_heads LANGUAGE plpgsql STABLE AS $$
DECLARE
    reason  text := escalation_reason_of(entry);
BEGIN
    head.status := entry.status_after;
    head.sequence := entry.sequence;
    head.checksum := entry.checksum;
    head.last_event_at := entry.event_at;
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
        no_root_cause_24hr_at = moved.no_root_cause_24hr_at, sessions_blocked_at = moved.sessions_blocked_at
    WHERE incident_id = entry.incident_id;
    IF (head.status, head.current_severity) IS DISTINCT FROM (moved.status, moved.current_severity) THEN
        INSERT INTO incident_tallies VALUES
            (head.status, head.current_severity, -1), (moved.status, moved.current_severity, 1);
    END IF;
END $$;

-- A head is derived, so whoever writes one must write what the timeline makes it: one entry further, and nothing else.
CREATE FUNCTION check_head() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
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
REVOKE EXECUTE ON FUNCTION head_after, check_head FROM PUBLIC;

CREATE TRIGGER a_no_change BEFORE DELETE OR TRUNCATE ON incident_heads FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER a_no_row_change BEFORE DELETE ON incident_heads FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER c_follows AFTER INSERT OR UPDATE ON incident_heads FOR EACH ROW EXECUTE FUNCTION check_head();
ALTER TABLE incident_heads ENABLE ALWAYS TRIGGER a_no_change;
ALTER TABLE incident_heads ENABLE ALWAYS TRIGGER a_no_row_change;
ALTER TABLE incident_heads ENABLE ALWAYS TRIGGER c_follows;

-- Whether a page arrived is what somebody will ask who was not paged. Only the answer may name a person, and be erased with them.
CREATE FUNCTION allow_erasure_of_attempt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    expected  delivery_attempts := OLD;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        expected.answer := '[erased]';
        IF expected IS NOT DISTINCT FROM NEW AND is_erased_by_log('users',
            (SELECT user_id FROM notifications WHERE id = OLD.notification_id)) THEN
            RETURN NEW;
        END IF;
    END IF;
    PERFORM refuse_row_change(TG_OP, TG_TABLE_NAME);
END $$;
REVOKE EXECUTE ON FUNCTION allow_erasure_of_attempt FROM PUBLIC;

CREATE TRIGGER a_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON delivery_attempts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_by_hand();
CREATE TRIGGER a_no_row_change BEFORE UPDATE OR DELETE ON delivery_attempts
    FOR EACH ROW EXECUTE FUNCTION allow_erasure_of_attempt();
ALTER TABLE delivery_attempts ENABLE ALWAYS TRIGGER a_no_change;
ALTER TABLE delivery_attempts ENABLE ALWAYS TRIGGER a_no_row_change;
