-- Lists at a million incidents.

-- Of a period that is long over: its heads are found, and put in order, in this index alone.
CREATE INDEX incident_heads_period ON incident_heads (created_at DESC) INCLUDE (number, incident_id);
DROP INDEX incident_heads_created;

-- What is open, of one severity and of one person: few beside all that ever was.
CREATE INDEX incident_heads_open_severity ON incident_heads (status, current_severity, number DESC) WHERE status <> 'CLOSED';
CREATE INDEX incident_heads_held ON incident_heads (acknowledged_by, number DESC)
    WHERE acknowledged_by IS NOT NULL AND status <> 'CLOSED';

-- What one person did of one kind, for auditors; and what one owner has not done, in the order of its list.
CREATE INDEX incident_lifecycle_actor_kind ON incident_lifecycle (actor_user_id, event_type, event_at DESC)
    WHERE actor_user_id IS NOT NULL;
DROP INDEX follow_ups_owner;
CREATE INDEX follow_ups_owner ON follow_ups (lower(owner), due_at, incident_id, position) WHERE state <> 'DONE' AND owner IS NOT NULL;
