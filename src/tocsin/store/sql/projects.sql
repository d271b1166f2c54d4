-- Projects and their intake keys.

-- name: insert_project
-- Adds a project.
INSERT INTO projects (name, created_at) VALUES (%(name)s, %(now)s) RETURNING id

-- name: insert_internal_project
-- Adds the project in which Tocsin reports its own failures.
INSERT INTO projects (id, name, created_at) VALUES (0, 'tocsin', %(now)s) ON CONFLICT DO NOTHING

-- name: projects
-- Every project with how many of its keys are valid.
SELECT p.id, p.name, p.created_at, count(k.id) FILTER (WHERE k.revoked_at IS NULL) AS keys
FROM projects p LEFT JOIN project_keys k ON k.project_id = p.id GROUP BY p.id ORDER BY p.id LIMIT %(limit)s

-- name: insert_key
-- Adds an intake key to a project; only its hash is kept.
INSERT INTO project_keys (id, project_id, key_hash, key_prefix, created_at)
VALUES (%(id)s, %(project_id)s, %(key_hash)s, %(key_prefix)s, %(now)s)

-- name: project_of_key
-- The project that an intake key opens.
SELECT project_id FROM project_keys WHERE key_hash = %(key_hash)s AND revoked_at IS NULL
