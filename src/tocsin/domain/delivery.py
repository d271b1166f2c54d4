"""Delivery: which pages go alone and which together, when one is not sent any more, and what a bundle of them says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.notification import ACK_LAPSED, LINK_LEAD, OPENED, SILENCE_ENDED, STORM, PageText, lead_of

FIRST_ALERTS = (OPENED, STORM, EscalationReason.MANUAL_ESCALATION.value)
"""The reasons of pages that are messages of their own: what just broke must not stand in the middle of a list."""
BUNDLE_PAUSE = timedelta(minutes=1)
"""How long nothing else than first alerts is sent over a contact method after a bundle."""
MAX_BUNDLE = 500
"""Pages of one bundle; what is left goes with the next one."""
MAX_IN_FULL = 50
"""Pages of which a bundle says everything; the others it names."""
MAX_SUBJECT_CHARACTERS = 200
MAX_NOTE_CHARACTERS = 300
BUNDLE_EVENT = "BUNDLE"

UNDER_WAY, CUT_SHORT = "UNDER_WAY", "CUT_SHORT"
"""What came of an attempt of which nobody wrote down an answer: not yet, or never."""

_WAITS_FOR_ACKNOWLEDGMENT = frozenset(
    {
        OPENED,
        SILENCE_ENDED,
        EscalationReason.NO_ACK_1HR.value,
        EscalationReason.NO_ACK_4HR.value,
        EscalationReason.POLICY_STEP.value,
    }
)
_GOES_ON_ACKNOWLEDGED = frozenset(
    {ACK_LAPSED, EscalationReason.MANUAL_ESCALATION.value, EscalationReason.NO_ROOT_CAUSE_24HR.value}
)


class PageState(StrEnum):
    """What became of a page."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Said:
    """What came of an attempt, and the answer that it got."""

    outcome: str
    answer: str


def came_of(outcome: str | None, answer: str | None, worker: str | None, *, waits: bool) -> Said:
    """Return what came of an attempt, in words where nobody wrote it down.

    `waits`: the page is still owed, and this is its last attempt. Else somebody went on without its answer.
    """
    if outcome is not None and answer is not None:
        return Said(outcome, answer)
    who = worker or "a worker"
    if waits:
        return Said(UNDER_WAY, f"begun by {who}, no answer yet")
    return Said(
        CUT_SHORT,
        f"begun by {who}, which ended or lost the database before there was an answer: whether it arrived is not known",
    )


def goes_alone(reason: str) -> bool:
    """Tell whether a page of this reason is a message of its own."""
    return reason in FIRST_ALERTS


class Owed(Protocol):
    """A page that is owed, and how its incident stands by now."""

    @property
    def reason(self) -> str: ...

    @property
    def created_at(self) -> datetime: ...

    @property
    def due_at(self) -> datetime: ...

    @property
    def acknowledged_at(self) -> datetime | None: ...

    @property
    def root_cause_at(self) -> datetime | None: ...

    @property
    def closed_at(self) -> datetime | None: ...

    @property
    def progressed_at(self) -> datetime | None:
        """Return when a person last did something about the incident; only asked where an acknowledgment lapsed."""


def moot(page: Owed) -> str | None:
    """Return why a page need not be sent any more; None: it must be.

    The first alert that goes out at once always is: whom it is for may have to know, whoever was faster.
    """

    def since(at: datetime | None) -> bool:
        return at is not None and at > page.created_at

    waits = page.reason in _WAITS_FOR_ACKNOWLEDGMENT
    if page.reason == OPENED and page.due_at <= page.created_at:
        return None
    if since(page.closed_at):
        return "CLOSED"
    if page.reason == EscalationReason.NO_ROOT_CAUSE_24HR.value and page.root_cause_at is not None:
        return "ROOT_CAUSE_KNOWN"
    if page.reason == ACK_LAPSED and since(page.progressed_at):
        return "PROGRESS"
    if page.reason in _GOES_ON_ACKNOWLEDGED:
        return None
    # What was owed although somebody had it already (it got worse, it became a storm) says something new.
    return "ACKNOWLEDGED" if since(page.acknowledged_at) or (waits and page.acknowledged_at is not None) else None


@dataclass(frozen=True, slots=True)
class Bundled:
    """A page of a bundle: whom it is for, why, what programs are told of it, and the link that takes it ("": none)."""

    user_name: str
    reason: str
    payload: Mapping[str, Any]
    acknowledge_url: str = ""

    @property
    def incident(self) -> Mapping[str, Any]:
        """Return what the page says of its incident."""
        incident = self.payload.get("incident")
        return incident if isinstance(incident, Mapping) else {}

    @property
    def name(self) -> str:
        """Return the incident's name."""
        return f"INC-{self.incident.get('number', '?')}"

    @property
    def severity(self) -> str:
        """Return the incident's severity."""
        return str(self.incident.get("severity", ""))

    @property
    def rank(self) -> int:
        """Return how bad it is."""
        return Severity(self.severity).rank if self.severity in Severity.__members__ else -1


def compose_bundle(pages: Sequence[Bundled]) -> PageText:
    """Write the message that lists pages, the worst first: MAX_IN_FULL whole, the others by their incidents' names."""
    ordered = sorted(pages, key=lambda page: page.rank, reverse=True)
    full, rest = ordered[:MAX_IN_FULL], ordered[MAX_IN_FULL:]
    # Several people may share an address; whose link it is must be told then.
    named = len({page.user_name for page in pages}) > 1
    lines = [f"{len(ordered)} pages since the last message.", ""]
    for page in full:
        lines += [*_in_full(page, named=named), ""]
    if rest:
        lines += [f"And {len(rest)} more, about {', '.join(_names(rest))}: `tocsin incidents list --open`.", ""]
    if len(ordered) >= MAX_BUNDLE:
        lines += [f"A message takes {MAX_BUNDLE} pages: what else is due comes in a minute.", ""]
    subject = f"[{ordered[0].severity}] {len(ordered)} pages: {', '.join(_names(ordered))}"
    payload: dict[str, object] = {
        "event": BUNDLE_EVENT,
        "pages": [_for_programs(page) for page in full],
        "more": {"count": len(rest), "incidents": list(dict.fromkeys(page.incident.get("number") for page in rest))},
    }
    return PageText(_shortened(subject), "\n".join(lines[:-1]), payload)


def _in_full(page: Bundled, *, named: bool) -> Iterable[str]:
    yield f"{page.name}  {page.severity}  {page.incident.get('title', '')}"
    if page.acknowledge_url:
        yield f"  {LINK_LEAD}{page.acknowledge_url}"
    yield f"  {lead_of(page.reason)}{f' ({page.user_name})' if named else ''}."
    if notes := page.payload.get("notes"):
        yield f"  note: {_shortened(' '.join(str(notes).split()), MAX_NOTE_CHARACTERS)}"
    yield f"  {page.incident.get('url', '')}"


def _for_programs(page: Bundled) -> dict[str, object]:
    """Return what a program is told of a page: no lessons and no long notes, for a receiver takes so much at once."""
    notes = _shortened(str(page.payload.get("notes") or ""), MAX_NOTE_CHARACTERS)
    said: dict[str, object] = {"event": page.reason, "incident": page.incident, "notes": notes}
    return said | ({"acknowledgeUrl": page.acknowledge_url} if page.acknowledge_url else {})


def _names(pages: Iterable[Bundled]) -> list[str]:
    return list(dict.fromkeys(page.name for page in pages))


def _shortened(text: str, limit: int = MAX_SUBJECT_CHARACTERS) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
