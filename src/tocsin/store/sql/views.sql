-- Lists of incidents that people named, to come back to them.

-- name: of_user
-- Somebody's saved views, by name.
SELECT id, name, query FROM saved_views WHERE user_id = %(user_id)s ORDER BY lower(name) LIMIT %(limit)s

-- name: count
-- How many saved views somebody has beside the one of this name.
SELECT count(*) FROM saved_views WHERE user_id = %(user_id)s AND lower(name) <> lower(%(name)s)

-- name: save
-- Saves a view; one of the same name is replaced.
INSERT INTO saved_views (id, user_id, name, query, created_at) VALUES (%(id)s, %(user_id)s, %(name)s, %(query)s, %(now)s)
ON CONFLICT (user_id, lower(name)) DO UPDATE SET name = excluded.name, query = excluded.query

-- name: remove
-- Removes one of somebody's own views.
DELETE FROM saved_views WHERE id = %(id)s AND user_id = %(user_id)s RETURNING id
