-- Silences and maintenance windows.

-- name: lock_silences
-- Holds off others who add silences until this transaction ends.
LOCK TABLE silences IN SHARE ROW EXCLUSIVE MODE

-- name: active
-- The silences that hold at an instant, or begin until another one. One that was ended early is over.
SELECT id, kind, incident_id, project_id, service, severities, starts_at, ends_at, reason, created_by FROM silences
WHERE ends_at > %(now)s AND starts_at <= %(until)s AND starts_at < ends_at ORDER BY ends_at, id

-- name: insert
-- Adds a silence.
INSERT INTO silences (id, kind, incident_id, project_id, service, severities, starts_at, ends_at, reason, created_by, created_at)
VALUES (%(id)s, %(kind)s, %(incident_id)s, %(project_id)s, %(service)s, %(severities)s, %(starts_at)s, %(ends_at)s, %(reason)s,
    %(created_by)s, %(now)s)

-- name: hold
-- Whether a silence still holds; nobody ends it before this transaction has written what it holds back.
SELECT true FROM silences WHERE id = %(id)s AND ends_at > %(now)s FOR KEY SHARE

-- name: lock_to_end
-- A silence that is about to end, once everybody who holds pages back by it has written so.
SELECT id FROM silences WHERE id = %(id)s FOR UPDATE

-- name: end
-- Ends a silence early; one that has not begun never will.
UPDATE silences SET ends_at = greatest(starts_at, %(now)s), ended_by = %(user_id)s WHERE id = %(id)s

-- name: standing
-- How many silences are not over yet.
SELECT count(*) FROM silences WHERE ends_at > %(now)s AND ended_by IS NULL

-- name: get
-- One silence, as people see it.
SELECT s.id, s.kind, s.incident_id, i.number AS incident_number, s.project_id, p.name AS project_name, s.service, s.severities,
    s.starts_at, s.ends_at, s.reason, s.created_by, c.name AS created_by_name, s.created_at, s.ended_by, e.name AS ended_by_name
FROM silences s JOIN users c ON c.id = s.created_by LEFT JOIN users e ON e.id = s.ended_by
LEFT JOIN incidents i ON i.id = s.incident_id LEFT JOIN projects p ON p.id = s.project_id
WHERE s.id = %(id)s

-- name: listed
-- The silences that are not over, the one that ends first before the others.
SELECT s.id, s.kind, s.incident_id, i.number AS incident_number, s.project_id, p.name AS project_name, s.service, s.severities,
    s.starts_at, s.ends_at, s.reason, s.created_by, c.name AS created_by_name, s.created_at, s.ended_by, e.name AS ended_by_name
FROM silences s JOIN users c ON c.id = s.created_by LEFT JOIN users e ON e.id = s.ended_by
LEFT JOIN incidents i ON i.id = s.incident_id LEFT JOIN projects p ON p.id = s.project_id
WHERE s.ends_at > %(now)s AND s.ended_by IS NULL ORDER BY s.ends_at, s.id LIMIT %(limit)s

-- name: listed_all
-- Every silence, the one that ends last before the others.
SELECT s.id, s.kind, s.incident_id, i.number AS incident_number, s.project_id, p.name AS project_name, s.service, s.severities,
    s.starts_at, s.ends_at, s.reason, s.created_by, c.name AS created_by_name, s.created_at, s.ended_by, e.name AS ended_by_name
FROM silences s JOIN users c ON c.id = s.created_by LEFT JOIN users e ON e.id = s.ended_by
LEFT JOIN incidents i ON i.id = s.incident_id LEFT JOIN projects p ON p.id = s.project_id
ORDER BY s.ends_at DESC, s.id DESC LIMIT %(limit)s

-- name: held
-- Open incidents of which a silence held pages back, in the order of their ids.
SELECT DISTINCT d.incident_id AS id FROM paging_decisions d JOIN incident_heads h ON h.incident_id = d.incident_id
WHERE d.silence_id = %(id)s AND h.status <> 'CLOSED' AND d.incident_id > %(after)s ORDER BY d.incident_id LIMIT %(limit)s
