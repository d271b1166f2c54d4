-- The call by which somebody outside notices that nobody here can page any more: when it is due, and how it went.

-- name: claim
-- Takes the next call, for the length of a lease; no row if it is not due, or another worker is at it.
INSERT INTO watchdog (due_at, seen_at) VALUES (%(lease_until)s, %(now)s)
ON CONFLICT (only_row) DO UPDATE SET due_at = excluded.due_at, seen_at = excluded.seen_at WHERE watchdog.due_at <= %(now)s
RETURNING called_at, withheld_since, withheld, failing_since, failures, failure

-- name: called
-- Notes that the call was answered, and when the next one is due.
UPDATE watchdog SET due_at = %(due_at)s, called_at = %(now)s, withheld_since = NULL, withheld = NULL,
    failing_since = NULL, failures = 0, failure = NULL

-- name: withhold
-- Notes why it was not made.
UPDATE watchdog SET due_at = %(due_at)s, withheld_since = coalesce(withheld_since, %(now)s), withheld = %(withheld)s

-- name: failed
-- Notes that it was not answered, and why.
UPDATE watchdog SET due_at = %(due_at)s, failing_since = coalesce(failing_since, %(now)s), failures = failures + 1,
    failure = %(failure)s

-- name: state
-- How the last calls went, if anybody makes them.
SELECT called_at, withheld_since, withheld, failing_since, failures, failure FROM watchdog WHERE seen_at >= %(seen_since)s
