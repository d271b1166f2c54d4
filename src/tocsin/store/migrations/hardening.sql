-- Hardens the schema against its own owner: between two migrations nothing in it changes. Runs as a superuser, who alone may make
-- event triggers, after the migrations; as often as you like.
--
-- The event triggers do not judge commands, which are many and get more with each version of PostgreSQL. They compare what
-- guards the record with what it was when the schema was hardened, object by object (by OID): a command that leaves a
-- difference is refused, whatever it is called. SQLSTATE TC007 hardened, TC008 there is a trap.

DROP EVENT TRIGGER IF EXISTS tocsin_difference;
DROP EVENT TRIGGER IF EXISTS tocsin_rewrite;
DROP EVENT TRIGGER IF EXISTS tocsin_index;

-- Whoever owns a schema could lay a trap in it for the superuser who is about to use it.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
               WHERE n.nspname = 'tocsin_guard' AND NOT r.rolsuper) THEN
        RAISE EXCEPTION 'the schema tocsin_guard belongs to somebody else'
            USING ERRCODE = 'TC008', HINT = 'See what is in it and who made it, then: DROP SCHEMA tocsin_guard CASCADE.';
    END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS tocsin_guard;
GRANT USAGE ON SCHEMA tocsin_guard TO tocsin_app, tocsin_owner;

CREATE TABLE IF NOT EXISTS tocsin_guard.baseline (
    kind        text NOT NULL,
    object      bigint NOT NULL,
    identity    text NOT NULL,
    definition  text NOT NULL,
    PRIMARY KEY (kind, object, identity)
);
GRANT SELECT ON tocsin_guard.baseline TO tocsin_app, tocsin_owner;

CREATE OR REPLACE FUNCTION tocsin_guard.state()
RETURNS TABLE (kind text, object bigint, identity text, definition text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET jit = off AS $state$
%(state)s
$state$;

-- What is no longer as it was. Roles, event triggers and settings are nothing that an event trigger could hold.
CREATE OR REPLACE FUNCTION tocsin_guard.differences()
RETURNS TABLE (kind text, identity text, what text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET jit = off AS $$
    SELECT kind, identity, CASE WHEN b.definition IS NULL THEN 'add' WHEN s.definition IS NULL THEN 'remove' ELSE 'change' END
    FROM (SELECT * FROM tocsin_guard.state()
          WHERE kind NOT IN ('role', 'membership', 'event trigger', 'setting')) s
    FULL JOIN tocsin_guard.baseline b USING (kind, object, identity)
    WHERE s.definition IS DISTINCT FROM b.definition
$$;

-- After each command: what it left behind is what was there before, or the command is undone.
CREATE OR REPLACE FUNCTION tocsin_guard.refuse_difference() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other  record;
BEGIN
    SELECT kind, identity, what INTO other FROM tocsin_guard.differences()
    ORDER BY kind NOT IN ('trigger', 'function', 'table'), kind, identity LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% refused: the schema of the record is hardened, and this would % the % %',
            TG_TAG, other.what, other.kind, other.identity
            USING ERRCODE = 'TC007',
            HINT = 'Schema changes come with `tocsin migrate`. Whoever must make one by hand, as a superuser, runs '
                'SELECT tocsin_guard.suspend() before and SELECT tocsin_guard.resume() after it.';
    END IF;
END $$;

-- While a table is written anew (ALTER … TYPE … USING and its kin) no trigger of its rows is asked.
CREATE OR REPLACE FUNCTION tocsin_guard.refuse_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM tocsin_guard.baseline WHERE object = pg_event_trigger_table_rewrite_oid() AND kind = 'table') THEN
        RAISE EXCEPTION '% refused: it would write every row of % anew, past its guards',
            TG_TAG, pg_event_trigger_table_rewrite_oid()::regclass
            USING ERRCODE = 'TC007',
            HINT = 'Schema changes come with `tocsin migrate`. Whoever must make one by hand, as a superuser, runs '
                'SELECT tocsin_guard.suspend() before and SELECT tocsin_guard.resume() after it.';
    END IF;
END $$;

-- CONCURRENTLY commits half of the work before anybody is asked about the rest, so who may use it on our tables is refused
-- before it starts; which index it is about, nobody knows yet.
CREATE OR REPLACE FUNCTION tocsin_guard.refuse_index() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pg_has_role(current_user, 'tocsin_owner', 'USAGE') THEN
        RAISE EXCEPTION '% refused: the schema of the record is hardened', TG_TAG
            USING ERRCODE = 'TC007',
            HINT = 'For an index of your own, a superuser runs SELECT tocsin_guard.suspend() before and '
                'SELECT tocsin_guard.resume() after it.';
    END IF;
END $$;

-- Both take a superuser, as ALTER EVENT TRIGGER does.
CREATE OR REPLACE FUNCTION tocsin_guard.suspend() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    ALTER EVENT TRIGGER tocsin_difference DISABLE;
    ALTER EVENT TRIGGER tocsin_rewrite DISABLE;
    ALTER EVENT TRIGGER tocsin_index DISABLE;
END $$;

CREATE OR REPLACE FUNCTION tocsin_guard.resume() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM tocsin_guard.baseline;
    INSERT INTO tocsin_guard.baseline SELECT kind, object, identity, definition FROM tocsin_guard.state()
    WHERE kind NOT IN ('role', 'membership', 'event trigger', 'setting');
    ALTER EVENT TRIGGER tocsin_difference ENABLE ALWAYS;
    ALTER EVENT TRIGGER tocsin_rewrite ENABLE ALWAYS;
    ALTER EVENT TRIGGER tocsin_index ENABLE ALWAYS;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA tocsin_guard FROM PUBLIC;

CREATE EVENT TRIGGER tocsin_difference ON ddl_command_end EXECUTE FUNCTION tocsin_guard.refuse_difference();
CREATE EVENT TRIGGER tocsin_rewrite ON table_rewrite EXECUTE FUNCTION tocsin_guard.refuse_rewrite();
CREATE EVENT TRIGGER tocsin_index ON ddl_command_start WHEN TAG IN ('CREATE INDEX', 'DROP INDEX')
    EXECUTE FUNCTION tocsin_guard.refuse_index();
SELECT tocsin_guard.resume();
