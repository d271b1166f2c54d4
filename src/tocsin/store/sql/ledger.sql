-- The ledger of intake: what was received, and what became of it, for each project and minute.

-- name: count
-- Counts: one row for each measure and reason.
INSERT INTO intake_changes (project_id, minute, measure, reason, quantity)
SELECT r.project_id, date_trunc('minute', %(now)s::timestamptz), r.measure, r.reason, r.quantity
FROM json_to_recordset(%(rows)s) AS r (project_id bigint, measure text, reason text, quantity bigint)

-- name: fold
-- Folds the differences into one row for each project, minute, measure and reason.
WITH folded AS (
    DELETE FROM intake_changes RETURNING project_id, minute, measure, reason, quantity
)
INSERT INTO intake_minutes (project_id, minute, measure, reason, quantity)
SELECT project_id, minute, measure, reason, sum(quantity) FROM folded
GROUP BY project_id, minute, measure, reason ORDER BY minute, project_id, measure, reason
ON CONFLICT (minute, project_id, measure, reason) DO UPDATE SET quantity = intake_minutes.quantity + excluded.quantity

-- name: ledger
-- The ledger of some time, newest minute first.
SELECT project_id, minute, measure, reason, quantity FROM intake_ledger
WHERE minute >= %(since)s AND minute < %(until)s AND (%(project_id)s::bigint IS NULL OR project_id = %(project_id)s)
ORDER BY minute DESC, project_id, measure, reason LIMIT %(limit)s

-- name: totals
-- The ledger of some time, added up. It reads past the view, which would first add up every minute: five times the work.
SELECT project_id, measure, reason, sum(quantity)::bigint AS quantity
FROM (SELECT * FROM intake_minutes UNION ALL SELECT * FROM intake_changes) everything
WHERE minute >= %(since)s AND minute < %(until)s AND (%(project_id)s::bigint IS NULL OR project_id = %(project_id)s)
GROUP BY project_id, measure, reason ORDER BY project_id, measure, reason

-- name: differences
-- Where the ledger of some time does not add up, or does not say what was recorded.
WITH said AS (
    SELECT project_id, minute, measure, sum(quantity) AS quantity FROM intake_ledger
    WHERE minute >= %(since)s AND minute < %(until)s GROUP BY project_id, minute, measure
), recorded AS (
    SELECT project_id, date_trunc('minute', received_at) AS minute, outcome AS measure, count(*) AS quantity
    FROM audit_logs WHERE received_at >= %(since)s AND received_at < %(until)s
    GROUP BY project_id, date_trunc('minute', received_at), outcome
), compared AS (
    SELECT coalesce(s.project_id, r.project_id) AS project_id, coalesce(s.minute, r.minute) AS minute,
        coalesce(s.measure, r.measure) AS measure, coalesce(s.quantity, 0) AS said, coalesce(r.quantity, 0) AS found
    FROM (SELECT * FROM said WHERE measure IN ('opened', 'joined', 'recorded')) s
    FULL JOIN recorded r ON r.project_id = s.project_id AND r.minute = s.minute AND r.measure = s.measure
    UNION ALL
    SELECT project_id, minute, 'received', sum(quantity) FILTER (WHERE measure = 'received'),
        sum(quantity) FILTER (WHERE measure IN ('opened', 'joined', 'recorded', 'duplicate', 'rejected'))
    FROM said GROUP BY project_id, minute
)
SELECT project_id, minute, measure, coalesce(said, 0)::bigint AS said, coalesce(found, 0)::bigint AS found
FROM compared WHERE coalesce(said, 0) <> coalesce(found, 0) ORDER BY minute, project_id, measure LIMIT %(limit)s

-- name: last_difference
-- The incident of a difference that was seen last, if that was not before an instant.
SELECT number, last_seen_at FROM current_incident_status
WHERE project_id = %(project_id)s AND starts_with(title, %(title)s) AND last_seen_at >= %(since)s
ORDER BY last_seen_at DESC, number DESC LIMIT 1

-- name: checked_to
-- Up to where the ledger was compared.
SELECT checked_to FROM ledger_progress

-- name: set_checked_to
-- Notes up to where the ledger was compared.
INSERT INTO ledger_progress (checked_to) VALUES (%(checked_to)s)
ON CONFLICT (only_one) DO UPDATE SET checked_to = excluded.checked_to

-- name: expire
-- Removes the ledger of minutes long past, once it was compared.
DELETE FROM intake_minutes WHERE minute < %(before)s AND minute < (SELECT checked_to FROM ledger_progress)
