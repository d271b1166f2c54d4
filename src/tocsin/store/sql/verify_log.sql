-- What `tocsin verify --db` reads of the log. The tree is recomputed in Python; here are the questions about pairs.

-- name: leaf_tiles
-- The leaves in their order, 256 at a time, and whether the tile that holds them is kept as it should be.
SELECT e.first, e.last, e.hashes, t.hashes IS NOT DISTINCT FROM e.hashes AS kept
FROM (SELECT index >> 8 AS tile, min(index) AS first, max(index) AS last,
             string_agg(leaf_hash, ''::bytea ORDER BY index) AS hashes
      FROM log_entries GROUP BY index >> 8) e
LEFT JOIN log_tiles t ON t.level = 0 AND t.index = e.tile
ORDER BY e.tile

-- name: upper_tiles
-- The tiles above the leaves: a few for each million.
SELECT level, index, hashes FROM log_tiles WHERE level > 0

-- name: leaf_tile_count
-- How many tiles of leaves there are.
SELECT count(*) FROM log_tiles WHERE level = 0

-- name: entries_against_log
-- Entries that are not in the log as they are, and leaves of the log whose entry is not there.
SELECT coalesce(i.number, l.number) AS number, coalesce(e.sequence, l.sequence) AS sequence, l.index,
       CASE WHEN e.id IS NULL THEN 'it is in the log, and its row is gone'
            WHEN l.index IS NULL THEN 'it is neither in the log, nor does it wait for it'
            WHEN l.leaf_hash <> e.checksum THEN 'it is in the log with another checksum: the row was rewritten since'
            ELSE 'it is in the log as another entry' END AS problem
FROM incident_lifecycle e
LEFT JOIN incidents i ON i.id = e.incident_id
FULL JOIN (SELECT index, leaf_hash, entry_id, number, sequence FROM log_entries WHERE kind IS NULL) l ON l.entry_id = e.id
WHERE (e.id IS NULL OR l.index IS NULL OR l.leaf_hash <> e.checksum OR l.sequence <> e.sequence
       OR l.number IS DISTINCT FROM i.number)
  AND NOT (l.index IS NULL AND EXISTS (SELECT FROM log_pending p WHERE p.entry_id = e.id))
ORDER BY 1, 2 LIMIT %(limit)s

-- name: waiting_against_entries
-- What waits for the log and is not what it should be.
SELECT p.number, p.sequence, l.index,
       CASE WHEN e.id IS NULL THEN 'it waits for the log, and its row is gone'
            WHEN l.index IS NOT NULL THEN 'it waits for the log, which has it already'
            ELSE 'it waits for the log with another checksum: the row was rewritten since' END AS problem
FROM log_pending p
LEFT JOIN incident_lifecycle e ON e.id = p.entry_id
LEFT JOIN log_entries l ON l.number = p.number AND l.sequence = p.sequence
WHERE p.kind IS NULL AND (e.id IS NULL OR l.index IS NOT NULL OR e.checksum <> p.leaf_hash)
ORDER BY 1, 2 LIMIT %(limit)s

-- name: log_out_of_order
-- Leaves that do not follow the incident's entry before them.
SELECT number, sequence, index, 'the log has it twice, or out of its order, or lacks the one before it' AS problem
FROM (SELECT number, sequence, index, lag(sequence, 1, 0) OVER before AS last, lag(index, 1, -1::bigint) OVER before AS last_index
      FROM log_entries WHERE kind IS NULL WINDOW before AS (PARTITION BY number ORDER BY sequence, index)) followed
WHERE sequence <> last + 1 OR index <= last_index
ORDER BY 1, 2 LIMIT %(limit)s

-- name: broken_leaves
-- The system's own leaves whose bytes are not those that were hashed.
SELECT index FROM log_entries WHERE leaf IS NOT NULL AND leaf_hash <> sha256('\x00'::bytea || leaf)
ORDER BY index LIMIT %(limit)s

-- name: newest_entries
-- The newest entry that the log has of each incident.
SELECT DISTINCT ON (l.number) l.number, i.id::text, l.sequence, encode(l.leaf_hash, 'hex')
FROM log_entries l LEFT JOIN incidents i ON i.number = l.number
WHERE l.kind IS NULL ORDER BY l.number, l.sequence DESC

-- name: every_head_node
-- The nodes of the head tree as they are kept.
SELECT level, index, hashes FROM log_head_nodes

-- name: every_checkpoint
-- Every checkpoint that was published.
SELECT size, root, note FROM log_checkpoints ORDER BY size
