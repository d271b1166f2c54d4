"""What must be true of pages when everything has settled, whoever was killed meanwhile. Own SQL, own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

_PAGES = """
    SELECT n.id, coalesce(n.bundle_id, n.id)::text AS key, n.state, n.channel, n.reason, i.number, n.because,
        count(b.id) AS attempts, count(b.id) - count(a.id) AS unanswered,
        count(a.id) FILTER (WHERE a.outcome = 'DELIVERED') AS delivered,
        array_agg(b.attempt ORDER BY b.attempt) FILTER (WHERE b.id IS NOT NULL) AS numbers,
        min(char_length(a.answer)) AS shortest_answer
    FROM tocsin.notifications n JOIN tocsin.incidents i ON i.id = n.incident_id
    LEFT JOIN tocsin.attempts_begun b ON b.notification_id = n.id LEFT JOIN tocsin.delivery_attempts a ON a.id = b.id
    GROUP BY n.id, i.number
"""
# Incidents are named by what failed: a number is lost with a transaction that was, and titles count attempts.
_OWED = """
    SELECT split_part(i.title, ':', 1), n.reason, u.email, n.channel, n.state, count(*)
    FROM tocsin.notifications n JOIN tocsin.incidents i ON i.id = n.incident_id JOIN tocsin.users u ON u.id = n.user_id
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""
_TIMELINES = """
    SELECT split_part(i.title, ':', 1), e.sequence, e.event_type, e.metadata ->> 'reason'
    FROM tocsin.incident_lifecycle e JOIN tocsin.incidents i ON i.id = e.incident_id ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class Pages:
    """How many pages arrived, how many of them twice, and how many were given up, loudly.

    Of all attempts to deliver a message: how many there are rows of, and how many of those have no answer.
    """

    delivered: int
    twice: int
    failed: int
    attempts: int
    cut_short: int


def reckon_pages(connection: psycopg.Connection, times: Mapping[str, int], *, ends: int) -> Pages:
    """Assert that each page arrived, that its attempts are told, and that not more came twice than workers ended.

    No more than that may have been cut short, either.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        pages = cursor.execute(_PAGES).fetchall()
    assert pages, "no page was owed: what was there to be right about?"
    for page in pages:
        _check_page(page, times)
    keys = {page["key"] for page in pages}
    assert set(times) <= keys, f"messages came that nobody was owed: {sorted(set(times) - keys)}"
    twice = sum(count - 1 for count in times.values())
    assert twice <= ends, f"{twice} messages came once more, and {ends} workers ended"
    states = Counter(page["state"] for page in pages)
    if states["FAILED"]:
        _check_that_it_was_told(connection)
    attempts = _of_messages(pages, "attempts")
    cut_short = _of_messages(pages, "unanswered")
    assert cut_short <= ends, f"{cut_short} attempts were cut short, and {ends} workers ended"
    return Pages(states["DELIVERED"], twice, states["FAILED"], attempts, cut_short)


def _of_messages(pages: Sequence[Mapping[str, Any]], count: str) -> int:
    """Add up a count over all messages, of each of which every page has the same: they were tried together."""
    of_message: dict[str, set[int]] = {}
    for page in pages:
        of_message.setdefault(page["key"], set()).add(page[count])
    assert all(len(counts) == 1 for counts in of_message.values()), f"pages of one message differ: {of_message}"
    return sum(sum(counts) for counts in of_message.values())


def _check_page(page: Mapping[str, Any], times: Mapping[str, int]) -> None:
    what = f"the page {page['reason']} of INC-{page['number']} by {page['channel']}"
    came = times.get(page["key"], 0)
    assert came <= page["attempts"], f"{what} came {came} times, and {page['attempts']} attempts are told"
    assert page["state"] != "PENDING", f"{what} is still owed: it came {came} times, in {page['attempts']} attempts"
    if page["state"] == "DELIVERED":
        assert 1 <= came <= 2, f"{what} came {came} times"
        assert 1 <= page["delivered"] <= came, f"{what} came {came} times, says it was {page['delivered']}"
    elif page["state"] == "FAILED":
        assert page["attempts"] > 0, f"{what} was given up and never tried"
    else:
        assert page["because"] is not None, f"{what} was cancelled without a reason"
        assert came == 0, f"{what} was cancelled and came {came} times"
    assert page["numbers"] == (list(range(1, page["attempts"] + 1)) or None), f"{what}: attempts {page['numbers']}"
    assert page["shortest_answer"] != 0, f"{what} has an attempt without an answer"


def _check_that_it_was_told(connection: psycopg.Connection) -> None:
    told = connection.execute("SELECT 1 FROM tocsin.incidents WHERE title LIKE 'PageNotDelivered%'").fetchone()
    assert told is not None, "a page was given up, and no incident says so"


def what_is_owed(connection: psycopg.Connection) -> tuple[object, ...]:
    """Return every page by what it is about, to whom and how it ended, and every timeline: the same in each run."""
    return (*connection.execute(_OWED).fetchall(), *connection.execute(_TIMELINES).fetchall())
