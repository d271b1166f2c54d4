-- Lists of a period that is long over: its heads are found, and put in order, in this index alone.

CREATE INDEX incident_heads_period ON incident_heads (created_at DESC) INCLUDE (number, incident_id);
DROP INDEX incident_heads_created;
