"""Notifications: what a page says. Whom it goes to is decided by duties; how it travels, by channels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from tocsin.domain.incident import EscalationReason, Severity

OPENED = "INCIDENT_OPENED"
"""The reason of the first alert; every later one carries its escalation's reason."""

UNDELIVERED = "PAGE_NOT_DELIVERED"
"""The reason of a page that goes to others because the one it was for could not be reached."""

STORM = "STORM"
"""The reason of a page about an incident whose failure has become a storm."""

ACK_LAPSED = "ACK_LAPSED"
"""The reason of a page about an incident that somebody took, and that has seen no progress since."""

SILENCE_ENDED = "SILENCE_ENDED"
"""The reason of a page that a silence held back."""

LINK_LEAD = "Take it: "

_LEADS = {
    ACK_LAPSED: "You have this, and nothing has happened since",
    SILENCE_ENDED: "A silence held this back, and nobody has acknowledged it",
    STORM: "It has become a storm",
    UNDELIVERED: "Somebody else could not be reached, so you are told",
    OPENED: "New incident",
    EscalationReason.NO_ACK_1HR.value: "Nobody has acknowledged this yet",
    EscalationReason.NO_ACK_4HR.value: "Still not acknowledged: escalated to you",
    EscalationReason.NO_ROOT_CAUSE_24HR.value: "Still no root cause: escalated to you",
    EscalationReason.POLICY_STEP.value: "Nobody has acknowledged this yet, and you are the next to be asked",
    EscalationReason.MANUAL_ESCALATION.value: "Somebody asks for your help",
    EscalationReason.SEVERITY_ESCALATED.value: "It got worse",
    "ACK_LAPSED": "It is acknowledged, and nothing was heard of it since",
    "SILENCE_ENDED": "The silence is over, and this still needs somebody",
}


def lead_of(reason: str) -> str:
    """Return why somebody is paged, in a few words."""
    return _LEADS.get(reason, reason)


def shown_address(channel: str, address: str) -> str:
    """Return an address as it may be recorded and shown: without what of it is a secret, or often is one.

    Of a URL the host remains; an Apprise URL may have its token in the place of the host, so its schema alone does.
    """
    if channel in ("webhook", "slack", "ntfy"):
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.hostname or ''}/…"
    if channel == "apprise":
        return f"{address.partition('://')[0]}://…"
    return address


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """What every page needs to know of its incident."""

    incident_id: str
    number: int
    severity: Severity
    title: str
    created_at: datetime
    url: str


@dataclass(frozen=True, slots=True)
class PageText:
    """A page as a person reads it (`subject`, `body`) and as a program does (`payload`)."""

    subject: str
    body: str
    payload: dict[str, object]


def compose(facts: IncidentFacts, reason: str, notes: str = "", previous_lesson: str | None = None) -> PageText:
    """Write the page for an incident: what happened, why you, what to do now, and what was learned last time."""
    lead = _LEADS[reason]
    lines = [
        f"{lead}:",
        f"INC-{facts.number}  {facts.severity.value}  {facts.title}",
        "",
        f"since {facts.created_at:%Y-%m-%d %H:%M:%S} UTC",
        *([f"note: {notes}"] if notes else []),
        "",
        f"Look:     {facts.url}",
        f"Shell:    tocsin incidents ack {facts.number} --notes '…'",
        *(["", "What was learned last time:", f"  {previous_lesson}"] if previous_lesson else []),
    ]
    payload: dict[str, object] = {
        "event": reason,
        "incident": {
            "id": facts.incident_id,
            "number": facts.number,
            "severity": facts.severity.value,
            "title": facts.title,
            "createdAt": facts.created_at.isoformat(),
            "url": facts.url,
        },
        "notes": notes,
        "previousLesson": previous_lesson,
    }
    subject = f"[{facts.severity.value}] INC-{facts.number} {facts.title}"
    prefix = "" if reason == OPENED else f"{lead}: "
    return PageText((prefix + subject)[:200], "\n".join(lines), payload)


def with_link(page: PageText, acknowledge_url: str) -> PageText:
    """Add the link that takes the incident ("": none), right after what happened. It is a secret, and never stored."""
    if not acknowledge_url:
        return page
    happened, separator, rest = page.body.partition("\n\n")
    body = f"{happened}\n\n{LINK_LEAD}{acknowledge_url}{separator}{rest}"
    return PageText(page.subject, body, page.payload | {"acknowledgeUrl": acknowledge_url})


def with_checkpoint(page: PageText, checkpoint: str | None) -> PageText:
    """Add the log's latest checkpoint in short (None: there is none yet): who is paged can testify to it later."""
    if checkpoint is None:
        return page
    body = f"{page.body}\n\nLog:      {checkpoint}"
    return PageText(page.subject, body, page.payload | {"checkpoint": checkpoint})
