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

-- name: keys
-- The intake keys of a project, with how each begins: the valid ones first, the newest first among each.
SELECT id, key_prefix, created_at, revoked_at FROM project_keys
WHERE project_id = %(project_id)s ORDER BY revoked_at IS NOT NULL, created_at DESC, id LIMIT %(limit)s

-- name: revoke_key
-- Revokes one key of a project, unless it is revoked.
UPDATE project_keys SET revoked_at = %(now)s WHERE id = %(id)s AND project_id = %(project_id)s AND revoked_at IS NULL

-- name: revoke_keys
-- Revokes every valid key of a project.
UPDATE project_keys SET revoked_at = %(now)s WHERE project_id = %(project_id)s AND revoked_at IS NULL

-- name: lock
-- Locks a project: who changes it or its keys takes turns. Reports that refer to it need not wait for this lock.
SELECT id FROM projects WHERE id = %(id)s FOR NO KEY UPDATE

-- name: rename
-- Gives a project another name.
UPDATE projects SET name = %(name)s WHERE id = %(id)s

-- name: with_keys
-- One project with how many of its keys are valid.
SELECT p.id, p.name, p.created_at, (
    SELECT count(*) FROM project_keys k WHERE k.project_id = p.id AND k.revoked_at IS NULL
) AS keys
FROM projects p WHERE p.id = %(id)s

-- name: by_name
-- The project of a name.
SELECT id FROM projects WHERE name = %(name)s

-- name: of_key
-- The project of an intake key, and whether the key was revoked.
SELECT k.id AS key_id, k.revoked_at IS NOT NULL AS revoked, p.id, p.name, p.dedup_window_seconds, p.incident_threshold, p.severity_rules, p.field_mapping
FROM project_keys k JOIN projects p ON p.id = k.project_id WHERE k.key_hash = %(key_hash)s

-- name: get
-- One project, with what it decides for itself.
SELECT id, name, dedup_window_seconds, incident_threshold, severity_rules, field_mapping FROM projects WHERE id = %(id)s

-- name: set_rules
-- Changes what a project decides for itself.
UPDATE projects SET dedup_window_seconds = %(dedup_window_seconds)s, incident_threshold = %(incident_threshold)s,
    severity_rules = %(severity_rules)s, field_mapping = %(field_mapping)s WHERE id = %(id)s
