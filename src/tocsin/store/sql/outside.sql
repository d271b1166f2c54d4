-- Those outside who vouch for the log: how it goes with each, and what they said.

-- name: introduce
-- Notes that a worker looks after one; a new one is due at once.
INSERT INTO log_outside (name, kind, size, due_at, seen_at) VALUES (%(name)s, %(kind)s, 0, %(now)s, %(now)s)
ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, seen_at = excluded.seen_at

-- name: claim
-- Takes one that is due and lacks the last checkpoint, for the length of a lease; no row if it owes nothing.
UPDATE log_outside SET due_at = %(lease_until)s, seen_at = %(now)s
WHERE name = %(name)s AND due_at <= %(now)s AND size < (SELECT max(size) FROM log_checkpoints)
RETURNING name, kind, size, succeeded_at, failing_since, failures, failure

-- name: succeeded
-- Notes that it vouches for the log up to a size, and when it is due again.
UPDATE log_outside SET size = greatest(size, %(size)s), due_at = %(due_at)s, seen_at = %(now)s, succeeded_at = %(now)s,
    failing_since = NULL, failures = 0, failure = NULL
WHERE name = %(name)s

-- name: failed
-- Notes why it does not, and when it is tried again; answers since when it fails.
UPDATE log_outside SET due_at = %(due_at)s, seen_at = %(now)s, failing_since = coalesce(failing_since, %(now)s),
    failures = failures + 1, failure = %(failure)s
WHERE name = %(name)s RETURNING failing_since

-- name: all
-- Those that a worker looked after lately.
SELECT name, kind, size, succeeded_at, failing_since, failures, failure FROM log_outside
WHERE seen_at >= %(seen_since)s ORDER BY name

-- name: insert_cosignature
-- Keeps what a witness said of a checkpoint; the first time it said so is enough.
INSERT INTO log_cosignatures (size, witness, line, received_at) VALUES (%(size)s, %(witness)s, %(line)s, %(now)s)
ON CONFLICT DO NOTHING

-- name: insert_timestamp
-- Keeps an authority's time stamp of a checkpoint; the first one is enough.
INSERT INTO log_timestamps (size, authority, token, received_at) VALUES (%(size)s, %(authority)s, %(token)s, %(now)s)
ON CONFLICT DO NOTHING

-- name: cosigned_size
-- The largest checkpoint that a witness cosigned.
SELECT max(size) FROM log_cosignatures WHERE witness = %(witness)s

-- name: next_checkpoint
-- The largest checkpoint within reach of a size, or else the next one.
SELECT size, root, note, signed_at FROM log_checkpoints WHERE size > %(size)s
ORDER BY size > %(size)s + %(reach)s, CASE WHEN size > %(size)s + %(reach)s THEN size ELSE -size END LIMIT 1

-- name: leaves
-- The bytes of a run of leaves, in their order.
SELECT coalesce(l.leaf, e.canonical) AS leaf FROM log_entries l LEFT JOIN incident_lifecycle e ON e.id = l.entry_id
WHERE l.index >= %(first)s AND l.index < %(after)s ORDER BY l.index
