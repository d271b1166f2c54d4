-- Incidents as they are read: where they stand, lists, counts.

-- name: find
-- Finds an incident by its id or by its number.
SELECT incident_id FROM incident_heads
WHERE incident_id = %(id)s OR number = %(number)s

-- name: lock_failure_of
-- Locks the failure of an incident, so that no report joins while it closes.
SELECT fingerprint FROM failures WHERE incident_id = %(incident_id)s FOR UPDATE

-- name: lock_head
-- Locks the head: everything that appends to the timeline waits here. Failures are locked before heads.
SELECT lock_head(%(incident_id)s)

-- name: lock_heads
-- Locks the heads of several incidents, in the order of their ids.
SELECT lock_head(wanted.id) FROM (SELECT unnest(%(incident_ids)s::uuid[]) AS id ORDER BY 1) wanted

-- name: heads
-- Reads what the workflow needs to know of incidents, in the order of their ids.
SELECT h.incident_id, h.number, h.status, h.current_severity, h.sequence, h.checksum, h.created_at,
       h.acknowledged_at, h.acknowledged_by, u.name AS acknowledged_by_name, h.root_cause_at IS NOT NULL AS has_root_cause,
       h.no_ack_1hr_at, h.no_ack_4hr_at, h.no_root_cause_24hr_at, h.sessions_blocked_at,
       h.fired_steps, h.lease_from, h.lapses, h.service,
       r.lessons_learned, r.follow_up_actions, i.title, i.recurrence_of, i.project_id,
       f.metadata ? 'inStorm' AS in_storm
FROM incident_heads h
JOIN incidents i ON i.id = h.incident_id
JOIN incident_lifecycle f ON f.incident_id = h.incident_id AND f.sequence = 1
LEFT JOIN users u ON u.id = h.acknowledged_by
LEFT JOIN incident_resolution r ON r.incident_id = h.incident_id
WHERE h.incident_id = ANY(%(incident_ids)s) ORDER BY h.incident_id

-- name: plan_for_filters
-- Lets every statement of this transaction be planned for its parameters: no one plan is good with every filter. And by one process:
-- what these read is bounded, and the planner takes a scan that many can share for less than a short one.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('max_parallel_workers_per_gather', '0', true)

-- name: newest
-- A page of the newest incidents that a filter lets through, found among the heads alone: what is skipped or filtered out costs no
-- look at the other tables. Of the filter, what is NULL lets all through; before_number is the keyset cursor. One branch is run, the
-- conditions of the others are false: from the newest on; where a period is given all of it, however long ago that is (OFFSET 0
-- keeps the planner from going back to it from the newest on); with a project as the planner likes, which knows how many it has
-- (joined by number: the index of a project's incidents has it, so that no row of theirs is read).
WITH let_through AS NOT MATERIALIZED (
    SELECT h.incident_id, h.number FROM incident_heads h
    WHERE (%(statuses)s::text[] IS NULL OR h.status = ANY (%(statuses)s))
      AND (%(severities)s::text[] IS NULL OR h.current_severity = ANY (%(severities)s))
      AND (%(created_after)s::timestamptz IS NULL OR h.created_at >= %(created_after)s)
      AND (%(created_before)s::timestamptz IS NULL OR h.created_at < %(created_before)s)
      AND (%(service)s::text IS NULL OR h.service = %(service)s)
      AND (%(holder)s::uuid IS NULL OR h.acknowledged_by = %(holder)s)
)
SELECT incident_id, number FROM (
    (SELECT incident_id, number FROM let_through
     WHERE %(project_id)s::bigint IS NULL AND NOT %(period)s
       AND (%(before_number)s::bigint IS NULL OR number < %(before_number)s)
     ORDER BY number DESC LIMIT %(limit)s + %(offset)s)
    UNION ALL
    (SELECT incident_id, number FROM (
        SELECT incident_id, number FROM let_through WHERE %(project_id)s::bigint IS NULL AND %(period)s
          AND (%(before_number)s::bigint IS NULL OR number < %(before_number)s)
        OFFSET 0
     ) AS in_period ORDER BY number DESC LIMIT %(limit)s + %(offset)s)
    UNION ALL
    (SELECT l.incident_id, i.number FROM incidents i JOIN let_through l ON l.number = i.number
     WHERE i.project_id = %(project_id)s
       AND (%(before_number)s::bigint IS NULL OR i.number < %(before_number)s)
     ORDER BY i.number DESC LIMIT %(limit)s + %(offset)s)
) AS looked ORDER BY number DESC LIMIT %(limit)s OFFSET %(offset)s

-- name: rows
-- Incidents as lists show them, newest first.
SELECT s.id, s.number, s.project_id, s.incident_type, s.severity, s.current_severity, s.status, s.title, s.description,
       s.created_at, s.created_by_system, s.created_from_error_id, s.occurrences, s.last_seen_at, s.recurrence_of,
       s.acknowledged_at, s.acknowledged_by, u.name AS acknowledged_by_name, s.resolved_at, s.closed_at, s.checksum
FROM current_incident_status s LEFT JOIN users u ON u.id = s.acknowledged_by
WHERE s.id = ANY (%(incident_ids)s) ORDER BY s.number DESC

-- name: count_by_head
-- Counts the incidents that a filter lets through, newest first and up to a bound; a project's among its own.
WITH let_through AS NOT MATERIALIZED (
    SELECT h.number, h.created_at FROM incident_heads h
    WHERE (%(statuses)s::text[] IS NULL OR h.status = ANY (%(statuses)s))
      AND (%(severities)s::text[] IS NULL OR h.current_severity = ANY (%(severities)s))
      AND (%(created_after)s::timestamptz IS NULL OR h.created_at >= %(created_after)s)
      AND (%(created_before)s::timestamptz IS NULL OR h.created_at < %(created_before)s)
      AND (%(service)s::text IS NULL OR h.service = %(service)s)
      AND (%(holder)s::uuid IS NULL OR h.acknowledged_by = %(holder)s)
)
SELECT count(*) FROM (
    (SELECT FROM let_through WHERE %(project_id)s::bigint IS NULL ORDER BY created_at DESC LIMIT %(most)s)
    UNION ALL
    (SELECT FROM incidents i JOIN let_through l ON l.number = i.number WHERE i.project_id = %(project_id)s LIMIT %(most)s)
) AS counted

-- name: tallies
-- Counts incidents by status and severity from the folded counters.
SELECT status, current_severity, sum(change)::bigint AS incidents FROM incident_tallies
GROUP BY status, current_severity HAVING sum(change) <> 0

-- name: fold_tallies
-- Folds the counters' differences into one row each; one statement, so that no reader sees half of it.
WITH gone AS (DELETE FROM incident_tallies RETURNING status, current_severity, change)
INSERT INTO incident_tallies
SELECT status, current_severity, sum(change) FROM gone GROUP BY status, current_severity HAVING sum(change) <> 0

-- name: count_overdue
-- Counts the incidents that nobody acknowledged in time.
SELECT count(*) FROM incident_heads WHERE status = 'REPORTED' AND created_at <= %(before)s

-- name: count_escalations_by_reason
-- Counts the escalations since an instant, by reason.
SELECT escalation_reason, count(*) AS count FROM incident_escalations
WHERE escalated_at >= %(since)s GROUP BY escalation_reason ORDER BY escalation_reason

-- name: services
-- The services that have incidents, each by one look into the index.
WITH RECURSIVE known AS (
    (SELECT service FROM incident_heads WHERE service IS NOT NULL ORDER BY service LIMIT 1)
    UNION ALL
    SELECT next.service FROM known CROSS JOIN LATERAL (
        SELECT h.service FROM incident_heads h WHERE h.service > known.service ORDER BY h.service LIMIT 1
    ) next
) SELECT service FROM known LIMIT %(limit)s

-- name: acknowledgment
-- The acknowledgment of an incident.
SELECT a.id, a.ack_by_user_id, u.name AS ack_by_name, a.ack_at, a.ack_notes, a.severity_at_ack, a.checksum
FROM incident_acknowledgments a JOIN users u ON u.id = a.ack_by_user_id WHERE a.incident_id = %(incident_id)s

-- name: root_cause
-- The root cause of an incident.
SELECT c.id, c.root_cause_summary, c.root_cause_category, c.identified_by_user_id, u.name AS identified_by_name,
       c.identified_at, c.remediation_steps, c.verified_at, c.checksum
FROM incident_root_causes c JOIN users u ON u.id = c.identified_by_user_id WHERE c.incident_id = %(incident_id)s

-- name: resolution
-- The resolution of an incident, with what its closing added.
SELECT r.id, r.resolved_by_user_id, u.name AS resolved_by_name, r.resolved_at, r.resolution_summary, r.resolution_notes,
       r.impact_assessment, l.lessons_learned, l.follow_up_actions, r.checksum
FROM incident_resolution r JOIN users u ON u.id = r.resolved_by_user_id
JOIN incident_lessons l ON l.incident_id = r.incident_id WHERE r.incident_id = %(incident_id)s

-- name: timeline
-- The latest entries of an incident in their order; a bound keeps a page readable. To whom something was escalated the record
-- says by their id; the name is read where names can change.
SELECT * FROM (
    SELECT e.id, e.sequence, e.event_type, e.status_before, e.status_after, e.actor_user_id, u.name AS actor_name, e.actor_role,
           e.metadata, e.personal, t.name AS escalated_to_name, e.event_at, e.checksum
    FROM incident_lifecycle e LEFT JOIN users u ON u.id = e.actor_user_id
    LEFT JOIN incident_escalations x ON e.event_type = 'ESCALATED' AND x.incident_id = e.incident_id
        AND x.checksum = e.detail_checksum
    LEFT JOIN users t ON t.id = x.escalated_to_user_id
    WHERE e.incident_id = %(incident_id)s ORDER BY e.sequence DESC LIMIT %(limit)s
) latest ORDER BY sequence

-- name: escalations
-- The escalations of an incident, with their acknowledgments.
SELECT e.id, e.escalation_reason, e.escalated_to_user_id, u.name AS escalated_to_name, e.escalated_by_user_id,
       e.escalation_notes, e.escalated_at, e.acknowledged_at, e.acknowledged_by_user_id, e.checksum
FROM escalation_status e LEFT JOIN users u ON u.id = e.escalated_to_user_id
WHERE e.incident_id = %(incident_id)s ORDER BY e.escalated_at, e.id LIMIT %(limit)s

-- name: lesson_of
-- What was learned from an incident.
SELECT lessons_learned FROM incident_lessons WHERE incident_id = %(incident_id)s

-- name: blocking
-- The oldest incident that blocks sessions now.
SELECT incident_id FROM incident_heads
WHERE sessions_blocked_at IS NOT NULL AND acknowledged_at IS NULL ORDER BY sessions_blocked_at LIMIT 1

-- name: signals
-- What other systems said of an incident, latest first.
SELECT metadata ->> 'signal' AS signal FROM incident_lifecycle
WHERE incident_id = %(incident_id)s AND event_type = 'SIGNAL_RECEIVED' ORDER BY sequence DESC LIMIT %(limit)s

-- name: opened_since
-- How many incidents a project's reports opened since then, up to a bound.
SELECT count(*) FROM (
    SELECT FROM incidents WHERE project_id = %(project_id)s AND created_at > %(since)s LIMIT %(most)s
) AS counted
