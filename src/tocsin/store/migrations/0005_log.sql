-- The transparency log: every timeline entry becomes a leaf of one Merkle tree (RFC 6962), of which checkpoints are signed.
-- An entry waits in log_pending from its own transaction on; seal() gives what waits its place in the tree.

---------------------------------------------------------------------------------------------------------------
-- Tables
---------------------------------------------------------------------------------------------------------------

-- What has happened and has no place in the log yet. The ids are given while the incident's head is locked, so those of
-- one incident follow its entries: whoever takes the lowest ids that he can see takes no entry before its predecessor.
CREATE TABLE log_pending (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id       uuid,
    incident_id    uuid,
    number         bigint,
    sequence       integer,
    kind           text CHECK (kind IN ('log_key', 'log_erasure')),
    leaf           bytea CHECK (octet_length(leaf) BETWEEN 1 AND 65535),
    leaf_hash      bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    waiting_since  timestamptz NOT NULL,
    -- Either an entry of a timeline, or a leaf of the system's own.
    CHECK (num_nonnulls(entry_id, incident_id, number, sequence) = CASE WHEN kind IS NULL THEN 4 ELSE 0 END),
    CHECK ((kind IS NULL) = (leaf IS NULL)),
    CHECK (leaf IS NULL OR leaf_hash = sha256('\x00'::bytea || leaf))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The leaves, without a gap. The bytes of an entry stand in its own row; those of the system's own leaves here.
CREATE TABLE log_entries (
    index      bigint PRIMARY KEY CHECK (index >= 0),
    leaf_hash  bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    entry_id   uuid,
    number     bigint,
    sequence   integer,
    kind       text CHECK (kind IN ('log_heads', 'log_key', 'log_erasure')),
    leaf       bytea CHECK (octet_length(leaf) BETWEEN 1 AND 65535),
    UNIQUE (number, sequence),
    CHECK (num_nonnulls(entry_id, number, sequence) = CASE WHEN kind IS NULL THEN 3 ELSE 0 END),
    CHECK ((kind IS NULL) = (leaf IS NULL)),
    CHECK (leaf IS NULL OR leaf_hash = sha256('\x00'::bytea || leaf))
);
CREATE INDEX log_entries_rare ON log_entries (kind, index) WHERE kind IN ('log_key', 'log_erasure');

-- One row: how many leaves the tree has, and how many incidents the head tree. Its lock is the sealer's.
CREATE TABLE log_state (
    only_one   boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    size       bigint NOT NULL CHECK (size >= 0),
    incidents  bigint NOT NULL CHECK (incidents >= 0)
);
INSERT INTO log_state VALUES (true, 0, 0);

-- C2SP tlog-tiles: tile (level, index) holds the hashes index * 256 and on of tree level 8 * level, at most 256 of them.
CREATE TABLE log_tiles (
    level   smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index   bigint NOT NULL CHECK (index >= 0),
    hashes  bytea NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 8192) CHECK (octet_length(hashes) % 32 = 0),
    PRIMARY KEY (level, index)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE log_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes cannot be compressed

-- The head tree as of the last batch: the newest entry of every incident, at the position of its number. A row holds 16
-- neighbouring hashes of the tree's level 4 * level.
CREATE TABLE log_head_nodes (
    level   smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index   bigint NOT NULL CHECK (index BETWEEN 0 AND 268435455),
    hashes  bytea NOT NULL CHECK (octet_length(hashes) = 512),
    PRIMARY KEY (level, index)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE log_head_nodes ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The head tree has 2^32 positions.
ALTER TABLE incidents ADD CHECK (number <= 4294967295);

-- C2SP tlog-checkpoint in a signed note, as it was published.
CREATE TABLE log_checkpoints (
    size       bigint PRIMARY KEY CHECK (size > 0),
    root       bytea NOT NULL CHECK (octet_length(root) = 32),
    note       text NOT NULL CHECK (char_length(note) <= 10000),
    signed_at  instant NOT NULL
);

-- What others say of a checkpoint: a witness its cosignature line, an authority its time-stamp token.
CREATE TABLE log_cosignatures (
    size         bigint NOT NULL REFERENCES log_checkpoints (size),
    witness      text NOT NULL CHECK (char_length(witness) BETWEEN 1 AND 300),
    line         text NOT NULL CHECK (char_length(line) BETWEEN 1 AND 10000),
    received_at  instant NOT NULL,
    PRIMARY KEY (size, witness)
);

CREATE TABLE log_timestamps (
    size         bigint NOT NULL REFERENCES log_checkpoints (size),
    authority    text NOT NULL CHECK (char_length(authority) BETWEEN 1 AND 2000),
    token        bytea NOT NULL CHECK (octet_length(token) BETWEEN 1 AND 65535),
    received_at  instant NOT NULL,
    PRIMARY KEY (size, authority)
);

-- Who signs, as far as the machinery is watched: an ordinary table. What a signer refuses is told here to the others.
CREATE TABLE log_signers (
    key         text PRIMARY KEY CHECK (char_length(key) BETWEEN 1 AND 400),
    worker      text NOT NULL CHECK (char_length(worker) BETWEEN 1 AND 200),
    seen_at     timestamptz NOT NULL,
    refused_at  timestamptz,
    refusal     text CHECK (char_length(refusal) BETWEEN 1 AND 2000),
    CHECK ((refused_at IS NULL) = (refusal IS NULL))
);

---------------------------------------------------------------------------------------------------------------
-- The mathematics, so that the database can hold the tree against its leaves
---------------------------------------------------------------------------------------------------------------

-- The hash of the complete subtree over a power of two of hashes: RFC 6962, 2.1.
CREATE FUNCTION subtree_hash(hashes bytea) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = tocsin, pg_temp AS $$
DECLARE
    folded  bytea := hashes;
BEGIN
    WHILE octet_length(folded) > 32 LOOP
        folded := (SELECT string_agg(sha256('\x01'::bytea || substr(folded, 64 * pair + 1, 64)), ''::bytea ORDER BY pair)
                   FROM generate_series(0, octet_length(folded) / 64 - 1) pair);
    END LOOP;
    RETURN folded;
END $$;

-- The root of the tree over the first leaves, from its peaks: the smallest comes first, each larger one to its left.
CREATE FUNCTION log_root(leaves bigint) RETURNS bytea LANGUAGE plpgsql STABLE STRICT SET search_path = tocsin, pg_temp AS $$
DECLARE
    root    bytea;
    peak    bytea;
    first   bigint;
BEGIN
    FOR bit IN 0..62 LOOP
        CONTINUE WHEN (leaves >> bit) & 1 = 0;
        -- The first hash of the peak on the tile level below it.
        first := ((leaves >> (bit + 1)) << (bit + 1)) >> (bit - bit % 8);
        peak := (SELECT subtree_hash(substr(hashes, ((first & 255) * 32 + 1)::integer, 32 << (bit % 8)))
                 FROM log_tiles WHERE level = bit / 8 AND index = first >> 8);
        root := CASE WHEN root IS NULL THEN peak ELSE sha256('\x01'::bytea || peak || root) END;
    END LOOP;
    RETURN coalesce(root, sha256(''));
END $$;

---------------------------------------------------------------------------------------------------------------
-- Guards. SQLSTATE TC001 immutable, TC005 the log would not be whole.
---------------------------------------------------------------------------------------------------------------

CREATE FUNCTION refuse_log(why text) RETURNS void LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'the log refused it: %', why
        USING ERRCODE = 'TC005', HINT = 'Only the sealer writes to the log: start `tocsin worker`.';
END $$;

-- Every entry is owed to the log by the very transaction that wrote it.
CREATE FUNCTION await_log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
BEGIN
    INSERT INTO log_pending (entry_id, incident_id, number, sequence, leaf_hash, waiting_since)
    SELECT NEW.id, i.id, i.number, NEW.sequence, NEW.checksum, NEW.event_at FROM incidents i WHERE i.id = NEW.incident_id;
    RETURN NULL;
END $$;

-- What waits may only go away when the batch that is being sealed has it.
CREATE FUNCTION check_sealed() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT leaf_hash FROM gone
               EXCEPT ALL SELECT leaf_hash FROM log_entries WHERE index >= (SELECT size FROM log_state)) THEN
        PERFORM refuse_log('what waits for the log leaves log_pending only into the log');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION check_gapless() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
DECLARE
    first   bigint;
    last    bigint;
    leaves  bigint;
BEGIN
    SELECT min(index), max(index), count(*) INTO first, last, leaves FROM arrived;
    IF leaves > 0 AND (last - first + 1 <> leaves
            OR first > 0 AND NOT EXISTS (SELECT FROM log_entries WHERE index = first - 1)) THEN
        PERFORM refuse_log(format('leaves %s to %s would leave a gap', first, last));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION check_tile() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF (NEW.level, NEW.index) <> (OLD.level, OLD.index) OR octet_length(NEW.hashes) <= octet_length(OLD.hashes)
        OR substr(NEW.hashes, 1, octet_length(OLD.hashes)) <> OLD.hashes THEN
        PERFORM refuse_log(format('tile %s of level %s only grows at its end', OLD.index, OLD.level));
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION check_state() RETURNS trigger LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF NEW.size <= OLD.size OR NEW.incidents < OLD.incidents
        OR NEW.size IS DISTINCT FROM (SELECT max(index) + 1 FROM log_entries) THEN
        PERFORM refuse_log(format('it has %s leaves and does not become one of %s', OLD.size, NEW.size));
    END IF;
    RETURN NEW;
END $$;

-- Whether a signature is true the database cannot tell; what the note says, it can.
CREATE FUNCTION check_checkpoint() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
BEGIN
    IF NEW.size > (SELECT size FROM log_state) OR NEW.root IS DISTINCT FROM log_root(NEW.size) THEN
        PERFORM refuse_log(format('its first %s leaves have another root', NEW.size));
    END IF;
    IF split_part(NEW.note, E'\n', 2) <> NEW.size::text OR split_part(NEW.note, E'\n', 3) <> encode(NEW.root, 'base64') THEN
        PERFORM refuse_log(format('the note of checkpoint %s says something else', NEW.size));
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE
    guarded  text;
    changes  text;
BEGIN
    FOR guarded, changes IN VALUES ('log_entries', 'UPDATE OR DELETE'), ('log_checkpoints', 'UPDATE OR DELETE'),
        ('log_cosignatures', 'UPDATE OR DELETE'), ('log_timestamps', 'UPDATE OR DELETE'), ('log_pending', 'UPDATE'),
        ('log_tiles', 'DELETE'), ('log_head_nodes', 'DELETE'), ('log_state', 'INSERT OR DELETE')
    LOOP
        EXECUTE format('CREATE TRIGGER a_no_change BEFORE %s OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', changes, guarded);
        EXECUTE format('CREATE TRIGGER a_no_row_change BEFORE %s ON %I FOR EACH ROW EXECUTE FUNCTION refuse_change()', changes, guarded);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER a_no_change', guarded);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER a_no_row_change', guarded);
    END LOOP;
END $$;

CREATE TRIGGER c_sealed AFTER DELETE ON log_pending REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION check_sealed();
CREATE TRIGGER c_gapless AFTER INSERT ON log_entries REFERENCING NEW TABLE AS arrived
    FOR EACH STATEMENT EXECUTE FUNCTION check_gapless();
CREATE TRIGGER b_suffix BEFORE UPDATE ON log_tiles FOR EACH ROW EXECUTE FUNCTION check_tile();
CREATE TRIGGER b_grows BEFORE UPDATE ON log_state FOR EACH ROW EXECUTE FUNCTION check_state();
CREATE TRIGGER b_true BEFORE INSERT ON log_checkpoints FOR EACH ROW EXECUTE FUNCTION check_checkpoint();
CREATE TRIGGER d_log AFTER INSERT ON incident_lifecycle FOR EACH ROW EXECUTE FUNCTION await_log();
ALTER TABLE log_pending ENABLE ALWAYS TRIGGER c_sealed;
ALTER TABLE log_entries ENABLE ALWAYS TRIGGER c_gapless;
ALTER TABLE log_tiles ENABLE ALWAYS TRIGGER b_suffix;
ALTER TABLE log_state ENABLE ALWAYS TRIGGER b_grows;
ALTER TABLE log_checkpoints ENABLE ALWAYS TRIGGER b_true;
ALTER TABLE incident_lifecycle ENABLE ALWAYS TRIGGER d_log;

---------------------------------------------------------------------------------------------------------------
-- What the sealer may do: it names rows and hashes, the functions do the writing and check it
---------------------------------------------------------------------------------------------------------------

-- Locks the log until the transaction ends; returns no row when another sealer is at it.
CREATE FUNCTION lock_log() RETURNS SETOF log_state LANGUAGE sql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
    SELECT * FROM log_state WHERE pg_try_advisory_xact_lock(461904) FOR UPDATE
$$;

-- Adds a leaf of the system's own: the change of a signing key, or an erasure.
CREATE FUNCTION await_leaf(kind text, leaf bytea, waiting_since timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    said  jsonb := convert_from(leaf, 'UTF8')::jsonb;
BEGIN
    IF said ->> 'record' IS DISTINCT FROM kind OR said -> 'v' IS DISTINCT FROM '1' THEN
        PERFORM refuse_log(format('the leaf says that it is no %s', kind));
    END IF;
    -- What cannot be read as a change of keys would stand in everybody's way for ever: nothing takes it out again.
    IF kind = 'log_key' AND (said - ARRAY['record', 'v', 'new', 'old', 'reason'] <> '{}'
            OR jsonb_typeof(said -> 'new') IS DISTINCT FROM 'string'
            OR jsonb_typeof(said -> 'reason') IS DISTINCT FROM 'string'
            OR coalesce(jsonb_typeof(said -> 'old'), '') NOT IN ('string', 'null')) THEN
        PERFORM refuse_log('a log_key leaf names a new key, an old one or null, and a reason');
    END IF;
    INSERT INTO log_pending (kind, leaf, leaf_hash, waiting_since)
    VALUES (await_leaf.kind, await_leaf.leaf, sha256('\x00'::bytea || leaf), await_leaf.waiting_since);
END $$;

-- Lets the tiles grow by the hashes of the leaves from "from_size" on: level by level, each from the complete tiles below.
CREATE FUNCTION grow_tiles(from_size bigint, to_size bigint) RETURNS void LANGUAGE plpgsql SET search_path = tocsin, pg_temp AS $$
DECLARE
    first  bigint := from_size;
    after  bigint := to_size;
BEGIN
    INSERT INTO log_tiles AS t (level, index, hashes)
    SELECT 0, e.index >> 8, string_agg(e.leaf_hash, ''::bytea ORDER BY e.index)
    FROM log_entries e WHERE e.index >= first AND e.index < after GROUP BY e.index >> 8
    ON CONFLICT (level, index) DO UPDATE SET hashes = t.hashes || excluded.hashes;
    FOR above IN 1..7 LOOP
        first := first >> 8;
        after := after >> 8;
        EXIT WHEN first = after;
        INSERT INTO log_tiles AS t (level, index, hashes)
        SELECT above, below.index >> 8, string_agg(subtree_hash(below.hashes), ''::bytea ORDER BY below.index)
        FROM log_tiles below WHERE below.level = above - 1 AND below.index >= first AND below.index < after
        GROUP BY below.index >> 8
        ON CONFLICT (level, index) DO UPDATE SET hashes = t.hashes || excluded.hashes;
    END LOOP;
END $$;

-- Seals a batch: what waits under these ids, in their order, and the leaf that commits to the heads after them.
CREATE FUNCTION seal(size_before bigint, waiting bigint[], heads bytea, incidents_after bigint,
    node_levels smallint[], node_indexes bigint[], node_hashes bytea[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = tocsin, pg_temp AS $$
DECLARE
    sealed  bigint;
    after   bigint := size_before + cardinality(waiting) + 1;
BEGIN
    PERFORM FROM log_state WHERE size = size_before FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse_log(format('it does not have %s leaves', size_before));
    END IF;
    IF convert_from(heads, 'UTF8')::jsonb ->> 'record' IS DISTINCT FROM 'log_heads' THEN
        PERFORM refuse_log('a batch ends with a leaf that commits to the heads');
    END IF;
    INSERT INTO log_entries (index, leaf_hash, entry_id, number, sequence, kind, leaf)
    SELECT size_before + row_number() OVER (ORDER BY p.id) - 1, p.leaf_hash, p.entry_id, p.number, p.sequence, p.kind, p.leaf
    FROM log_pending p WHERE p.id = ANY (waiting);
    GET DIAGNOSTICS sealed = ROW_COUNT;
    IF sealed <> cardinality(waiting) THEN
        PERFORM refuse_log(format('of %s that were to be sealed %s wait', cardinality(waiting), sealed));
    END IF;
    INSERT INTO log_entries (index, leaf_hash, kind, leaf) VALUES (after - 1, sha256('\x00'::bytea || heads), 'log_heads', heads);
    DELETE FROM log_pending p WHERE p.id = ANY (waiting);
    PERFORM grow_tiles(size_before, after);
    INSERT INTO log_head_nodes (level, index, hashes) SELECT * FROM unnest(node_levels, node_indexes, node_hashes)
    ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes;
    UPDATE log_state SET size = after, incidents = incidents_after;
    RETURN after;
END $$;

---------------------------------------------------------------------------------------------------------------
-- Installations that recorded before there was a log: everything waits, in the order in which it happened
---------------------------------------------------------------------------------------------------------------

INSERT INTO log_pending (entry_id, incident_id, number, sequence, leaf_hash, waiting_since)
SELECT e.id, i.id, i.number, e.sequence, e.checksum, e.event_at
FROM incident_lifecycle e JOIN incidents i ON i.id = e.incident_id
ORDER BY max(e.event_at) OVER (PARTITION BY e.incident_id ORDER BY e.sequence), i.number, e.sequence;

---------------------------------------------------------------------------------------------------------------
-- Rights
---------------------------------------------------------------------------------------------------------------

REVOKE EXECUTE ON FUNCTION subtree_hash, log_root, refuse_log, await_log, check_sealed, check_gapless, check_tile, check_state,
    check_checkpoint, lock_log, await_leaf, grow_tiles, seal FROM PUBLIC;
GRANT SELECT ON log_pending, log_entries, log_state, log_tiles, log_head_nodes, log_checkpoints, log_cosignatures,
    log_timestamps, log_signers TO tocsin_app;
GRANT INSERT ON log_checkpoints, log_cosignatures, log_timestamps TO tocsin_app;
GRANT INSERT, UPDATE, DELETE ON log_signers TO tocsin_app;
GRANT EXECUTE ON FUNCTION lock_log, await_leaf, seal TO tocsin_app;
