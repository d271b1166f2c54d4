-- Erasure: what people wrote and clients sent can be taken out of the record, and the rest still verifies.
-- Canonical bytes only commit to such texts, by salted hashes (RFC 9901); beside each text stands its disclosure. An entry
-- PERSONAL_DATA_ERASED (or, for what belongs to no incident, a leaf log_erasure of the log) names what is erased, who asked
-- and why; writing it is what erases. No other change of a row is possible, for anybody, and this one only in that form.

---------------------------------------------------------------------------------------------------------------
-- Texts and their disclosures
---------------------------------------------------------------------------------------------------------------

-- Which columns of a guarded table are texts of people. tocsin.domain.disclosure says the same.
CREATE FUNCTION disclosable(guarded text) RETURNS text[] LANGUAGE sql IMMUTABLE SET search_path = tocsin, pg_temp AS $$
    SELECT CASE guarded
        WHEN 'incidents' THEN ARRAY['title', 'description']
        WHEN 'incident_acknowledgments' THEN ARRAY['ack_notes']
        WHEN 'incident_root_causes' THEN ARRAY['root_cause_summary', 'remediation_steps']
        WHEN 'incident_escalations' THEN ARRAY['escalation_notes']
        WHEN 'incident_resolution' THEN ARRAY['resolution_summary', 'resolution_notes', 'impact_assessment', 'lessons_learned',
            'follow_up_actions']
        WHEN 'incident_closures' THEN ARRAY['lessons_learned', 'follow_up_actions']
        WHEN 'incident_lifecycle' THEN ARRAY['personal']
        ELSE '{}' END
$$;

-- What of an entry may concern a person. Its metadata keeps the facts.
ALTER TABLE incident_lifecycle ADD COLUMN personal jsonb CHECK (jsonb_typeof(personal) = 'object');

-- A text may be missing where it was erased, and nowhere else.
DO $$
DECLARE
    guarded  text;
    texts    record;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['incidents', 'incident_acknowledgments', 'incident_root_causes', 'incident_escalations',
        'incident_resolution', 'incident_closures', 'incident_lifecycle']
    LOOP
        EXECUTE format($alter$ALTER TABLE %I ADD COLUMN disclosures text[] NOT NULL DEFAULT '{}',
            ADD COLUMN erased text[] NOT NULL DEFAULT '{}'$alter$, guarded);
        FOR texts IN SELECT attname FROM pg_attribute
            WHERE attrelid = guarded::regclass AND attnotnull AND attname = ANY (disclosable(guarded))
        LOOP
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I DROP NOT NULL, ADD CHECK (%2$I IS NOT NULL OR %2$L = ANY (erased))',
                guarded, texts.attname);
        END LOOP;
    END LOOP;
END $$;

-- A disclosure is base64url without padding of JSON: [salt, name, value].
CREATE FUNCTION read_disclosure(disclosure text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN convert_from(decode(replace(replace(disclosure, '-', '+'), '_', '/') || repeat('=', -octet_length(disclosure) & 3),
        'base64'), 'UTF8')::jsonb;
END $$;

-- Makes the guard that holds a table's columns against its canonical bytes, as in 0004, and its texts against their
-- disclosures: each text has one, each is committed to, and the bytes commit to nothing else.
CREATE OR REPLACE FUNCTION guard_canonical(guarded text) RETURNS void LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $make$
DECLARE
    texts    text[] := disclosable(guarded);
    has_any  boolean := cardinality(texts) > 0;
    columns  text[] := ARRAY(SELECT attname::text FROM pg_attribute
                             WHERE attrelid = guarded::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL (texts)
                               AND attname NOT IN ('canonical', 'checksum', 'disclosures', 'erased') ORDER BY attnum);
    text_of  text := (SELECT string_agg(format('NEW.%I', name), ', ') FROM unnest(texts) name);
BEGIN
    EXECUTE format($guard$
        CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
        DECLARE
            said     jsonb := convert_from(NEW.canonical, 'UTF8')::jsonb;
            rebuilt  %2$I := jsonb_populate_record(NULL::%2$I, said);
            %5$s
        BEGIN
            rebuilt.canonical := NEW.canonical;
            %6$s
            IF rebuilt IS DISTINCT FROM NEW OR NOT said @> %3$L OR said - %4$L::text[] <> '{}' %7$s THEN
                RAISE EXCEPTION 'the row for %% does not say what its canonical bytes say', TG_TABLE_NAME
                    USING ERRCODE = 'TC003', HINT = 'Build the canonical bytes from the very values that are inserted.';
            END IF;
            RETURN NEW;
        END $$ $guard$,
        'check_canonical_' || guarded, guarded, jsonb_build_object('record', guarded, 'v', 1),
        columns || ARRAY['record', 'v'] || CASE WHEN has_any THEN ARRAY['_sd'] ELSE '{}' END,
        CASE WHEN has_any THEN format($declare$
            committed  jsonb := said -> '_sd';
            told     jsonb := %L;
            kept     boolean := true;
            part     jsonb;
            one      text;$declare$, (SELECT jsonb_object_agg(name, NULL) FROM unnest(texts) name)) ELSE '' END,
        CASE WHEN has_any THEN format($disclosures$
            rebuilt.disclosures := NEW.disclosures;
            rebuilt.erased := '{}';
            %s
            FOREACH one IN ARRAY NEW.disclosures LOOP
                part := convert_from(decode(replace(replace(one, '-', '+'), '_', '/') || repeat('=', -octet_length(one) & 3),
                    'base64'), 'UTF8')::jsonb;
                told := told || jsonb_build_object(part ->> 1, part -> 2);
                kept := kept AND jsonb_array_length(part) = 3 AND length(part ->> 0) >= 22
                    AND committed ? replace(replace(rtrim(encode(sha256(convert_to(one, 'UTF8')), 'base64'), '='), '+', '-'), '/', '_');
            END LOOP;$disclosures$, (SELECT string_agg(format('rebuilt.%1$I := NEW.%1$I;', name), ' ') FROM unnest(texts) name))
        ELSE '' END,
        CASE WHEN has_any THEN format($condition$
                OR kept IS NOT TRUE OR told <> jsonb_build_object(%s) OR num_nonnulls(%s) <> cardinality(NEW.disclosures)
                OR jsonb_array_length(committed) IS DISTINCT FROM cardinality(NEW.disclosures)$condition$,
            (SELECT string_agg(format('%1$L, NEW.%1$I', name), ', ') FROM unnest(texts) name), text_of)
        ELSE '' END);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %I FROM PUBLIC', 'check_canonical_' || guarded);
    EXECUTE format('CREATE OR REPLACE TRIGGER b_canonical BEFORE INSERT ON %I FOR EACH ROW EXECUTE FUNCTION %I()',
        guarded, 'check_canonical_' || guarded);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER b_canonical', guarded);
END $make$;

SELECT guard_canonical(guarded)
FROM unnest(ARRAY['incidents', 'incident_lifecycle', 'incident_acknowledgments', 'incident_root_causes', 'incident_escalations',
    'incident_escalation_acknowledgments', 'incident_resolution', 'incident_closures']) AS guarded;

---------------------------------------------------------------------------------------------------------------
-- Reports and the access log can be erased too; they are guarded, but not canonical
---------------------------------------------------------------------------------------------------------------

ALTER TABLE audit_logs ADD COLUMN erased boolean NOT NULL DEFAULT false;
ALTER TABLE audit_logs ALTER COLUMN title DROP NOT NULL, ALTER COLUMN error_type DROP NOT NULL;
ALTER TABLE audit_logs ADD CHECK (erased OR num_nulls(title, error_type) = 0);
DO $$
BEGIN
    -- The check of 0002 that what opened an incident is kept whole: PostgreSQL gave it its name.
    EXECUTE (SELECT format('ALTER TABLE audit_logs DROP CONSTRAINT %I', conname) FROM pg_constraint
             WHERE conrelid = 'audit_logs'::regclass AND pg_get_constraintdef(oid) LIKE '%opened%document IS NOT NULL%');
END $$;
ALTER TABLE audit_logs ADD CHECK (outcome <> 'opened' OR document IS NOT NULL OR erased);
CREATE INDEX audit_logs_erased ON audit_logs (id) WHERE erased;

ALTER TABLE audit_access_log ADD COLUMN erased boolean NOT NULL DEFAULT false;
ALTER TABLE audit_access_log ALTER COLUMN credential DROP NOT NULL, ALTER COLUMN target DROP NOT NULL,
    ALTER COLUMN client_address DROP NOT NULL, ALTER COLUMN user_agent DROP NOT NULL;
ALTER TABLE audit_access_log ADD CHECK (erased OR num_nulls(credential, target, client_address, user_agent) = 0);
CREATE INDEX audit_access_log_erased ON audit_access_log (id) WHERE erased;

ALTER TABLE users ADD COLUMN erased_at timestamptz;

---------------------------------------------------------------------------------------------------------------
-- The entry and the leaf that erase
---------------------------------------------------------------------------------------------------------------

ALTER TABLE incident_lifecycle DROP CONSTRAINT incident_lifecycle_event_type_check;
ALTER TABLE incident_lifecycle ADD CONSTRAINT incident_lifecycle_event_type_check CHECK (event_type IN
    ('REPORTED', 'ACKNOWLEDGED', 'INVESTIGATION_STARTED', 'ROOT_CAUSE_RECORDED', 'RESOLVED', 'CLOSED', 'ESCALATED',
     'ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SESSIONS_BLOCKED', 'SIGNAL_RECEIVED', 'PERSONAL_DATA_ERASED'));
CREATE INDEX incident_lifecycle_erasures ON incident_lifecycle (incident_id) WHERE event_type = 'PERSONAL_DATA_ERASED';
CREATE INDEX log_pending_erasures ON log_pending (leaf_hash) WHERE kind = 'log_erasure';
CREATE INDEX log_entries_erasures ON log_entries (leaf_hash) WHERE kind = 'log_erasure';

-- What leaves of the log name, id by id: the guard of a row asks here, for there may be many leaves, and long ones. Verification
-- asks the leaves themselves.
CREATE TABLE log_erased (
    guarded    text NOT NULL,
    id         uuid NOT NULL,
    leaf_hash  bytea NOT NULL,
    PRIMARY KEY (guarded, id)
);

-- A row of it comes only with the leaf that names it; and no leaf ever goes away.
CREATE FUNCTION check_erased() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT leaf_hash, guarded, id FROM arrived
        EXCEPT
        SELECT l.leaf_hash, n."table", n.id FROM (
            SELECT leaf_hash, leaf FROM log_pending WHERE kind = 'log_erasure' AND leaf_hash IN (SELECT leaf_hash FROM arrived)
            UNION ALL
            SELECT leaf_hash, leaf FROM log_entries WHERE kind = 'log_erasure' AND leaf_hash IN (SELECT leaf_hash FROM arrived)
        ) l CROSS JOIN LATERAL (
            SELECT r."table", unnest(r.ids) AS id
            FROM jsonb_to_recordset(convert_from(l.leaf, 'UTF8')::jsonb -> 'erased') AS r ("table" text, ids uuid[])
        ) n
    ) THEN
        PERFORM refuse_log('no leaf says that this was erased');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER a_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON log_erased FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER a_no_row_change BEFORE UPDATE OR DELETE ON log_erased FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER c_named AFTER INSERT ON log_erased REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION check_erased();
ALTER TABLE log_erased ENABLE ALWAYS TRIGGER a_no_change;
ALTER TABLE log_erased ENABLE ALWAYS TRIGGER a_no_row_change;
ALTER TABLE log_erased ENABLE ALWAYS TRIGGER c_named;
GRANT SELECT ON log_erased TO tocsin_app;

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
        WHEN event_type IN ('ESCALATION_ACKNOWLEDGED', 'SEVERITY_CHANGED', 'NOTE_ADDED', 'SIGNAL_RECEIVED', 'PERSONAL_DATA_ERASED')
            AND status IS NOT NULL THEN status
    END;
END $$;

-- Whether a leaf of the log says that this was erased.
CREATE FUNCTION is_erased_by_log(named_table text, named_id uuid) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = tocsin, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM log_erased WHERE guarded = named_table AND id = named_id);
END $$;

-- Whether an entry of this incident, written after that instant, says that this was erased.
CREATE FUNCTION is_erased_by_entry(incident uuid, named jsonb, since timestamptz) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = tocsin, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM incident_lifecycle WHERE incident_id = incident AND event_type = 'PERSONAL_DATA_ERASED'
                     AND metadata -> 'erased' @> named AND event_at >= since);
END $$;

-- An erasure says why, and what: who asked stands in the entry's actor, or in the leaf.
CREATE FUNCTION check_account(what text, account jsonb, actor_role text) RETURNS void LANGUAGE plpgsql
SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF actor_role IS DISTINCT FROM 'superadmin' THEN
        PERFORM refuse_step(what, 'only a superadmin erases');
    ELSIF coalesce(length(btrim(account ->> 'reason')), 0) = 0 THEN
        PERFORM refuse_step(what, 'it does not say why');
    ELSIF jsonb_typeof(account -> 'erased') IS DISTINCT FROM 'array' OR account -> 'erased' = '[]' THEN
        PERFORM refuse_step(what, 'it does not say what is erased');
    END IF;
END $$;

CREATE FUNCTION erase_reports(ids uuid[], incident uuid) RETURNS void LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
DECLARE
    erased_rows  bigint;
BEGIN
    UPDATE audit_logs SET title = NULL, error_type = NULL, document = NULL, erased = true
    WHERE id = ANY (ids) AND incident_id IS NOT DISTINCT FROM incident AND NOT erased;
    GET DIAGNOSTICS erased_rows = ROW_COUNT;
    IF erased_rows IS DISTINCT FROM cardinality(ids) THEN
        PERFORM refuse_step('an erasure', format('of %s reports that it names, %s are there to be erased', cardinality(ids), erased_rows));
    END IF;
    DELETE FROM latest_reports WHERE report_id = ANY (ids);
END $$;

-- Every report that an incident had by then: a storm's would be too many to be named one by one.
CREATE FUNCTION erase_all_reports(incident uuid, until timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = tocsin, pg_temp AS $$
BEGIN
    UPDATE audit_logs SET title = NULL, error_type = NULL, document = NULL, erased = true
    WHERE incident_id = incident AND received_at <= until AND NOT erased;
    -- By the reports' own rows: one that a person linked to its incident is kept here without it.
    DELETE FROM latest_reports WHERE report_id IN (SELECT id FROM audit_logs WHERE incident_id = incident AND erased);
END $$;

CREATE FUNCTION disclosures_without(disclosures text[], names text[]) RETURNS text[] LANGUAGE sql IMMUTABLE
SET search_path = tocsin, pg_temp AS $$
    SELECT ARRAY(SELECT one FROM unnest(disclosures) WITH ORDINALITY AS d (one, place)
                 WHERE read_disclosure(one) ->> 1 <> ALL (names) ORDER BY place)
$$;

CREATE FUNCTION erase_texts(guarded text, row_checksum bytea, texts text[], incident uuid) RETURNS void LANGUAGE plpgsql
SET search_path = tocsin, pg_temp AS $$
DECLARE
    erased_rows  bigint;
BEGIN
    IF cardinality(texts) > 0 AND texts <@ disclosable(guarded) THEN
        EXECUTE format('UPDATE %I SET erased = erased || $1, disclosures = disclosures_without(disclosures, $1), %s'
            ' WHERE checksum = $2 AND %I = $3', guarded, (SELECT string_agg(format('%I = NULL', name), ', ') FROM unnest(texts) name),
            CASE guarded WHEN 'incidents' THEN 'id' ELSE 'incident_id' END) USING texts, row_checksum, incident;
        GET DIAGNOSTICS erased_rows = ROW_COUNT;
    END IF;
    IF erased_rows IS DISTINCT FROM 1 THEN
        PERFORM refuse_step('an erasure', format('a row of %s that it names has no such texts in this incident', guarded));
    END IF;
END $$;

-- Writing the entry erases what it names: neither is there without the other.
CREATE FUNCTION erase_by_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    named  record;
BEGIN
    PERFORM check_account(format('entry %s (%s)', NEW.sequence, NEW.event_type), NEW.metadata, NEW.actor_role);
    FOR named IN SELECT * FROM jsonb_to_recordset(NEW.metadata -> 'erased')
        AS n ("table" text, checksum text, columns text[], ids uuid[], "all" boolean)
    LOOP
        IF named."table" = 'audit_logs' AND named."all" THEN
            PERFORM erase_all_reports(NEW.incident_id, NEW.event_at);
        ELSIF named."table" = 'audit_logs' THEN
            PERFORM erase_reports(named.ids, NEW.incident_id);
        ELSE
            PERFORM erase_texts(named."table", decode(named.checksum, 'hex'), named.columns, NEW.incident_id);
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- The same for what belongs to no incident: reports that were only recorded, and what is left of a user where the
-- application itself may change nothing.
CREATE FUNCTION erase_by_log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    account  jsonb := convert_from(NEW.leaf, 'UTF8')::jsonb;
    named    record;
BEGIN
    PERFORM check_account('a leaf log_erasure', account, account ->> 'actor_role');
    FOR named IN SELECT * FROM jsonb_to_recordset(account -> 'erased') AS n ("table" text, ids uuid[]) LOOP
        INSERT INTO log_erased SELECT named."table", one, NEW.leaf_hash FROM unnest(named.ids) one
        WHERE named."table" IS NOT NULL ON CONFLICT DO NOTHING;
        CASE named."table"
            WHEN 'audit_logs' THEN
                PERFORM erase_reports(named.ids, NULL);
            WHEN 'users' THEN
                UPDATE audit_access_log SET client_address = NULL, user_agent = NULL, erased = true,
                    credential = CASE WHEN credential LIKE 'cli:%' THEN NULL ELSE credential END
                WHERE user_id = ANY (named.ids);
                UPDATE delivery_attempts SET answer = '[erased]'
                WHERE notification_id IN (SELECT id FROM notifications WHERE user_id = ANY (named.ids));
            WHEN 'audit_access_log' THEN
                UPDATE audit_access_log SET target = NULL, erased = true WHERE id = ANY (named.ids);
            ELSE
                PERFORM refuse_step('a leaf log_erasure', format('%s cannot be erased by it', named."table"));
        END CASE;
    END LOOP;
    RETURN NULL;
END $$;

---------------------------------------------------------------------------------------------------------------
-- The guards: an UPDATE is refused unless it erases, and what it erases was named before
---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION refuse_row_change(operation text, guarded text) RETURNS void LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on % refused: what was recorded cannot be changed', operation, guarded USING ERRCODE = 'TC001',
        HINT = 'Add a new entry that says what is different now. Texts are erased by an entry, too: `tocsin erase`.';
END $$;

-- For the statement: only a trigger may update at all, namely the one that erases. What it updates, the row's guard looks at.
CREATE FUNCTION refuse_change_by_hand() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR pg_trigger_depth() = 1 THEN
        RAISE EXCEPTION '% on % refused: what was recorded cannot be changed', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'TC001', HINT = 'Add a new entry that says what is different now.';
    END IF;
    RETURN NULL;
END $$;

-- For the row of a canonical table: texts become NULL, their disclosures go, their names come to `erased`; nothing else.
CREATE FUNCTION allow_erasure() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    before    jsonb := to_jsonb(OLD) - 'checksum';  -- generated after this trigger, from bytes that are compared here
    gone      text[];
    expected  jsonb;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        gone := NEW.erased[cardinality(OLD.erased) + 1:];
        expected := before || (SELECT jsonb_object_agg(name, NULL) FROM unnest(gone) name) || jsonb_build_object(
            'erased', OLD.erased || gone, 'disclosures', disclosures_without(OLD.disclosures, gone));
        IF to_jsonb(NEW) - 'checksum' = expected AND gone <@ disclosable(TG_TABLE_NAME)
            AND cardinality(NEW.disclosures) = cardinality(OLD.disclosures) - cardinality(gone)
            AND is_erased_by_entry(coalesce(before ->> 'incident_id', before ->> 'id')::uuid, jsonb_build_array(jsonb_build_object(
                'table', TG_TABLE_NAME, 'checksum', encode(OLD.checksum, 'hex'), 'columns', gone)), '-infinity') THEN
            RETURN NEW;
        END IF;
    END IF;
    PERFORM refuse_row_change(TG_OP, TG_TABLE_NAME);
END $$;

-- For a row of the access log: what tells of a person becomes NULL.
CREATE FUNCTION allow_erasure_of_access() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    expected  audit_access_log := OLD;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.erased THEN
        expected.erased := true;
        expected.credential := CASE WHEN NEW.credential IS NOT NULL THEN OLD.credential END;
        expected.target := CASE WHEN NEW.target IS NOT NULL THEN OLD.target END;
        expected.client_address := CASE WHEN NEW.client_address IS NOT NULL THEN OLD.client_address END;
        expected.user_agent := CASE WHEN NEW.user_agent IS NOT NULL THEN OLD.user_agent END;
        IF expected IS NOT DISTINCT FROM NEW
            AND (is_erased_by_log('users', OLD.user_id) OR is_erased_by_log('audit_access_log', OLD.id)) THEN
            RETURN NEW;
        END IF;
    END IF;
    PERFORM refuse_row_change(TG_OP, TG_TABLE_NAME);
END $$;

-- A report may be linked to its incident once, and be erased; nothing else of it changes.
CREATE OR REPLACE FUNCTION allow_link_once() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    expected  audit_logs := OLD;
    named     jsonb := jsonb_build_array(jsonb_build_object('table', 'audit_logs', 'ids', ARRAY[OLD.id]));
BEGIN
    expected.checksum := NEW.checksum;  -- generated after this trigger, from a document that is compared here
    IF NEW.erased AND NOT OLD.erased THEN
        expected.title := NULL;
        expected.error_type := NULL;
        expected.document := NULL;
        expected.erased := true;
        IF expected IS NOT DISTINCT FROM NEW AND (CASE WHEN OLD.incident_id IS NULL THEN is_erased_by_log('audit_logs', OLD.id)
            ELSE is_erased_by_entry(OLD.incident_id, named, '-infinity')
              OR is_erased_by_entry(OLD.incident_id, '[{"table": "audit_logs", "all": true}]', OLD.received_at) END) THEN
            RETURN NEW;
        END IF;
    ELSE
        expected.incident_id := NEW.incident_id;
        IF OLD.incident_id IS NULL AND NEW.incident_id IS NOT NULL AND expected IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'UPDATE on audit_logs refused: a report is linked to its incident once and never changes'
        USING ERRCODE = 'TC001';
END $$;

DO $$
DECLARE
    guarded  text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['incidents', 'incident_acknowledgments', 'incident_root_causes', 'incident_escalations',
        'incident_resolution', 'incident_closures', 'incident_lifecycle', 'audit_access_log']
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER a_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_by_hand()', guarded);
        EXECUTE format('CREATE OR REPLACE TRIGGER a_no_row_change BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION %I()',
            guarded, CASE guarded WHEN 'audit_access_log' THEN 'allow_erasure_of_access' ELSE 'allow_erasure' END);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER a_no_change', guarded);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER a_no_row_change', guarded);
    END LOOP;
END $$;

CREATE TRIGGER e_erase AFTER INSERT ON incident_lifecycle FOR EACH ROW
    WHEN (NEW.event_type = 'PERSONAL_DATA_ERASED') EXECUTE FUNCTION erase_by_entry();
ALTER TABLE incident_lifecycle ENABLE ALWAYS TRIGGER e_erase;
CREATE TRIGGER e_erase AFTER INSERT ON log_pending FOR EACH ROW
    WHEN (NEW.kind = 'log_erasure') EXECUTE FUNCTION erase_by_log();
ALTER TABLE log_pending ENABLE ALWAYS TRIGGER e_erase;

---------------------------------------------------------------------------------------------------------------
-- What was erased still lies in the files until it is vacuumed. Rows of the record die in no other way (but by rollbacks), so
-- the first dead one is reason enough.
---------------------------------------------------------------------------------------------------------------

DO $$
DECLARE
    guarded  text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['incidents', 'incident_acknowledgments', 'incident_root_causes', 'incident_escalations',
        'incident_resolution', 'incident_closures', 'incident_lifecycle']
    LOOP
        EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 0,'
            ' toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 0)', guarded);
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION disclosable, read_disclosure, disclosures_without, check_erased, is_erased_by_log, is_erased_by_entry, check_account,
    erase_reports, erase_all_reports, erase_texts, erase_by_entry, erase_by_log, refuse_row_change, refuse_change_by_hand, allow_erasure,
    allow_erasure_of_access FROM PUBLIC;
