-- What auditors read: the access log, and the entries of all timelines.

-- name: accesses
-- A part of the access log, newest first; every filter that is NULL lets all through. (before, before_id) is the keyset cursor.
SELECT a.id, a.accessed_at, a.user_id, u.email AS user_email, a.credential, a.action, a.target, a.client_address,
       a.user_agent, a.status, a.outcome, a.request_id
FROM audit_access_log a LEFT JOIN users u ON u.id = a.user_id
WHERE (%(user_id)s::uuid IS NULL OR a.user_id = %(user_id)s)
  AND (%(action)s::text IS NULL OR a.action = %(action)s)
  AND (%(outcome)s::text IS NULL OR a.outcome = %(outcome)s)
  AND (%(since)s::timestamptz IS NULL OR a.accessed_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR a.accessed_at < %(until)s)
  AND (%(before)s::timestamptz IS NULL OR (a.accessed_at, a.id) < (%(before)s, %(before_id)s::uuid))
ORDER BY a.accessed_at DESC, a.id DESC LIMIT %(limit)s

-- name: entries
-- A part of all timelines, newest first; every filter that is NULL lets all through. (before, before_id) is the keyset cursor.
SELECT e.id, e.event_at, h.number, e.sequence, e.event_type, e.status_before, e.status_after, e.actor_user_id,
       u.email AS actor_email, e.actor_role, e.metadata, e.personal, e.checksum
FROM incident_lifecycle e JOIN incident_heads h ON h.incident_id = e.incident_id
LEFT JOIN users u ON u.id = e.actor_user_id
WHERE (%(user_id)s::uuid IS NULL OR e.actor_user_id = %(user_id)s)
  AND (%(kind)s::text IS NULL OR e.event_type = %(kind)s)
  AND (%(since)s::timestamptz IS NULL OR e.event_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR e.event_at < %(until)s)
  AND (%(before)s::timestamptz IS NULL OR (e.event_at, e.id) < (%(before)s, %(before_id)s::uuid))
ORDER BY e.event_at DESC, e.id DESC LIMIT %(limit)s

-- name: actions
-- What is done at all, by name: from each to the next one in the index, never through the whole log.
WITH RECURSIVE known AS (
    (SELECT action FROM audit_access_log ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT a.action FROM audit_access_log a WHERE a.action > known.action ORDER BY a.action LIMIT 1)
    FROM known WHERE known.action IS NOT NULL
)
SELECT action AS name FROM known WHERE action IS NOT NULL LIMIT %(limit)s

-- name: outcomes
-- Which outcomes there are at all, by name.
WITH RECURSIVE known AS (
    (SELECT outcome FROM audit_access_log ORDER BY outcome LIMIT 1)
    UNION ALL
    SELECT (SELECT a.outcome FROM audit_access_log a WHERE a.outcome > known.outcome ORDER BY a.outcome LIMIT 1)
    FROM known WHERE known.outcome IS NOT NULL
)
SELECT outcome AS name FROM known WHERE outcome IS NOT NULL LIMIT %(limit)s
