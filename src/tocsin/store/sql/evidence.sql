-- What was recorded of one incident, byte for byte, and who vouches for the checkpoints of the log.

-- name: entries
-- The canonical bytes of a timeline, in its order, with what they commit to.
SELECT sequence, canonical, disclosures FROM incident_lifecycle WHERE incident_id = %(incident_id)s ORDER BY sequence

-- name: details
-- The canonical bytes of everything that the entries of an incident name, with what they commit to, by checksum.
SELECT checksum, canonical, disclosures FROM incidents WHERE id = %(incident_id)s
UNION ALL SELECT checksum, canonical, disclosures FROM incident_acknowledgments WHERE incident_id = %(incident_id)s
UNION ALL SELECT checksum, canonical, disclosures FROM incident_root_causes WHERE incident_id = %(incident_id)s
UNION ALL SELECT checksum, canonical, disclosures FROM incident_escalations WHERE incident_id = %(incident_id)s
UNION ALL SELECT checksum, canonical, '{}' FROM incident_escalation_acknowledgments WHERE incident_id = %(incident_id)s
UNION ALL SELECT checksum, canonical, disclosures FROM incident_resolution WHERE incident_id = %(incident_id)s
UNION ALL SELECT checksum, canonical, disclosures FROM incident_closures WHERE incident_id = %(incident_id)s

-- name: first_vouched
-- For each of these leaves the sizes at which a witness, and an authority, first vouched for a checkpoint that has it.
SELECT DISTINCT v.size FROM unnest(%(indexes)b::bigint[]) wanted (index)
CROSS JOIN LATERAL (
    (SELECT size FROM log_cosignatures WHERE size > wanted.index ORDER BY size LIMIT 1)
    UNION ALL (SELECT size FROM log_timestamps WHERE size > wanted.index ORDER BY size LIMIT 1)) v
ORDER BY v.size

-- name: last_vouched
-- For each witness and each authority the size of the last checkpoint that it vouched for, from this size on.
SELECT DISTINCT size FROM (SELECT max(size) AS size FROM log_cosignatures WHERE size >= %(size)s GROUP BY witness
                           UNION ALL SELECT max(size) FROM log_timestamps WHERE size >= %(size)s GROUP BY authority) v
ORDER BY size

-- name: checkpoints
-- Published checkpoints by their sizes.
SELECT size, root, note, signed_at FROM log_checkpoints WHERE size = ANY (%(sizes)s) ORDER BY size

-- name: cosignatures
-- What witnesses say of these checkpoints.
SELECT size, line FROM log_cosignatures WHERE size = ANY (%(sizes)s) ORDER BY size, witness

-- name: timestamps
-- The tokens of authorities for these checkpoints.
SELECT size, token FROM log_timestamps WHERE size = ANY (%(sizes)s) ORDER BY size, authority
