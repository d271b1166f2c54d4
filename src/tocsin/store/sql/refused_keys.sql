-- Requests with a key that opens nothing.

-- name: add
-- Adds what was refused since the last time, to the hour of its last request. In the order of the keys, so that two processes that
-- write at once wait for each other in one order.
INSERT INTO refused_keys (hour, key_id, requests, last_at)
SELECT date_trunc('hour', r.last_at, 'UTC'), r.key_id, r.requests, r.last_at
FROM json_to_recordset(%(rows)s) AS r (key_id uuid, requests bigint, last_at timestamptz) ORDER BY r.key_id
ON CONFLICT (hour, key_id) DO UPDATE
SET requests = refused_keys.requests + excluded.requests, last_at = greatest(refused_keys.last_at, excluded.last_at)

-- name: since
-- How many requests were refused since an hour, for each revoked key and for all that nobody knows; the last ones first.
SELECT r.key_id, k.key_prefix, k.project_id, p.name AS project_name, k.revoked_at, sum(r.requests)::bigint AS requests,
       max(r.last_at) AS last_at
FROM refused_keys r LEFT JOIN project_keys k ON k.id = r.key_id LEFT JOIN projects p ON p.id = k.project_id
WHERE r.hour >= date_trunc('hour', %(since)s::timestamptz, 'UTC') AND (%(project_id)s::bigint IS NULL OR k.project_id = %(project_id)s)
GROUP BY r.key_id, k.key_prefix, k.project_id, p.name, k.revoked_at ORDER BY last_at DESC, r.key_id LIMIT %(limit)s

-- name: expire
-- Removes what is too old to be shown.
DELETE FROM refused_keys WHERE hour < %(before)s
