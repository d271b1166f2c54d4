-- What can be erased, found; and what the application erases itself. The record's own texts are erased by the entry that names
-- them, in the database: see migration 0006.

-- name: texts_of_incident
-- The rows of an incident's record that still hold texts of people, with the columns that do.
SELECT 'incidents' AS "table", checksum, NULL AS event_type, cardinality(disclosures) AS disclosures, NULL AS event_id,
       array_remove(ARRAY[CASE WHEN title IS NOT NULL THEN 'title' END,
                          CASE WHEN description IS NOT NULL THEN 'description' END], NULL) AS columns
FROM incidents WHERE id = %(incident_id)s AND num_nonnulls(title, description) > 0
UNION ALL
SELECT 'incident_acknowledgments', checksum, NULL, cardinality(disclosures), NULL, ARRAY['ack_notes']
FROM incident_acknowledgments WHERE incident_id = %(incident_id)s AND ack_notes IS NOT NULL
UNION ALL
SELECT 'incident_root_causes', checksum, NULL, cardinality(disclosures), NULL,
       array_remove(ARRAY[CASE WHEN root_cause_summary IS NOT NULL THEN 'root_cause_summary' END,
                          CASE WHEN remediation_steps IS NOT NULL THEN 'remediation_steps' END], NULL)
FROM incident_root_causes WHERE incident_id = %(incident_id)s AND num_nonnulls(root_cause_summary, remediation_steps) > 0
UNION ALL
SELECT 'incident_escalations', checksum, NULL, cardinality(disclosures), NULL, ARRAY['escalation_notes']
FROM incident_escalations WHERE incident_id = %(incident_id)s AND escalation_notes IS NOT NULL
UNION ALL
SELECT 'incident_resolution', checksum, NULL, cardinality(disclosures), NULL,
       array_remove(ARRAY[CASE WHEN resolution_summary IS NOT NULL THEN 'resolution_summary' END,
                          CASE WHEN resolution_notes IS NOT NULL THEN 'resolution_notes' END,
                          CASE WHEN impact_assessment IS NOT NULL THEN 'impact_assessment' END,
                          CASE WHEN lessons_learned IS NOT NULL THEN 'lessons_learned' END,
                          CASE WHEN follow_up_actions IS NOT NULL THEN 'follow_up_actions' END], NULL)
FROM incident_resolution WHERE incident_id = %(incident_id)s
  AND num_nonnulls(resolution_summary, resolution_notes, impact_assessment, lessons_learned, follow_up_actions) > 0
UNION ALL
SELECT 'incident_closures', checksum, NULL, cardinality(disclosures), NULL,
       array_remove(ARRAY[CASE WHEN lessons_learned IS NOT NULL THEN 'lessons_learned' END,
                          CASE WHEN follow_up_actions IS NOT NULL THEN 'follow_up_actions' END], NULL)
FROM incident_closures WHERE incident_id = %(incident_id)s AND num_nonnulls(lessons_learned, follow_up_actions) > 0
UNION ALL
SELECT 'incident_lifecycle', checksum, event_type, cardinality(disclosures), personal ->> 'eventId', ARRAY['personal']
FROM incident_lifecycle WHERE incident_id = %(incident_id)s AND personal IS NOT NULL

-- name: read_whole_tables
-- Lets this transaction read whole tables.
SELECT set_config('enable_seqscan', 'on', true)

-- name: reports_by_id
-- These reports, unless they are erased.
SELECT id, incident_id, event_id, received_at, title, outcome FROM audit_logs
WHERE id = ANY (%(ids)s) AND NOT erased ORDER BY received_at, id

-- name: count_reports_of_incident
-- How many reports of an incident are erased, and how many are not yet.
SELECT count(*) FILTER (WHERE erased) AS erased, count(*) FILTER (WHERE NOT erased) AS whole
FROM audit_logs WHERE incident_id = %(incident_id)s

-- name: has_kept_erased
-- Whether the latest report of a failure is still kept whole although it is erased.
SELECT EXISTS (SELECT FROM latest_reports k JOIN audit_logs l ON l.id = k.report_id
               WHERE l.incident_id = %(incident_id)s AND l.erased)

-- name: reports_containing
-- Reports in which one of these texts stands, whatever its case: each comes as it is, and as JSON writes it.
SELECT a.id, a.incident_id, a.event_id, a.received_at, a.title, a.outcome FROM audit_logs a
LEFT JOIN latest_reports k ON k.project_id = a.project_id AND k.fingerprint = a.fingerprint AND k.report_id = a.id
WHERE NOT a.erased AND (%(project_id)s::bigint IS NULL OR a.project_id = %(project_id)s)
  AND EXISTS (SELECT FROM unnest(%(texts)s::text[], %(encoded)s::text[]) AS t (plain, encoded)
    WHERE position(lower(t.plain) IN lower(a.title)) > 0 OR position(lower(t.plain) IN lower(a.error_type)) > 0
       OR position(lower(t.encoded) IN lower(convert_from(coalesce(a.document, k.document), 'UTF8'))) > 0)
ORDER BY a.received_at, a.id LIMIT %(limit)s

-- name: pages_about
-- The reasons for which there are pages about an incident, or about one that came back after it and may quote its lessons.
SELECT DISTINCT n.incident_id, n.reason FROM notifications n JOIN incidents i ON i.id = n.incident_id
WHERE n.incident_id = %(incident_id)s OR i.recurrence_of = %(incident_id)s ORDER BY n.incident_id, n.reason

-- name: rewrite_pages
-- Lets the pages about an incident say what it says now.
UPDATE notifications SET subject = %(subject)s, body = %(body)s, payload = %(payload)s
WHERE incident_id = %(incident_id)s AND reason = %(reason)s

-- name: forget_answers_about
-- Forgets remembered answers that show an incident.
DELETE FROM idempotency_keys WHERE position(%(incident_id)s::text IN convert_from(body, 'UTF8')) > 0

-- name: call_off_expiry
-- Calls off the jobs that would take the alerts of these reports for resolved: they repeat what the reports said.
DELETE FROM jobs WHERE kind = 'expire-alert' AND key IN (
    SELECT format('expire-alert:%%s:%%s', project_id, fingerprint) FROM audit_logs
    WHERE id = ANY (%(report_ids)s) OR incident_id = %(incident_id)s)

-- name: erase_check_in_notes
-- Empties the notes of heartbeats in which a text stands.
UPDATE heartbeat_check_ins SET note = '' WHERE position(lower(%(text)s) IN lower(note)) > 0

-- name: accesses_naming
-- Rows of the access log in whose target one of these texts stands.
SELECT id FROM audit_access_log WHERE target IS NOT NULL AND EXISTS (
    SELECT FROM unnest(%(texts)s::text[]) AS t (plain) WHERE position(lower(t.plain) IN lower(target)) > 0)
ORDER BY accessed_at, id LIMIT %(limit)s

-- name: count_accesses_of
-- How many rows of the access log are a user's own.
SELECT count(*) FROM audit_access_log WHERE user_id = %(user_id)s

-- name: owed_to
-- The pages that are still owed to a user.
SELECT id FROM notifications WHERE user_id = %(user_id)s AND state = 'PENDING' ORDER BY created_at, id

-- name: erase_user
-- Leaves of a user the id that the record knows, and nothing that tells who it was.
UPDATE users SET email = %(email)s, name = %(name)s, password_hash = NULL, active = false, erased_at = %(now)s
WHERE id = %(user_id)s

-- name: erase_tokens
-- Ends the user's tokens, and what they were called.
UPDATE api_tokens SET name = %(name)s, revoked_at = coalesce(revoked_at, %(now)s) WHERE user_id = %(user_id)s

-- name: erase_sessions
-- Removes the user's sessions, with the addresses from which they came.
DELETE FROM sessions WHERE user_id = %(user_id)s

-- name: erase_second_factor
-- Removes the user's second factor, with its secret and its recovery codes.
DELETE FROM second_factors WHERE user_id = %(user_id)s

-- name: erase_provider_account
-- Forgets who the user is at the OpenID provider.
DELETE FROM provider_accounts WHERE user_id = %(user_id)s

-- name: erase_pending_sign_ins
-- Removes the user's sign-ins that wait for the second factor.
DELETE FROM pending_sign_ins WHERE user_id = %(user_id)s

-- name: erase_contacts
-- Removes the ways to reach the user.
DELETE FROM contact_methods WHERE user_id = %(user_id)s

-- name: erase_views
-- Removes the lists that the user named.
DELETE FROM saved_views WHERE user_id = %(user_id)s

-- name: erase_addresses
-- Takes the user's addresses out of the pages that were sent to them.
UPDATE notifications SET address = %(address)s WHERE user_id = %(user_id)s

-- name: erase_answers
-- Forgets what was answered to the user's requests.
DELETE FROM idempotency_keys WHERE principal = %(user_id)s::text

-- name: erase_bundle_jobs
-- Removes the jobs that would send to the user's addresses, unless somebody else is reached there, too.
DELETE FROM jobs j WHERE j.kind = 'bundle' AND j.payload ->> 'address' = ANY (%(addresses)s) AND NOT EXISTS (
    SELECT FROM notifications n WHERE n.state = 'PENDING' AND n.channel = j.payload ->> 'channel'
        AND n.address = j.payload ->> 'address')

-- name: erase_job_errors
-- Takes the user's addresses out of what jobs failed with.
UPDATE jobs SET last_error = %(erased)s WHERE last_error IS NOT NULL AND EXISTS (
    SELECT FROM unnest(%(texts)s::text[]) AS t (plain) WHERE position(lower(t.plain) IN lower(last_error)) > 0)
