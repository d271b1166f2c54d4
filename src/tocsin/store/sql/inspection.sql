-- What `tocsin doctor` asks of the database.

-- name: server
-- Which server this is, what time it has, and how much the application's sign-in may do there.
SELECT current_setting('server_version') AS version, clock_timestamp() AS now, session_user::text AS sign_in,
       coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = session_user), false) AS is_superuser,
       pg_has_role(session_user, 'tocsin_owner', 'MEMBER') AS can_become_owner

-- name: duty_holders
-- Who holds each duty, and over which channels they are reached.
SELECT d.duty, u.email, u.active, s.name AS schedule,
       array(SELECT DISTINCT c.channel FROM contact_methods c WHERE c.user_id = u.id ORDER BY c.channel) AS channels
FROM duties d LEFT JOIN users u ON u.id = d.user_id LEFT JOIN schedules s ON s.id = d.schedule_id ORDER BY d.duty

-- name: tally_differences
-- Where the counters do not say what counting says.
SELECT coalesce(c.status, t.status) AS status, coalesce(c.current_severity, t.current_severity) AS current_severity,
       coalesce(c.incidents, 0)::bigint AS counted, coalesce(t.incidents, 0)::bigint AS tallied
FROM (SELECT status, current_severity, count(*) AS incidents FROM incident_heads GROUP BY status, current_severity) c
FULL JOIN (SELECT status, current_severity, sum(change) AS incidents FROM incident_tallies
           GROUP BY status, current_severity) t
       ON t.status = c.status AND t.current_severity = c.current_severity
WHERE coalesce(c.incidents, 0) <> coalesce(t.incidents, 0)
ORDER BY 1, 2
