-- What the console's first page shows, in a few short index ranges.

-- name: burning
-- The open incidents that need somebody: of each severity and status the newest, with their next timer and who has them.
SELECT h.incident_id, h.number, h.status, h.current_severity, i.title, h.created_at, h.acknowledged_at,
       u.name AS acknowledged_by_name, coalesce(o.occurrences, 0) AS occurrences, j.due_at AS louder_at
FROM (
    SELECT found.* FROM unnest(ARRAY['CRITICAL', 'HIGH', 'MEDIUM', 'LOW']) WITH ORDINALITY AS s (severity, rank)
    CROSS JOIN LATERAL (
        SELECT r.incident_id, s.rank AS place FROM incident_heads r
        WHERE r.status = 'REPORTED' AND r.current_severity = s.severity ORDER BY r.number DESC LIMIT %(limit)s
    ) found
    UNION ALL
    SELECT found.* FROM unnest(ARRAY['ACKNOWLEDGED', 'INVESTIGATING', 'RESOLVED']) WITH ORDINALITY AS s (status, rank)
    CROSS JOIN LATERAL (
        SELECT t.incident_id, 4 + s.rank AS place FROM incident_heads t
        WHERE t.status = s.status ORDER BY t.number DESC LIMIT %(limit)s
    ) found
) page
JOIN incident_heads h ON h.incident_id = page.incident_id
JOIN incidents i ON i.id = h.incident_id
LEFT JOIN users u ON u.id = h.acknowledged_by
LEFT JOIN incident_occurrences o ON o.incident_id = h.incident_id
LEFT JOIN jobs j ON j.key = 'escalate:' || h.incident_id AND j.dead_at IS NULL
ORDER BY page.place, h.number DESC

-- name: pulse
-- Changes whenever something is recorded: how many leaves the log has and waits for (where very many wait, the latest
-- entry's time tells).
SELECT (SELECT size FROM log_state) + (SELECT count(*) FROM (SELECT FROM log_pending LIMIT 1000) AS waiting) AS leaves,
       (SELECT max(event_at) FROM incident_lifecycle) AS latest_at
