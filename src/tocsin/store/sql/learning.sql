-- The figures of each week, counted once by a chore and summed when somebody looks.

-- name: counted
-- The weeks since a day that were counted when they were over.
SELECT week FROM learned_weeks WHERE week >= %(since)s AND counted_at >= (week + 8)::timestamp AT TIME ZONE 'UTC'

-- name: forget
-- Makes room for a week's figures.
DELETE FROM learning_weeks WHERE week = %(week)s

-- name: count_opened
-- Counts the incidents of a week, and those of them that had been there before, by severity.
INSERT INTO learning_weeks
SELECT %(week)s, c.measure, 'SEVERITY', c.severity, 0, count(*), 0 FROM (
    SELECT 'OPENED' AS measure, current_severity AS severity FROM incident_heads
    WHERE created_at >= %(start)s AND created_at < %(until)s
    UNION ALL
    SELECT 'CAME_BACK', severity FROM incidents
    WHERE recurrence_of IS NOT NULL AND created_at >= %(start)s AND created_at < %(until)s
) c GROUP BY c.measure, c.severity

-- name: count_acknowledged
-- Counts how long the acknowledgments of a week took, by severity and by service; services beyond the largest are one.
INSERT INTO learning_weeks
WITH took AS MATERIALIZED (
    SELECT current_severity, coalesce(left(service, 200), '') AS service,
           greatest(extract(epoch FROM acknowledged_at - created_at), 0)::double precision AS seconds
    FROM incident_heads WHERE acknowledged_at >= %(start)s AND acknowledged_at < %(until)s
), largest AS (
    SELECT service FROM took GROUP BY service ORDER BY count(*) DESC, service LIMIT %(services)s
), named AS (
    SELECT 'SEVERITY' AS scope, current_severity AS name, seconds FROM took
    UNION ALL
    SELECT 'SERVICE', coalesce(l.service, %(others)s), t.seconds FROM took t LEFT JOIN largest l ON l.service = t.service
)
SELECT %(week)s, 'ACKNOWLEDGED', scope, name, round(ln(1 + seconds) / ln(%(base)s::double precision))::smallint AS bucket,
       count(*), sum(seconds)
FROM named GROUP BY scope, name, bucket

-- name: count_resolved
-- Counts how long the resolutions of a week took, in the same way.
INSERT INTO learning_weeks
WITH took AS MATERIALIZED (
    SELECT current_severity, coalesce(left(service, 200), '') AS service,
           greatest(extract(epoch FROM resolved_at - created_at), 0)::double precision AS seconds
    FROM incident_heads WHERE resolved_at >= %(start)s AND resolved_at < %(until)s
), largest AS (
    SELECT service FROM took GROUP BY service ORDER BY count(*) DESC, service LIMIT %(services)s
), named AS (
    SELECT 'SEVERITY' AS scope, current_severity AS name, seconds FROM took
    UNION ALL
    SELECT 'SERVICE', coalesce(l.service, %(others)s), t.seconds FROM took t LEFT JOIN largest l ON l.service = t.service
)
SELECT %(week)s, 'RESOLVED', scope, name, round(ln(1 + seconds) / ln(%(base)s::double precision))::smallint AS bucket,
       count(*), sum(seconds)
FROM named GROUP BY scope, name, bucket

-- name: count_causes
-- Counts the root causes that were recorded in a week, by category.
INSERT INTO learning_weeks
SELECT %(week)s, 'CAUSE', 'CATEGORY', root_cause_category, 0, count(*), 0 FROM incident_root_causes
WHERE identified_at >= %(start)s AND identified_at < %(until)s GROUP BY root_cause_category

-- name: note_counted
-- Notes that a week was counted.
INSERT INTO learned_weeks (week, counted_at) VALUES (%(week)s, %(now)s)
ON CONFLICT (week) DO UPDATE SET counted_at = excluded.counted_at

-- name: last_counted
-- When the figures were last brought up to date.
SELECT max(counted_at) FROM learned_weeks WHERE week >= %(since)s

-- name: responses
-- How long something took since a day, by name: the number, the mean, and the buckets of the percentiles.
WITH merged AS (
    SELECT name, bucket, sum(incidents) AS incidents, sum(seconds) AS seconds FROM learning_weeks
    WHERE scope = %(scope)s AND measure = %(measure)s AND week >= %(since)s GROUP BY name, bucket
), running AS (
    SELECT name, bucket, incidents, seconds, sum(incidents) OVER (PARTITION BY name ORDER BY bucket) AS upto,
           sum(incidents) OVER (PARTITION BY name) AS number
    FROM merged
)
SELECT name, number::bigint, sum(seconds) / number AS mean_seconds,
       min(bucket) FILTER (WHERE upto * 2 >= number) AS median_bucket,
       min(bucket) FILTER (WHERE upto * 10 >= number * 9) AS p90_bucket
FROM running GROUP BY name, number ORDER BY number DESC, name LIMIT %(limit)s

-- name: responses_by_week
-- The same of everything together, week by week.
WITH merged AS (
    SELECT week, bucket, sum(incidents) AS incidents, sum(seconds) AS seconds FROM learning_weeks
    WHERE scope = 'SEVERITY' AND measure = %(measure)s AND week >= %(since)s GROUP BY week, bucket
), running AS (
    SELECT week, bucket, incidents, seconds, sum(incidents) OVER (PARTITION BY week ORDER BY bucket) AS upto,
           sum(incidents) OVER (PARTITION BY week) AS number
    FROM merged
)
SELECT week::text AS name, number::bigint, sum(seconds) / number AS mean_seconds,
       min(bucket) FILTER (WHERE upto * 2 >= number) AS median_bucket,
       min(bucket) FILTER (WHERE upto * 10 >= number * 9) AS p90_bucket
FROM running GROUP BY week, number ORDER BY week

-- name: whole
-- The same of everything together, over the whole time.
WITH merged AS (
    SELECT bucket, sum(incidents) AS incidents, sum(seconds) AS seconds FROM learning_weeks
    WHERE scope = 'SEVERITY' AND measure = %(measure)s AND week >= %(since)s GROUP BY bucket
), running AS (
    SELECT bucket, seconds, sum(incidents) OVER (ORDER BY bucket) AS upto, sum(incidents) OVER () AS number FROM merged
)
SELECT '' AS name, number::bigint, sum(seconds) / number AS mean_seconds,
       min(bucket) FILTER (WHERE upto * 2 >= number) AS median_bucket,
       min(bucket) FILTER (WHERE upto * 10 >= number * 9) AS p90_bucket
FROM running GROUP BY number

-- name: counts
-- How often something happened since a day, by week and name.
SELECT week, name, incidents FROM learning_weeks
WHERE scope = %(scope)s AND measure = %(measure)s AND week >= %(since)s ORDER BY week, name

-- name: recurring
-- The failures that came back most often, among the latest recurrences since an instant: the number and the last one.
WITH latest AS (
    SELECT project_id, fingerprint, created_at FROM incidents
    WHERE recurrence_of IS NOT NULL AND created_at >= %(start)s ORDER BY created_at DESC LIMIT %(most)s
), counted AS (
    SELECT project_id, fingerprint, count(*)::integer AS times FROM latest
    GROUP BY project_id, fingerprint ORDER BY times DESC, max(created_at) DESC LIMIT %(limit)s
)
SELECT c.times, p.name AS project_name, l.number, l.title, l.status, l.created_at,
       (SELECT array_agg(number ORDER BY number) FROM (
           SELECT number FROM incidents i WHERE i.project_id = c.project_id AND i.fingerprint = c.fingerprint
           ORDER BY created_at DESC LIMIT %(chain)s) AS chain) AS chain,
       (SELECT r.root_cause_category FROM incident_root_causes r JOIN incidents i ON i.id = r.incident_id
        WHERE i.project_id = c.project_id AND i.fingerprint = c.fingerprint
        ORDER BY i.created_at DESC LIMIT 1) AS category
FROM counted c JOIN projects p ON p.id = c.project_id
CROSS JOIN LATERAL (
    SELECT i.number, i.title, h.status, i.created_at FROM incidents i JOIN incident_heads h ON h.incident_id = i.id
    WHERE i.project_id = c.project_id AND i.fingerprint = c.fingerprint ORDER BY i.created_at DESC LIMIT 1
) l
ORDER BY c.times DESC, l.created_at DESC
