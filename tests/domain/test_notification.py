"""A page says what happened, why it came to you, what to do now, and what was learned last time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.notification import OPENED, IncidentFacts, PageText, compose, with_checkpoint, with_link

FACTS = IncidentFacts(
    "01890a5d", 42, Severity.CRITICAL, "ValueError: no such order", datetime(2026, 3, 1, 3, tzinfo=UTC), "http://t/42"
)


def test_the_first_page_reads_like_this() -> None:
    page = compose(FACTS, OPENED)
    assert page.subject == "[CRITICAL] INC-42 ValueError: no such order"
    assert page.body.splitlines() == [
        "New incident:",
        "INC-42  CRITICAL  ValueError: no such order",
        "",
        "since 2026-03-01 03:00:00 UTC",
        "",
        "Look:     http://t/42",
        "Shell:    tocsin incidents ack 42 --notes '…'",
    ]
    assert page.payload["event"] == "INCIDENT_OPENED"


def test_the_link_stands_right_after_what_happened() -> None:
    page = with_link(compose(FACTS, OPENED), "http://t/a/token")
    assert page.body.splitlines()[:5] == [
        "New incident:",
        "INC-42  CRITICAL  ValueError: no such order",
        "",
        "Take it: http://t/a/token",
        "",
    ]
    assert page.payload["acknowledgeUrl"] == "http://t/a/token"
    assert with_link(compose(FACTS, OPENED), "") == compose(FACTS, OPENED)
    erased = with_link(PageText("s", "no paragraphs", {}), "http://t/a/token")
    assert erased.body == "no paragraphs\n\nTake it: http://t/a/token"


@pytest.mark.parametrize("reason", EscalationReason)
def test_every_later_page_says_why_it_came(reason: EscalationReason) -> None:
    page = compose(FACTS, reason.value, "the shop is down")
    assert page.subject.endswith("[CRITICAL] INC-42 ValueError: no such order")
    assert page.subject != compose(FACTS, OPENED).subject
    assert "note: the shop is down" in page.body
    assert page.payload["notes"] == "the shop is down"


def test_a_recurrence_brings_its_lesson() -> None:
    page = compose(FACTS, OPENED, previous_lesson="Watch the queue")
    assert page.body.endswith("What was learned last time:\n  Watch the queue")
    assert page.payload["previousLesson"] == "Watch the queue"


def test_a_subject_stays_a_subject() -> None:
    long = IncidentFacts("x", 9_007_199_254_740_991, Severity.CRITICAL, "x" * 200, FACTS.created_at, "u")
    for reason in (OPENED, *[reason.value for reason in EscalationReason]):
        assert len(compose(long, reason).subject) <= 200


def test_whoever_is_paged_is_told_the_latest_checkpoint() -> None:
    page = compose(FACTS, OPENED)
    told = with_checkpoint(page, "42:0ac5185a91860b7f")
    assert told.body == f"{page.body}\n\nLog:      42:0ac5185a91860b7f"
    assert told.payload == page.payload | {"checkpoint": "42:0ac5185a91860b7f"}
    assert with_checkpoint(page, None) == page
