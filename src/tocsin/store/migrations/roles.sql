-- The two roles of an installation, made once a server: the owner of the schema, who never signs in, and the application.
-- From PostgreSQL 16 on, whoever creates a role is its member without the right to act as it (SET): that is granted here.
DO $$
DECLARE
    needed  text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
    wanted  text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['tocsin_owner', 'tocsin_app'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Roles belong to the whole server: another database of it is being migrated at this very moment.
            NULL;
        END;
        IF NOT pg_has_role(current_user, wanted, needed) THEN
            EXECUTE format('GRANT %I TO %I', wanted, current_user);
        END IF;
    END LOOP;
    EXECUTE format('GRANT CREATE ON DATABASE %I TO tocsin_owner', current_database());
END $$;
