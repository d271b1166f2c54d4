-- Schedules: their layers, overrides and calendar feeds.

-- name: schedules
-- Every schedule, or those of some ids.
SELECT id, name, time_zone, people, created_at FROM schedules
WHERE %(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s) ORDER BY lower(name) LIMIT %(limit)s

-- name: layers
-- The layers of some schedules, the lowest first, each with its members in their order.
SELECT l.schedule_id, l.name, l.rotation, l.every, l.starts_on, l.hand_off, l.restrictions, l.starts_at, l.ends_at,
       array(SELECT m.user_id FROM schedule_members m WHERE m.layer_id = l.id ORDER BY m.position) AS members
FROM schedule_layers l WHERE %(ids)s::uuid[] IS NULL OR l.schedule_id = ANY (%(ids)s) ORDER BY l.schedule_id, l.position

-- name: overrides
-- The overrides of some schedules that end after an instant, in the order in which they lie on each other.
SELECT id, schedule_id, user_id, instead_of, starts_at, ends_at FROM schedule_overrides
WHERE (%(ids)s::uuid[] IS NULL OR schedule_id = ANY (%(ids)s)) AND ends_at > %(since)s
ORDER BY schedule_id, created_at, starts_at, id

-- name: by_name
-- The id of the schedule of a name, whatever its case.
SELECT id FROM schedules WHERE lower(name) = lower(%(name)s)

-- name: lock
-- Locks a schedule: who changes it takes turns.
SELECT id FROM schedules WHERE id = %(id)s FOR NO KEY UPDATE

-- name: insert
-- Adds a schedule.
INSERT INTO schedules (id, name, time_zone, people, created_at)
VALUES (%(id)s, %(name)s, %(time_zone)s, %(people)s, %(now)s)

-- name: change
-- Changes a schedule.
UPDATE schedules SET name = %(name)s, time_zone = %(time_zone)s, people = %(people)s WHERE id = %(id)s

-- name: delete
-- Removes a schedule with everything that belongs to it.
DELETE FROM schedules WHERE id = %(id)s

-- name: uses
-- Where a schedule is used: duties that it holds, policies that page it.
SELECT 'duty ' || duty AS used_by FROM duties WHERE schedule_id = %(id)s
UNION SELECT 'policy ' || p.name FROM policy_targets t JOIN policies p ON p.id = t.policy_id WHERE t.schedule_id = %(id)s
ORDER BY 1

-- name: delete_layers
-- Removes the layers of a schedule.
DELETE FROM schedule_layers WHERE schedule_id = %(id)s

-- name: insert_layers
-- Adds layers to a schedule.
INSERT INTO schedule_layers (id, schedule_id, position, name, rotation, every, starts_on, hand_off, restrictions, starts_at,
    ends_at)
SELECT r.id, %(id)s, r.position, r.name, r.rotation, r.every, r.starts_on, r.hand_off, r.restrictions, r.starts_at, r.ends_at
FROM json_to_recordset(%(rows)s) AS r (id uuid, position integer, name text, rotation text, every integer, starts_on date,
    hand_off time, restrictions jsonb, starts_at timestamptz, ends_at timestamptz)

-- name: insert_members
-- Adds the members of layers.
INSERT INTO schedule_members (layer_id, position, user_id)
SELECT r.layer_id, r.position, r.user_id FROM json_to_recordset(%(rows)s) AS r (layer_id uuid, position integer, user_id uuid)

-- name: insert_overrides
-- Adds overrides to a schedule.
INSERT INTO schedule_overrides (id, schedule_id, user_id, instead_of, starts_at, ends_at, created_by, created_at)
SELECT r.id, %(id)s, r.user_id, r.instead_of, r.starts_at, r.ends_at, %(created_by)s, %(now)s
FROM json_to_recordset(%(rows)s)
    AS r (id uuid, user_id uuid, instead_of uuid, starts_at timestamptz, ends_at timestamptz)

-- name: delete_override
-- Removes an override of a schedule.
DELETE FROM schedule_overrides WHERE id = %(id)s AND schedule_id = %(schedule_id)s

-- name: people
-- Users by their ids.
SELECT id, name, email, active FROM users WHERE id = ANY (%(ids)s) ORDER BY lower(email)

-- name: named
-- Active users by e-mail or name, whatever their case; several users may have one name.
SELECT id, name, email, active FROM users WHERE active AND (lower(email) = ANY (%(texts)s) OR lower(name) = ANY (%(texts)s))
ORDER BY lower(email) LIMIT %(limit)s

-- name: of_member
-- The schedules in which a user has turns, or an override that is not over.
SELECT DISTINCT s.name FROM schedules s
WHERE EXISTS (SELECT FROM schedule_layers l JOIN schedule_members m ON m.layer_id = l.id
              WHERE l.schedule_id = s.id AND m.user_id = %(user_id)s)
   OR EXISTS (SELECT FROM schedule_overrides o WHERE o.schedule_id = s.id AND o.user_id = %(user_id)s AND o.ends_at > %(now)s)
ORDER BY s.name

-- name: insert_feed
-- Adds a calendar feed; only the hash of its token is kept.
INSERT INTO calendar_feeds (id, schedule_id, user_id, token_hash, created_by, created_at)
VALUES (%(id)s, %(schedule_id)s, %(user_id)s, %(token_hash)s, %(created_by)s, %(now)s)

-- name: feeds
-- The calendar feeds of a schedule that are valid, with whose shifts they show and who made them.
SELECT f.id, u.email AS person, b.email AS created_by, f.created_at FROM calendar_feeds f
JOIN users b ON b.id = f.created_by LEFT JOIN users u ON u.id = f.user_id
WHERE f.schedule_id = %(schedule_id)s AND f.revoked_at IS NULL ORDER BY f.created_at, f.id LIMIT %(limit)s

-- name: feed
-- The valid feed that a token opens; it ends with whoever made it.
SELECT f.id, f.schedule_id, f.user_id FROM calendar_feeds f JOIN users b ON b.id = f.created_by AND b.active
WHERE f.token_hash = %(token_hash)s AND f.revoked_at IS NULL

-- name: revoke_feed
-- Revokes a feed of a schedule, unless it is revoked.
UPDATE calendar_feeds SET revoked_at = %(now)s WHERE id = %(id)s AND schedule_id = %(schedule_id)s AND revoked_at IS NULL
