"""Tells an incident as a story: where it stands, what failed, what was done, who was told, and the one next step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from rich.text import Text

from tocsin.app.read_incidents import IncidentDetail
from tocsin.cli.output import Line, age, instant, one_line, several_lines, styled
from tocsin.domain.disclosure import ERASED
from tocsin.domain.incident import RootCauseCategory, Status
from tocsin.domain.plural import number_of, times

MAX_FRAMES_SHOWN = 8
MAX_DESCRIPTION_LINES = 20
_TOLD = ("reason", "from", "to", "category", "duty", "notes", "text")
"""What of an entry's metadata people want to read; --json has all of it."""


def story(detail: IncidentDetail, previous: IncidentDetail | None, now: datetime) -> Iterator[Line]:
    """Yield the lines of the story; `previous` is the incident that this one is a recurrence of."""
    yield from _header(detail, now)
    if previous is not None:
        yield from _learned_last_time(previous)
    yield from _what_failed(detail)
    yield from _acknowledgment(detail)
    yield from _root_cause(detail)
    yield from _resolution(detail)
    yield from _timeline(detail)
    yield from _escalations(detail)
    yield from _pages(detail)
    yield ""
    yield Text.assemble(("Next  ", "bold"), next_step(detail))


def next_step(detail: IncidentDetail) -> str:
    """Return the one thing to do now, as a command line."""
    incident = detail.incident
    number, status = incident.number, Status(incident.status)
    if status is Status.REPORTED:
        return f'tocsin incidents ack {number} --notes "what you are doing about it"'
    if status is Status.CLOSED:
        return "nothing: it is closed. Should the failure come back, its incident opens with what was learned here."
    if status is Status.RESOLVED:
        known = detail.resolution
        lessons = "" if known and known.lessons_learned else ' --lessons "what was learned"'
        follow_up = "" if known and known.follow_up_actions else ' --follow-up "what will be done|owner|2026-12-01"'
        return f"tocsin incidents close {number}{lessons}{follow_up}"
    if detail.root_cause is None:
        return (
            f'tocsin incidents root-cause {number} --summary "why it happened" '
            f'--category {RootCauseCategory.SYSTEM_DEFECT.value} --remediation "what mends it"'
        )
    return f'tocsin incidents resolve {number} --summary "how it ended"'


def _header(detail: IncidentDetail, now: datetime) -> Iterator[Line]:
    incident = detail.incident
    yield Text.assemble(
        (f"INC-{incident.number}", "bold"), "  ", styled(incident.current_severity), "  ", styled(incident.status)
    )
    yield Text(one_line(incident.title or ERASED), style="bold")
    ended = incident.closed_at or incident.resolved_at
    lasted = f"lasted {age(ended - incident.created_at)}" if ended else f"open for {age(now - incident.created_at)}"
    yield f"since {instant(incident.created_at)}, {lasted}; {_seen(detail)}"
    yield f"{_who_has_it(detail)}; opened {'by the system' if incident.created_by_system else 'by a person'}"
    if incident.severity != incident.current_severity:
        yield f"opened as {incident.severity}, now {incident.current_severity}"
    description = (incident.description if incident.description is not None else ERASED).strip()
    if description and description != incident.title:
        yield ""
        yield from _indented(description, MAX_DESCRIPTION_LINES)


def _seen(detail: IncidentDetail) -> str:
    incident = detail.incident
    if incident.occurrences == 0:
        return "no error report belongs to it"
    return f"seen {times(incident.occurrences)}, last {instant(incident.last_seen_at)}"


def _who_has_it(detail: IncidentDetail) -> str:
    ack = detail.ack
    return f"{one_line(ack.ack_by_name)} has it" if ack else "nobody has it"


def _title(text: str) -> Iterator[Line]:
    yield ""
    yield Text(text, style="bold")


def _indented(text: str, limit: int = 200) -> Iterator[Line]:
    lines = several_lines(text.strip()).splitlines()
    for line in lines[:limit]:
        yield f"  {line}"
    if len(lines) > limit:
        yield f"  … {number_of(len(lines) - limit, 'more line')}; --json has them all"


def _learned_last_time(previous: IncidentDetail) -> Iterator[Line]:
    yield from _title(f"It came back: what was learned last time (INC-{previous.incident.number})")
    cause, resolution = previous.root_cause, previous.resolution
    if cause is None and resolution is None:
        yield "  nothing was recorded yet"
        return
    if cause is not None:
        yield from _indented(f"cause ({cause.root_cause_category}): {cause.root_cause_summary or ERASED}")
        yield from _indented(f"what mended it: {cause.remediation_steps or ERASED}")
    if resolution is not None:
        yield from _indented(f"how it ended: {resolution.resolution_summary or ERASED}")
        if resolution.lessons_learned:
            yield from _indented(f"lesson: {resolution.lessons_learned}")
        yield from _follow_ups(resolution.follow_up_actions)


def _follow_ups(actions: list[Any] | None) -> Iterator[Line]:
    for action in actions or ():
        owner = f" ({action['owner']})" if action.get("owner") else ""
        due = f", due {action['dueAt']}" if action.get("dueAt") else ""
        yield f"  to do: {one_line(action['title'] + owner + due)}"


def _what_failed(detail: IncidentDetail) -> Iterator[Line]:
    if detail.error is None or detail.error.document is None:
        return
    document: dict[str, Any] = msgspec.json.decode(detail.error.document)
    yield from _title("What failed first")
    exceptions = document.get("exceptions") or []
    for position, exception in enumerate(reversed(exceptions)):
        yield from _exception(exception, "caused by " if position else "")
    if not exceptions:
        yield f"  {one_line(detail.error.title or ERASED)}"
    where = [f"{name} {document[name]}" for name in ("service", "environment", "release") if document.get(name)]
    if where:
        yield f"  in {one_line(', '.join(where))}"


def _exception(exception: Mapping[str, Any], lead: str) -> Iterator[Line]:
    yield f"  {lead}{one_line(exception.get('type') or '')}: {one_line(exception.get('message') or '')}"
    frames = exception.get("frames") or []
    ours = [frame for frame in reversed(frames) if frame.get("inApp")]
    # Innermost first, the application's own before the libraries': that is where one starts to look.
    ordered = [*ours, *(frame for frame in reversed(frames) if not frame.get("inApp"))]
    for frame in ordered[:MAX_FRAMES_SHOWN]:
        place = frame.get("filename") or frame.get("module") or "?"
        line = f":{frame['line']}" if frame.get("line") is not None else ""
        outside = "" if frame.get("inApp") else "  (library)"
        yield f"    {one_line(str(place))}{line} in {one_line(frame.get('function') or '?')}{outside}"
        if frame.get("sourceLine"):
            yield f"        {one_line(frame['sourceLine'].strip())}"
    if len(ordered) > MAX_FRAMES_SHOWN:
        yield f"    … {len(ordered) - MAX_FRAMES_SHOWN} more frames; --json has them all"


def _acknowledgment(detail: IncidentDetail) -> Iterator[Line]:
    if (ack := detail.ack) is not None:
        yield from _title(f"Acknowledged by {one_line(ack.ack_by_name)}, {instant(ack.ack_at)}")
        yield from _indented(ack.ack_notes or ERASED)


def _root_cause(detail: IncidentDetail) -> Iterator[Line]:
    if (cause := detail.root_cause) is not None:
        by = one_line(cause.identified_by_name)
        yield from _title(f"Root cause ({cause.root_cause_category}) by {by}, {instant(cause.identified_at)}")
        yield from _indented(cause.root_cause_summary or ERASED)
        yield from _indented(f"what mends it: {cause.remediation_steps or ERASED}")
        if cause.verified_at:
            yield f"  verified {instant(cause.verified_at)}"


def _resolution(detail: IncidentDetail) -> Iterator[Line]:
    if (resolution := detail.resolution) is None:
        return
    yield from _title(f"Resolved by {one_line(resolution.resolved_by_name)}, {instant(resolution.resolved_at)}")
    yield from _indented(resolution.resolution_summary or ERASED)
    for name, text in (
        ("notes", resolution.resolution_notes),
        ("impact", resolution.impact_assessment),
        ("lesson", resolution.lessons_learned),
    ):
        if text:
            yield from _indented(f"{name}: {text}")
    yield from _follow_ups(resolution.follow_up_actions)


def _timeline(detail: IncidentDetail) -> Iterator[Line]:
    yield from _title("Timeline")
    for entry in detail.timeline:
        who = one_line(entry.actor_name) if entry.actor_name else "the system"
        said = "; ".join(f"{name}: {one_line(str(entry.metadata[name]))}" for name in _TOLD if entry.metadata.get(name))
        moved = f" → {entry.status_after}" if entry.status_after not in (entry.status_before, entry.event_type) else ""
        yield f"  {instant(entry.event_at)}  {entry.event_type}{moved} by {who}{f'  ({said})' if said else ''}"


def _escalations(detail: IncidentDetail) -> Iterator[Line]:
    if not detail.escalations:
        return
    yield from _title("Escalations")
    for row in detail.escalations:
        to = one_line(row.escalated_to_name) if row.escalated_to_name else "nobody could be reached"
        arrived = f"arrived {instant(row.acknowledged_at)}" if row.acknowledged_at else "not confirmed"
        yield f"  {instant(row.escalated_at)}  {row.escalation_reason} to {to}, {arrived}"


def _pages(detail: IncidentDetail) -> Iterator[Line]:
    yield from _title("Pages")
    if not detail.notifications:
        yield "  none"
    for page in detail.notifications:
        tried = number_of(page.attempts, "attempt") if page.attempts else "not tried yet"
        yield (
            f"  {instant(page.created_at)}  {page.reason} to {one_line(page.user_name)} by {page.channel} "
            f"{one_line(page.address)}: {page.state}, {tried}"
        )
        if page.last_answer:
            yield f"      last answer: {one_line(page.last_answer)}"
