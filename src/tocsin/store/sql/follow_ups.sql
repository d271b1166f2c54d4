-- Follow-up actions: what is owed, by whom, and whether it is done.

-- name: add
-- Adds the actions of an incident that has just closed.
INSERT INTO follow_ups (incident_id, position, owner, due_at, remind_at)
SELECT %(incident_id)s, position, owner, due_at, due_at
FROM unnest(%(positions)s::integer[], %(owners)s::text[], %(due)s::timestamptz[]) AS a (position, owner, due_at)

-- name: open
-- What is not done, the most urgent first. As below, the page is found before anything is read that stands elsewhere.
SELECT l.* FROM (
    SELECT incident_id, position FROM follow_ups WHERE state <> 'DONE'
    ORDER BY due_at, incident_id, position LIMIT %(limit)s OFFSET %(offset)s
) page JOIN follow_up_list l ON l.incident_id = page.incident_id AND l.position = page.position
ORDER BY l.due_at, l.incident_id, l.position

-- name: overdue
-- What is not done although its time has come, what waited longest first.
SELECT l.* FROM (
    SELECT incident_id, position FROM follow_ups WHERE state <> 'DONE' AND due_at <= %(now)s
    ORDER BY due_at, incident_id, position LIMIT %(limit)s OFFSET %(offset)s
) page JOIN follow_up_list l ON l.incident_id = page.incident_id AND l.position = page.position
ORDER BY l.due_at, l.incident_id, l.position

-- name: open_of
-- What some owner has not done (with due_by: although its time has come), the most urgent first.
SELECT l.* FROM (
    SELECT incident_id, position FROM follow_ups WHERE state <> 'DONE' AND lower(owner) = ANY (%(owners)s::text[])
      AND (%(due_by)s::timestamptz IS NULL OR due_at <= %(due_by)s)
    ORDER BY due_at, incident_id, position LIMIT %(limit)s OFFSET %(offset)s
) page JOIN follow_up_list l ON l.incident_id = page.incident_id AND l.position = page.position
ORDER BY l.due_at, l.incident_id, l.position

-- name: done
-- What is done, the latest first.
SELECT l.* FROM (
    SELECT incident_id, position FROM follow_ups WHERE state = 'DONE'
    ORDER BY marked_at DESC, incident_id, position LIMIT %(limit)s OFFSET %(offset)s
) page JOIN follow_up_list l ON l.incident_id = page.incident_id AND l.position = page.position
ORDER BY l.marked_at DESC, l.incident_id, l.position

-- name: of_incident
-- What was promised when an incident was closed.
SELECT * FROM follow_up_list WHERE incident_id = %(incident_id)s ORDER BY position

-- name: lock
-- Locks one action.
SELECT true FROM follow_ups WHERE incident_id = %(incident_id)s AND position = %(position)s FOR UPDATE

-- name: mark
-- Says that an action is done, or not after all.
UPDATE follow_ups SET state = %(state)s, marked_at = %(now)s, marked_by = %(user_id)s, note = %(note)s, reminders = 0,
    remind_at = CASE WHEN %(state)s <> 'DONE' AND due_at IS NOT NULL THEN greatest(due_at, %(now)s) END
WHERE incident_id = %(incident_id)s AND position = %(position)s

-- name: forget_owners
-- Empties the owners of an incident whose promises were erased.
UPDATE follow_ups SET owner = NULL WHERE incident_id = %(incident_id)s AND owner IS NOT NULL
  AND EXISTS (SELECT FROM incident_lessons l WHERE l.incident_id = %(incident_id)s AND l.follow_up_actions IS NULL)

-- name: count_overdue
-- Counts what is overdue, up to a bound.
SELECT count(*) FROM (SELECT FROM follow_ups WHERE state <> 'DONE' AND due_at <= %(now)s LIMIT %(most)s) AS counted

-- name: to_remind_of
-- Incidents of whose actions somebody must be reminded now, with how many are overdue and since when the first one.
SELECT f.incident_id, i.number, count(*)::integer AS overdue, min(f.due_at) AS since, min(f.reminders) AS reminders
FROM (SELECT DISTINCT incident_id FROM (
          SELECT incident_id FROM follow_ups WHERE remind_at <= %(now)s ORDER BY remind_at LIMIT %(limit)s) AS first) AS due
JOIN follow_ups f ON f.incident_id = due.incident_id AND f.state <> 'DONE' AND f.due_at <= %(now)s
JOIN incidents i ON i.id = f.incident_id
GROUP BY f.incident_id, i.number ORDER BY f.incident_id

-- name: reminded
-- Notes that somebody was reminded of what is overdue of an incident, and when to do so again.
UPDATE follow_ups f SET reminders = r.reminders, remind_at = r.remind_at
FROM unnest(%(incident_ids)s::uuid[], %(reminders)s::integer[], %(remind_at)s::timestamptz[])
    AS r (incident_id, reminders, remind_at)
WHERE f.incident_id = r.incident_id AND f.state <> 'DONE' AND f.due_at <= %(now)s
