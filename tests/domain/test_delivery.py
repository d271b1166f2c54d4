"""What goes alone, what is not needed any more, and what a bundle says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from tocsin.domain.delivery import MAX_BUNDLE, MAX_IN_FULL, Bundled, compose_bundle, goes_alone, moot

OWED = datetime(2026, 3, 1, 3, tzinfo=UTC)
BEFORE, AFTER = OWED - timedelta(minutes=1), OWED + timedelta(minutes=1)


@dataclass(frozen=True)
class Page:
    reason: str
    created_at: datetime = OWED
    due_at: datetime = OWED
    acknowledged_at: datetime | None = None
    root_cause_at: datetime | None = None
    closed_at: datetime | None = None
    progressed_at: datetime | None = None


def test_first_alerts_go_alone_and_nothing_else_does() -> None:
    assert [goes_alone(reason) for reason in ("INCIDENT_OPENED", "STORM", "MANUAL_ESCALATION")] == [True] * 3
    others = ("NO_ACK_1HR", "POLICY_STEP", "SEVERITY_ESCALATED", "PAGE_NOT_DELIVERED", "ACK_LAPSED", "SILENCE_ENDED")
    assert not any(goes_alone(reason) for reason in others)


@pytest.mark.parametrize(
    ("page", "because"),
    [
        (Page("INCIDENT_OPENED"), None),
        (Page("INCIDENT_OPENED", acknowledged_at=AFTER, closed_at=AFTER), None),
        (Page("INCIDENT_OPENED", due_at=AFTER), None),
        (Page("INCIDENT_OPENED", due_at=AFTER, acknowledged_at=AFTER), "ACKNOWLEDGED"),
        (Page("NO_ACK_1HR", acknowledged_at=BEFORE), "ACKNOWLEDGED"),
        (Page("POLICY_STEP", acknowledged_at=AFTER, closed_at=AFTER), "CLOSED"),
        (Page("SILENCE_ENDED", acknowledged_at=AFTER), "ACKNOWLEDGED"),
        (Page("SEVERITY_ESCALATED", acknowledged_at=BEFORE), None),
        (Page("SEVERITY_ESCALATED", acknowledged_at=AFTER), "ACKNOWLEDGED"),
        (Page("SEVERITY_ESCALATED", acknowledged_at=BEFORE, closed_at=BEFORE), None),
        (Page("STORM", acknowledged_at=BEFORE), None),
        (Page("PAGE_NOT_DELIVERED", acknowledged_at=AFTER), "ACKNOWLEDGED"),
        (Page("MANUAL_ESCALATION", acknowledged_at=AFTER), None),
        (Page("MANUAL_ESCALATION", closed_at=AFTER), "CLOSED"),
        (Page("NO_ROOT_CAUSE_24HR", acknowledged_at=AFTER), None),
        (Page("NO_ROOT_CAUSE_24HR", acknowledged_at=BEFORE, root_cause_at=AFTER), "ROOT_CAUSE_KNOWN"),
        (Page("ACK_LAPSED", acknowledged_at=BEFORE, progressed_at=OWED), None),
        (Page("ACK_LAPSED", acknowledged_at=BEFORE, progressed_at=AFTER), "PROGRESS"),
        (Page("SOMETHING_NEW", acknowledged_at=BEFORE), None),
    ],
)
def test_what_nobody_needs_any_more_says_why(page: Page, because: str | None) -> None:
    assert moot(page) == because


def bundled(number: int, severity: str = "HIGH", *, user: str = "Noor", notes: str = "", link: str = "") -> Bundled:
    incident = {"number": number, "severity": severity, "title": f"failure {number}", "url": f"http://t/{number}"}
    return Bundled(user, "NO_ACK_1HR", {"event": "NO_ACK_1HR", "incident": incident, "notes": notes}, link)


def test_a_bundle_lists_the_worst_first_and_each_with_its_link() -> None:
    page = compose_bundle([bundled(1), bundled(2, "CRITICAL", link="http://t/a/x"), bundled(3, "ODD")])
    assert page.subject == "[CRITICAL] 3 pages: INC-2, INC-1, INC-3"
    assert page.body.splitlines() == [
        "3 pages since the last message.",
        "",
        "INC-2  CRITICAL  failure 2",
        "  Take it: http://t/a/x",
        "  Nobody has acknowledged this yet.",
        "  http://t/2",
        "",
        "INC-1  HIGH  failure 1",
        "  Nobody has acknowledged this yet.",
        "  http://t/1",
        "",
        "INC-3  ODD  failure 3",
        "  Nobody has acknowledged this yet.",
        "  http://t/3",
    ]


def test_where_several_people_share_an_address_each_page_says_whose_it_is() -> None:
    page = compose_bundle([bundled(1, user="Noor"), bundled(1, user="Sam")])
    assert "yet (Noor)." in page.body
    assert "yet (Sam)." in page.body


def test_the_longest_bundle_is_of_a_length_that_every_receiver_takes() -> None:
    link = "http://" + "t" * 200 + "/a/" + "x" * 43
    pages = [bundled(10**15 + number, notes="ü" * 10_000, link=link) for number in range(MAX_BUNDLE)]
    page = compose_bundle(pages)
    assert len(page.subject) == 200
    assert len(msgspec.json.encode(page.payload)) < 100_000
    assert len(page.body) < 60_000
    more = page.payload["more"]
    assert isinstance(more, dict)
    assert more["count"] == MAX_BUNDLE - MAX_IN_FULL == len(more["incidents"])


def test_pages_of_another_form_do_not_stop_the_others() -> None:
    odd = [
        Bundled("Noor", "NEW_REASON", payload) for payload in ({}, {"incident": None}, {"incident": {"number": "x"}})
    ]
    page = compose_bundle([*odd, bundled(1)])
    assert "INC-1  HIGH" in page.body
    assert "NEW_REASON" in page.body
