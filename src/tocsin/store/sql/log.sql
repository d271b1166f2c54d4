-- The transparency log: what waits for it, its tiles and heads, and the checkpoints that were signed.

-- name: lock_log
-- Locks the log until the transaction ends; no row when another sealer is at it.
SELECT size, incidents FROM lock_log()

-- name: state
-- How many leaves the log has, and how many incidents its head tree.
SELECT size, incidents FROM log_state

-- name: is_anything_waiting
-- Whether there is anything to seal.
SELECT EXISTS (SELECT FROM log_pending)

-- name: waiting
-- What has waited longest. Of one incident no entry comes before its predecessor: see the table.
SELECT id, number, incident_id::text, sequence, encode(leaf_hash, 'hex') FROM log_pending ORDER BY id LIMIT %(limit)s

-- name: seal
-- Gives a batch its place in the log, with the leaf and the nodes of its heads; answers the new size.
SELECT seal(%(size_before)s, %(waiting)b::bigint[], %(heads)b, %(incidents_after)s, %(node_levels)b::smallint[],
    %(node_indexes)b::bigint[], %(node_hashes)b::bytea[])

-- name: await_leaf
-- Owes the log a leaf of the system's own.
SELECT await_leaf(%(kind)s, %(leaf)b, %(now)s)

-- name: leaves_of_kind
-- The leaves of one of the rare kinds, in their order, those that have no place yet last. One statement: of two, a leaf that is
-- sealed between them would be in neither.
SELECT index, leaf FROM (
    SELECT index, NULL::bigint AS id, leaf FROM log_entries WHERE kind = %(kind)s
    UNION ALL
    SELECT NULL, id, leaf FROM log_pending WHERE kind = %(kind)s
) found ORDER BY index NULLS LAST, id

-- name: leaf_at
-- One of the system's own leaves.
SELECT leaf FROM log_entries WHERE index = %(index)s

-- name: tiles
-- Tiles by their places.
SELECT t.level, t.index, t.hashes FROM unnest(%(levels)b::smallint[], %(indexes)b::bigint[]) w (level, index)
JOIN log_tiles t ON t.level = w.level AND t.index = w.index

-- name: head_nodes
-- Groups of nodes of the head tree by their places.
SELECT n.level, n.index, n.hashes FROM unnest(%(levels)b::smallint[], %(indexes)b::bigint[]) w (level, index)
JOIN log_head_nodes n ON n.level = w.level AND n.index = w.index

-- name: entries_of
-- Where the entries of an incident are in the log.
SELECT index, sequence, leaf_hash FROM log_entries WHERE number = %(number)s ORDER BY sequence

-- name: last_checkpoint
-- The latest checkpoint that was signed.
SELECT size, root, note, signed_at FROM log_checkpoints ORDER BY size DESC LIMIT 1

-- name: checkpoint_at
-- The checkpoint of this size.
SELECT size, root, note, signed_at FROM log_checkpoints WHERE size = %(size)s

-- name: insert_checkpoint
-- Publishes a checkpoint; once is enough.
INSERT INTO log_checkpoints (size, root, note, signed_at) VALUES (%(size)s, %(root)s, %(note)s, %(now)s)
ON CONFLICT (size) DO NOTHING

-- name: signer_seen
-- Notes that a signer is at work, and what it refuses (nothing: null).
INSERT INTO log_signers (key, worker, seen_at, refused_at, refusal)
VALUES (%(key)s, %(worker)s, %(now)s, CASE WHEN %(refusal)s::text IS NOT NULL THEN %(now)s END, %(refusal)s)
ON CONFLICT (key) DO UPDATE SET worker = excluded.worker, seen_at = excluded.seen_at, refusal = excluded.refusal,
    refused_at = CASE WHEN excluded.refusal IS NULL THEN NULL
                      ELSE coalesce(log_signers.refused_at, excluded.refused_at) END

-- name: signer_gone
-- Forgets a signer that signs no more, and what it refused.
DELETE FROM log_signers WHERE key = %(key)s

-- name: condition
-- The state of the log in one row. What waits longest has about the lowest id. A signer not seen lately refuses nothing.
SELECT s.size, c.size AS signed_size, c.signed_at,
       (SELECT count(*) FROM (SELECT FROM log_pending LIMIT 100000) counted) AS waiting,
       (SELECT waiting_since FROM log_pending ORDER BY id LIMIT 1) AS waiting_since,
       r.seen_at AS signer_seen_at, r.refused_at, r.refusal
FROM log_state s
LEFT JOIN LATERAL (SELECT size, signed_at FROM log_checkpoints ORDER BY size DESC LIMIT 1) c ON true
LEFT JOIN LATERAL (SELECT seen_at, refused_at, refusal FROM log_signers
                   WHERE %(seen_since)s::timestamptz IS NULL OR seen_at >= %(seen_since)s
                   ORDER BY refusal IS NULL, seen_at DESC LIMIT 1) r ON true
