-- What guards the record, read from PostgreSQL's own catalogs and from nothing that we wrote there.

-- name: state
-- Everything in our schemas that decides which rows may come in, change or be seen; one line each, in words. Two schemas are
-- alike if these lines are. Names are written in full only while search_path is pg_catalog.
WITH ours AS MATERIALIZED (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname IN ('tocsin', 'tocsin_guard')
), holders AS MATERIALIZED (
    SELECT oid, rolname::text AS name, CASE WHEN rolsuper THEN 'a superuser' ELSE rolname::text END AS holder FROM pg_roles
    UNION ALL SELECT 0, 'everybody', 'everybody'
), relations AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relpersistence, c.relowner, c.relacl, c.reloptions, c.relrowsecurity, c.relforcerowsecurity,
           c.relispartition, c.reloftype, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN ours n ON n.oid = c.relnamespace WHERE c.relkind NOT IN ('i', 'I')
), functions AS MATERIALIZED (
    SELECT p.oid, p.proowner, p.proacl,
           format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace
), rights AS (
    SELECT n.oid, 'schema ' || n.nspname AS name, n.nspowner AS owner, n.nspacl AS acl FROM ours n
    UNION ALL SELECT oid, name, relowner, relacl FROM relations
    UNION ALL SELECT r.oid, format('%s.%I', r.name, a.attname), r.relowner, a.attacl
              FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid WHERE a.attacl IS NOT NULL
    UNION ALL SELECT oid, name, proowner, coalesce(proacl, acldefault('f', proowner)) FROM functions
)
SELECT 'schema' AS kind, oid::bigint AS object, nspname::text AS identity,
       'of ' || (SELECT holder FROM holders h WHERE h.oid = nspowner) AS definition
FROM ours
UNION ALL
SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'relation' END, oid::bigint, name,
       concat_ws(', ', 'of ' || (SELECT holder FROM holders h WHERE h.oid = relowner), 'kind ' || relkind::text,
           'kept ' || relpersistence::text, CASE WHEN relrowsecurity THEN 'row security' END,
           CASE WHEN relforcerowsecurity THEN 'row security for its owner' END, CASE WHEN relispartition THEN 'a partition' END,
           CASE WHEN reloftype <> 0 THEN 'of type ' || format_type(reloftype, NULL) END,
           CASE WHEN relkind = 'v' THEN array_to_string(reloptions, ' ') END,
           (SELECT concat_ws(' ', seqstart, seqincrement, seqmin, seqmax, seqcycle) FROM pg_sequence WHERE seqrelid = oid))
FROM relations
UNION ALL
SELECT 'column', r.oid::bigint, format('%s.%I', r.name, a.attname),
       concat_ws(', ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
           CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::text END,
           CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text END,
           CASE WHEN a.attcollation NOT IN (0, 'pg_catalog.default'::regcollation) THEN a.attcollation::regcollation::text END,
           pg_get_expr(d.adbin, d.adrelid))
FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid AND r.relkind IN ('r', 'p', 'f', 'c')
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
-- That a column is not null is said above; only from PostgreSQL 18 on is it a constraint too.
SELECT 'constraint', c.oid::bigint, format('%I on %s', c.conname, coalesce(r.name, c.contypid::regtype::text)),
       concat_ws(' ', pg_get_constraintdef(c.oid), CASE WHEN NOT c.convalidated THEN 'not checked' END)
FROM pg_constraint c JOIN ours n ON n.oid = c.connamespace LEFT JOIN relations r ON r.oid = c.conrelid
WHERE c.contype <> 'n'
UNION ALL
-- REINDEX CONCURRENTLY gives an index another number, so it goes by its name. What neither forbids nor computes may be added.
SELECT 'index', i.indrelid::bigint, format('%I on %s', c.relname, r.name),
       concat_ws(' ', pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'not valid' END)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN relations r ON r.oid = i.indrelid
WHERE (i.indisunique OR i.indisexclusion OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
  AND c.relname !~ '_cc(new|old)[0-9]*$'
UNION ALL
SELECT 'trigger', t.oid::bigint, format('%I on %s', t.tgname, r.name),
       format('%s, %s', pg_get_triggerdef(t.oid), CASE t.tgenabled WHEN 'A' THEN 'always' WHEN 'O' THEN 'not on replicas'
           WHEN 'R' THEN 'on replicas only' ELSE 'DISABLED' END)
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'reference', t.oid::bigint, format('%I on %s by %s', c.conname, r.name, t.tgfoid::regproc),
       format('%s %s %s', t.tgtype, t.tgdeferrable, CASE t.tgenabled WHEN 'D' THEN 'DISABLED' ELSE t.tgenabled::text END)
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid JOIN pg_constraint c ON c.oid = t.tgconstraint
WHERE t.tgisinternal AND EXISTS (SELECT FROM relations own WHERE own.oid = c.conrelid)
UNION ALL
-- PostgreSQL writes views in words that change with its version.
SELECT CASE WHEN w.rulename = '_RETURN' THEN 'definition' ELSE 'rule' END, w.oid::bigint, format('%I on %s', w.rulename, r.name),
       format('%s %s', pg_get_ruledef(w.oid), w.ev_enabled)
FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class
UNION ALL
SELECT 'policy', p.oid::bigint, format('%I on %s', p.polname, r.name),
       concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
FROM pg_policy p JOIN relations r ON r.oid = p.polrelid
UNION ALL
SELECT 'inheritance', i.inhrelid::bigint, format('%s from %s', i.inhrelid::regclass, i.inhparent::regclass), ''
FROM pg_inherits i WHERE EXISTS (SELECT FROM relations r WHERE r.oid IN (i.inhrelid, i.inhparent))
UNION ALL
SELECT 'function', f.oid::bigint, f.name,
       concat_ws(', ', 'of ' || (SELECT holder FROM holders h WHERE h.oid = f.proowner), p.prokind, l.lanname, p.provolatile,
           CASE WHEN p.prosecdef THEN 'with its owner''s rights' END, CASE WHEN p.proisstrict THEN 'strict' END,
           pg_get_function_result(f.oid), array_to_string(p.proconfig, ' '), p.prosrc, p.probin, pg_get_function_sqlbody(f.oid))
FROM functions f JOIN pg_proc p ON p.oid = f.oid JOIN pg_language l ON l.oid = p.prolang
UNION ALL
SELECT 'type', t.oid::bigint, format('%I.%I', n.nspname, t.typname),
       concat_ws(', ', 'of ' || (SELECT holder FROM holders h WHERE h.oid = t.typowner), t.typtype,
           CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END, t.typnotnull, t.typdefault)
FROM pg_type t JOIN ours n ON n.oid = t.typnamespace WHERE t.typrelid = 0 AND t.typelem = 0
UNION ALL
-- Neither is ours: one that fits our types better than PostgreSQL's own would be used by the guards instead.
SELECT 'operator', o.oid::bigint, o.oid::regoperator::text, o.oprcode::text FROM pg_operator o JOIN ours n ON n.oid = o.oprnamespace
UNION ALL
SELECT 'cast', c.oid::bigint, format('%s to %s', c.castsource::regtype, c.casttarget::regtype), c.castfunc::regproc::text
FROM pg_cast c
WHERE EXISTS (SELECT FROM pg_type t JOIN ours n ON n.oid = t.typnamespace WHERE t.oid IN (c.castsource, c.casttarget))
UNION ALL
SELECT 'grant', r.oid::bigint,
       format('%s on %s to %s', a.privilege_type, r.name, (SELECT h.name FROM holders h WHERE h.oid = a.grantee)),
       CASE WHEN a.is_grantable THEN 'and to grant it' ELSE '' END
FROM rights r CROSS JOIN aclexplode(r.acl) a WHERE a.grantee <> r.owner
UNION ALL
SELECT 'event trigger', e.oid::bigint, e.evtname::text,
       format('%s %s by %s, of %s, %s', e.evtevent, array_to_string(e.evttags, ' '), e.evtfoid::regproc,
           (SELECT holder FROM holders h WHERE h.oid = e.evtowner), CASE e.evtenabled WHEN 'A' THEN 'always' WHEN 'O' THEN
           'not on replicas' WHEN 'R' THEN 'on replicas only' ELSE 'DISABLED' END)
FROM pg_event_trigger e WHERE e.evtname LIKE 'tocsin\_%'
UNION ALL
SELECT 'role', oid::bigint, rolname::text,
       concat_ws(', ', 'exists', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
           CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
           CASE WHEN rolname = 'tocsin_owner' AND rolcanlogin THEN 'LOGIN' END)
FROM pg_roles WHERE rolname IN ('tocsin_owner', 'tocsin_app')
UNION ALL
SELECT 'membership', m.member::bigint, format('%s in %s', m.member::regrole, m.roleid::regrole), ''
FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member AND r.rolname IN ('tocsin_owner', 'tocsin_app')
UNION ALL
-- event_triggers came with PostgreSQL 17.
SELECT 'setting', 0, names.name, coalesce(current_setting(names.name, true), 'on')
FROM (VALUES ('session_replication_role'), ('event_triggers')) names(name)
UNION ALL
SELECT 'setting', s.setrole::bigint, format('%s in %s for %s', parts.part, coalesce(d.datname, 'every database'), h.name), ''
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) parts(part) JOIN holders h ON h.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase
WHERE coalesce(d.datname, current_database()) = current_database()
  AND parts.part ~ '^(session_replication_role|event_triggers)='

-- name: is_hardened
-- Is hardening.sql installed, and may whoever asks read what it was made of?
SELECT to_regclass('tocsin_guard.baseline') IS NOT NULL

-- name: baseline
-- What the guards were when the schema was hardened, as the event triggers compare it.
SELECT kind, object, identity, definition FROM tocsin_guard.baseline

-- name: settings
-- What `plain_names` is about to change.
SELECT jsonb_object_agg(name, current_setting(name)) FROM (VALUES ('search_path'), ('enable_seqscan'), ('jit')) changed(name)

-- name: set_back
-- For whatever comes after it in the same transaction.
SELECT count(set_config(key, value, true)) FROM jsonb_each_text(%(settings)s)

-- name: plain_names
-- From here to the end of the transaction PostgreSQL writes every name in full. The application's connections prefer indexes
-- at any price, and a query of such a price is compiled first: here that would take seconds.
SELECT set_config('search_path', 'pg_catalog, pg_temp', true), set_config('enable_seqscan', 'on', true),
       set_config('jit', 'off', true)

-- name: newest_migration
-- By which version of the schema this database goes.
SELECT max(version) FROM tocsin.schema_migrations
