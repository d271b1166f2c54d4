-- What auditors ask for: who did this, and what was refused. Each list is read from its newest row on.
CREATE INDEX audit_access_log_action ON audit_access_log (action, accessed_at DESC);
CREATE INDEX audit_access_log_outcome ON audit_access_log (outcome, accessed_at DESC);
CREATE INDEX incident_lifecycle_actor ON incident_lifecycle (actor_user_id, event_at DESC) WHERE actor_user_id IS NOT NULL;
CREATE INDEX incident_lifecycle_kind ON incident_lifecycle (event_type, event_at DESC);
