-- Error reports and the failures that they are reports of. Reports come as a JSON array of rows, one statement a batch;
-- what is kept whole of them as bytes, one document behind the other, so that nobody has to find its end in the JSON.

-- name: take_in
-- Records the reports whose case is plain: those that join an incident, and those that neither join nor may open one.
-- It locks nothing and runs on its own: what a report joins is decided by what was committed when the statement began.
-- The rest (outcome NULL) is for the careful way: what opens an incident, makes one worse, or is a signal to one.
-- The order of the rows is the order of their locks in the unique index. LIMIT 1 keeps the planner to one look into each
-- index for each row, however small the tables were when it planned.
WITH arrived AS MATERIALIZED (
    SELECT r.* FROM json_to_recordset(%(rows)s) AS r (n int, id uuid, project_id bigint, event_id text, occurred_at timestamptz,
        severity text, error_type text, title text, fingerprint text, fingerprint_version smallint, fingerprint_basis text,
        document_start int, document_bytes int, signal text, opens boolean, window_seconds int, protocol text)
), judged AS MATERIALIZED (
    SELECT a.*, j.incident_id, CASE
        WHEN j.incident_id IS NULL THEN CASE WHEN NOT a.opens THEN 'recorded' END
        WHEN a.signal IS NULL AND array_position(ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'], a.severity)
            <= array_position(ARRAY['LOW', 'MEDIUM', 'HIGH', 'CRITICAL'], j.current_severity) THEN 'joined' END AS outcome
    FROM arrived a
    LEFT JOIN LATERAL (
        SELECT h.incident_id, h.current_severity FROM failures f
        JOIN incident_heads h ON h.incident_id = f.incident_id
        WHERE f.project_id = a.project_id AND f.fingerprint = a.fingerprint
          AND (h.status <> 'CLOSED' OR %(now)s::timestamptz - h.created_at < make_interval(secs => a.window_seconds))
        LIMIT 1
    ) j ON true
), fresh AS (
    INSERT INTO audit_logs (id, project_id, event_id, received_at, occurred_at, severity, error_type, title, fingerprint,
        fingerprint_version, fingerprint_basis, document, signal, outcome, incident_id)
    SELECT id, project_id, event_id, %(now)s, occurred_at, severity, error_type, title, fingerprint, fingerprint_version,
        fingerprint_basis, substring(%(documents)b FROM document_start FOR document_bytes), signal, outcome, incident_id
    FROM judged WHERE outcome IS NOT NULL ORDER BY project_id, event_id
    ON CONFLICT (project_id, event_id) DO NOTHING
    RETURNING id, incident_id, outcome
), settled AS MATERIALIZED (
    SELECT j.n, j.project_id, j.event_id, j.protocol,
        CASE WHEN j.outcome IS NULL THEN NULL WHEN f.id IS NULL THEN 'duplicate' ELSE f.outcome END AS outcome, f.incident_id
    FROM judged j LEFT JOIN fresh f ON f.id = j.id
), counted AS (
    INSERT INTO occurrence_changes (incident_id, occurrences, last_seen_at)
    SELECT incident_id, count(*), %(now)s FROM fresh WHERE outcome = 'joined' GROUP BY incident_id
), ledger AS (
    INSERT INTO intake_changes (project_id, minute, measure, reason, quantity)
    SELECT project_id, date_trunc('minute', %(now)s::timestamptz), 'received', protocol, count(*)
    FROM settled WHERE outcome IS NOT NULL GROUP BY project_id, protocol
    UNION ALL
    SELECT project_id, date_trunc('minute', %(now)s::timestamptz), outcome, '', count(*)
    FROM settled WHERE outcome IS NOT NULL GROUP BY project_id, outcome
)
SELECT json_agg(json_build_array(outcome, incident_id, places))::text
FROM (SELECT outcome, incident_id, array_agg(n) AS places FROM settled GROUP BY outcome, incident_id) became

-- name: lock_failures
-- Locks failures, making the new ones, in the order of their marks: reports of one failure are judged in turn.
INSERT INTO failures (project_id, fingerprint, first_seen_at)
SELECT r.project_id, r.fingerprint, %(now)s
FROM json_to_recordset(%(rows)s) AS r (project_id bigint, fingerprint text) ORDER BY r.project_id, r.fingerprint
ON CONFLICT (project_id, fingerprint) DO UPDATE SET fingerprint = excluded.fingerprint

-- name: latest_incidents
-- Where the failures' latest incidents stand. Read after the lock, so that it sees what the last holder did.
-- LIMIT 1 as in take_in: without it the planner may prefer to read an index from end to end.
SELECT r.project_id, r.fingerprint, h.*
FROM json_to_recordset(%(rows)s) AS r (project_id bigint, fingerprint text)
CROSS JOIN LATERAL (
    SELECT h.incident_id, h.status, h.current_severity, h.created_at
    FROM failures f JOIN incident_heads h ON h.incident_id = f.incident_id
    WHERE f.project_id = r.project_id AND f.fingerprint = r.fingerprint LIMIT 1
) h

-- name: set_latest_incidents
-- Makes incidents the latest of their failures, which are there and locked: an upsert looks for each in the index.
INSERT INTO failures (project_id, fingerprint, first_seen_at, incident_id)
SELECT r.project_id, r.fingerprint, %(now)s, r.incident_id
FROM json_to_recordset(%(rows)s) AS r (project_id bigint, fingerprint text, incident_id uuid)
ON CONFLICT (project_id, fingerprint) DO UPDATE SET incident_id = excluded.incident_id

-- name: known_events
-- Which of these reports were accepted before, and what became of them. LIMIT 1 as in take_in.
SELECT r.project_id, r.event_id, l.incident_id
FROM json_to_recordset(%(rows)s) AS r (project_id bigint, event_id text)
CROSS JOIN LATERAL (
    SELECT a.incident_id FROM audit_logs a WHERE a.project_id = r.project_id AND a.event_id = r.event_id LIMIT 1
) l

-- name: insert
-- Records reports whose outcome is decided, and counts them: a first one for each incident that it opened, and what joined.
WITH decided AS MATERIALIZED (
    SELECT r.* FROM json_to_recordset(%(rows)s) AS r (id uuid, project_id bigint, event_id text, occurred_at timestamptz,
        severity text, error_type text, title text, fingerprint text, fingerprint_version smallint, fingerprint_basis text,
        document_start int, document_bytes int, signal text, outcome text, incident_id uuid)
), opened AS (
    INSERT INTO incident_occurrences (incident_id, occurrences, last_seen_at)
    SELECT incident_id, 1, %(now)s FROM decided WHERE outcome = 'opened'
), joined AS (
    INSERT INTO occurrence_changes (incident_id, occurrences, last_seen_at)
    SELECT incident_id, count(*), %(now)s FROM decided WHERE outcome = 'joined' AND signal IS NULL GROUP BY incident_id
)
INSERT INTO audit_logs (id, project_id, event_id, received_at, occurred_at, severity, error_type, title, fingerprint,
    fingerprint_version, fingerprint_basis, document, signal, outcome, incident_id)
SELECT id, project_id, event_id, %(now)s, occurred_at, severity, error_type, title, fingerprint, fingerprint_version,
    fingerprint_basis, substring(%(documents)b FROM document_start FOR document_bytes), signal, outcome, incident_id
FROM decided ORDER BY project_id, event_id

-- name: get
-- One report.
SELECT id, project_id, event_id, received_at, occurred_at, severity, error_type, title, fingerprint, document, outcome,
       incident_id
FROM audit_logs WHERE id = %(id)s

-- name: link
-- Links a recorded report to the incident that a person opened for it.
UPDATE audit_logs SET incident_id = %(incident_id)s WHERE id = %(id)s

-- name: count_first_occurrences
-- Begins to count the occurrences of an incident that a person opened.
INSERT INTO incident_occurrences (incident_id, occurrences, last_seen_at)
VALUES (%(incident_id)s, %(occurrences)s, %(last_seen_at)s)

-- name: fold_occurrences
-- Folds the differences into the counters; whoever reads adds both up, before and after. Tells which incidents gained many.
WITH folded AS (
    DELETE FROM occurrence_changes RETURNING incident_id, occurrences, last_seen_at
), summed AS (
    SELECT incident_id, sum(occurrences)::bigint AS occurrences, max(last_seen_at) AS last_seen_at
    FROM folded GROUP BY incident_id
), counted AS (
    INSERT INTO incident_occurrences (incident_id, occurrences, last_seen_at)
    SELECT incident_id, occurrences, last_seen_at FROM summed ORDER BY incident_id
    ON CONFLICT (incident_id) DO UPDATE SET occurrences = incident_occurrences.occurrences + excluded.occurrences,
        last_seen_at = greatest(incident_occurrences.last_seen_at, excluded.last_seen_at)
)
SELECT incident_id, occurrences FROM summed WHERE occurrences >= %(many)s ORDER BY incident_id LIMIT %(limit)s

-- name: keep_latest
-- Keeps the latest report of failures whose rows are not kept whole; an older one never replaces a newer. One that was
-- erased while it waited is not kept. The lock lets an erasure that is under way come first, or find what is kept here.
INSERT INTO latest_reports (project_id, fingerprint, incident_id, report_id, received_at, document)
SELECT l.project_id, l.fingerprint, l.incident_id, l.id, l.received_at, substring(%(documents)b FROM r.document_start FOR r.document_bytes)
FROM json_to_recordset(%(rows)s) AS r (id uuid, document_start int, document_bytes int)
JOIN audit_logs l ON l.id = r.id AND NOT l.erased
ORDER BY l.project_id, l.fingerprint FOR SHARE OF l
ON CONFLICT (project_id, fingerprint) DO UPDATE SET incident_id = excluded.incident_id, report_id = excluded.report_id,
    received_at = excluded.received_at, document = excluded.document
WHERE latest_reports.received_at <= excluded.received_at

-- name: samples
-- The reports of an incident that were kept whole, newest first, the latest one among them.
SELECT id, event_id, received_at, severity, title, outcome, document FROM (
    (SELECT id, event_id, received_at, severity, title, outcome, document FROM audit_logs
     WHERE incident_id = %(incident_id)s AND document IS NOT NULL AND NOT erased ORDER BY received_at DESC, id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT l.id, l.event_id, l.received_at, l.severity, l.title, l.outcome, k.document
     FROM latest_reports k JOIN audit_logs l ON l.id = k.report_id
     WHERE k.incident_id = %(incident_id)s AND l.document IS NULL AND NOT l.erased)
) kept ORDER BY received_at DESC, id DESC LIMIT %(limit)s

-- name: kept_of_incident
-- Which reports of an incident were kept whole, newest first, without the documents.
SELECT id, received_at FROM (
    (SELECT id, received_at FROM audit_logs
     WHERE incident_id = %(incident_id)s AND document IS NOT NULL AND NOT erased ORDER BY received_at DESC, id DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT l.id, l.received_at FROM latest_reports k JOIN audit_logs l ON l.id = k.report_id
     WHERE k.incident_id = %(incident_id)s AND l.document IS NULL AND NOT l.erased)
) kept ORDER BY received_at DESC, id DESC LIMIT %(limit)s

-- name: kept
-- One report of an incident that was kept whole.
SELECT l.id, l.event_id, l.received_at, l.severity, l.title, l.outcome, coalesce(l.document, k.document) AS document
FROM audit_logs l LEFT JOIN latest_reports k ON k.report_id = l.id AND k.incident_id = %(incident_id)s
WHERE l.id = %(id)s AND l.incident_id = %(incident_id)s AND NOT l.erased AND coalesce(l.document, k.document) IS NOT NULL

-- name: occurrences_over_time
-- How many reports of an incident came in each of some periods, up to a bound for each.
SELECT n AS period, (
    SELECT count(*) FROM (
        SELECT FROM audit_logs a WHERE a.incident_id = %(incident_id)s
          AND a.received_at >= %(since)s::timestamptz + n * make_interval(secs => %(seconds)s)
          AND a.received_at < %(since)s::timestamptz + (n + 1) * make_interval(secs => %(seconds)s) LIMIT %(most)s
    ) counted
) AS reports
FROM generate_series(0, %(periods)s - 1) n
