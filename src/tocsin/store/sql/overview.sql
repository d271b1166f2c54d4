-- What the console's first page shows, in a few short index ranges.

-- name: burning
-- The open incidents that need somebody: of each severity and status the newest, with their next timer and who has them. Each is
-- named, so that the planner knows of which there are few: those it must not look for among all others.
SELECT h.incident_id, h.number, h.status, h.current_severity, i.title, h.created_at, h.acknowledged_at,
       u.name AS acknowledged_by_name, (coalesce(o.occurrences, 0) + coalesce(c.occurrences, 0))::bigint AS occurrences,
       j.due_at AS louder_at
FROM (
    (SELECT incident_id, 1 AS place FROM incident_heads WHERE status = 'REPORTED' AND current_severity = 'CRITICAL'
     ORDER BY number DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT incident_id, 2 AS place FROM incident_heads WHERE status = 'REPORTED' AND current_severity = 'HIGH'
     ORDER BY number DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT incident_id, 3 AS place FROM incident_heads WHERE status = 'REPORTED' AND current_severity = 'MEDIUM'
     ORDER BY number DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT incident_id, 4 AS place FROM incident_heads WHERE status = 'REPORTED' AND current_severity = 'LOW'
     ORDER BY number DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT incident_id, 5 FROM incident_heads WHERE status = 'ACKNOWLEDGED' ORDER BY number DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT incident_id, 6 FROM incident_heads WHERE status = 'INVESTIGATING' ORDER BY number DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT incident_id, 7 FROM incident_heads WHERE status = 'RESOLVED' ORDER BY number DESC LIMIT %(limit)s)
) page
JOIN incident_heads h ON h.incident_id = page.incident_id
JOIN incidents i ON i.id = h.incident_id
LEFT JOIN users u ON u.id = h.acknowledged_by
LEFT JOIN incident_occurrences o ON o.incident_id = h.incident_id
LEFT JOIN LATERAL (SELECT sum(occurrences) AS occurrences FROM occurrence_changes WHERE incident_id = h.incident_id) c ON true
LEFT JOIN jobs j ON j.key = 'escalate:' || h.incident_id AND j.dead_at IS NULL
ORDER BY page.place, h.number DESC

-- name: pulse
-- Changes whenever something is recorded: how many leaves the log has and waits for (where very many wait, the latest
-- entry's time tells).
SELECT (SELECT size FROM log_state) + (SELECT count(*) FROM (SELECT FROM log_pending LIMIT 1000) AS waiting) AS leaves,
       (SELECT max(event_at) FROM incident_lifecycle) AS latest_at
