-- Every attempt to deliver that began is a row, committed before anything is sent. What came of it is a second row, under the
-- same id, in delivery_attempts: one that was cut short, by a kill of its worker or for want of the database, has none. Both
-- are only added to.
CREATE TABLE attempts_begun (
    id               uuid PRIMARY KEY,
    notification_id  uuid NOT NULL REFERENCES notifications (id),
    attempt          integer NOT NULL CHECK (attempt > 0),
    started_at       timestamptz NOT NULL,
    -- NULL: before it was recorded.
    worker           text CHECK (char_length(worker) BETWEEN 1 AND 200)
);
INSERT INTO attempts_begun (id, notification_id, attempt, started_at)
SELECT id, notification_id, attempt, started_at FROM delivery_attempts;
CREATE INDEX attempts_begun_notification ON attempts_begun (notification_id, attempt);
ALTER TABLE delivery_attempts ADD FOREIGN KEY (id) REFERENCES attempts_begun (id);

CREATE TRIGGER a_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON attempts_begun
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER a_no_row_change BEFORE UPDATE OR DELETE ON attempts_begun FOR EACH ROW EXECUTE FUNCTION refuse_change();
ALTER TABLE attempts_begun ENABLE ALWAYS TRIGGER a_no_change;
ALTER TABLE attempts_begun ENABLE ALWAYS TRIGGER a_no_row_change;
GRANT SELECT, INSERT ON attempts_begun TO tocsin_app;
