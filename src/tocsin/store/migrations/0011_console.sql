-- What the console asks for again and again: what nobody has taken yet, the worst first.
CREATE INDEX incident_heads_burning ON incident_heads (current_severity, number DESC) WHERE status = 'REPORTED';
