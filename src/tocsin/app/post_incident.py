"""Makes the post-incident report: what the record says of one incident, in the order in which people read it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tocsin.app.read_incidents import IncidentDetail, show_incident
from tocsin.app.timeline import IncidentRef
from tocsin.app.work import Work
from tocsin.domain.access import Actor
from tocsin.domain.disclosure import ERASED
from tocsin.domain.follow_up import FollowUpState
from tocsin.domain.plural import times
from tocsin.domain.post_incident import Facts, Part, PostIncidentReport, Rows, Section, Texts
from tocsin.store import follow_ups, log
from tocsin.store.follow_ups import FollowUpRow
from tocsin.store.incidents import EntryRow, EscalationRow
from tocsin.store.notifications import NotificationRow
from tocsin.tlog.checkpoint import Checkpoint
from tocsin.tlog.note import Note

_SAID = ("reason", "to", "notes", "text", "category", "signal")
"""What of an entry's particulars a reader wants to know."""
NOT_YET = "not recorded yet"


async def post_incident_report(work: Work, actor: Actor, ref: IncidentRef) -> PostIncidentReport:
    """Return the report of an incident as it stands now; raise NOT_FOUND."""
    detail = await show_incident(work, actor, ref)
    promised = await follow_ups.of_incident(work.tx, detail.incident.id)
    return PostIncidentReport(
        detail.incident.number,
        _text(detail.incident.title),
        _summary(detail),
        (
            Section("What happened", tuple(_what_happened(detail))),
            Section("Who was paged", (_paged(detail.notifications),)),
            *([Section("Escalations", (_escalated(detail.escalations),))] if detail.escalations else ()),
            Section("Timeline", (_timeline(detail.timeline),)),
            *_findings(detail),
            Section("Follow-up actions", (_promised(detail, promised, work.now),)),
            Section("The record", (await _record(work, detail),)),
        ),
    )


def _summary(detail: IncidentDetail) -> Facts:
    incident = detail.incident
    opened = incident.created_at
    pairs = [
        ("Severity", incident.current_severity + _if_other(incident.severity, incident.current_severity)),
        ("Status", incident.status),
        ("Opened", f"{_instant(opened)} by {'the system' if incident.created_by_system else 'a person'}"),
    ]
    if detail.ack:
        pairs.append(("Acknowledged", f"{_after(detail.ack.ack_at, opened)}, by {detail.ack.ack_by_name}"))
    if detail.resolution:
        by = detail.resolution.resolved_by_name
        pairs.append(("Resolved", f"{_after(detail.resolution.resolved_at, opened)}, by {by}"))
    if incident.closed_at:
        pairs.append(("Closed", _after(incident.closed_at, opened)))
    if incident.occurrences:
        pairs.append(("Seen", f"{times(incident.occurrences)}, last {_instant(incident.last_seen_at)}"))
    return Facts(tuple(pairs))


def _if_other(opened_as: str, now: str) -> str:
    return f" (opened as {opened_as})" if opened_as != now else ""


def _what_happened(detail: IncidentDetail) -> Iterator[Part]:
    yield Texts((_text(detail.incident.description or detail.incident.title),))
    if detail.incident.recurrence_of:
        yield Texts(("It had happened before: this is a recurrence.",))


def _paged(pages: list[NotificationRow]) -> Part:
    if not pages:
        return Texts(("Nobody was.",))
    rows = [
        (page.user_name, _words(page.reason), page.channel, _instant(page.created_at), page.state) for page in pages
    ]
    return Rows(("Who", "Why", "Over", "When", "Delivery"), tuple(rows))


def _escalated(escalations: list[EscalationRow]) -> Part:
    rows = [
        (
            _words(one.escalation_reason),
            one.escalated_to_name or "everybody whom the step names",
            _instant(one.escalated_at),
            _instant(one.acknowledged_at) if one.acknowledged_at else "never",
        )
        for one in escalations
    ]
    return Rows(("Why", "To", "When", "Acknowledged"), tuple(rows))


def _timeline(entries: list[EntryRow]) -> Part:
    rows = [
        (
            _instant(entry.event_at),
            _words(entry.event_type),
            entry.actor_name or entry.actor_role,
            "; ".join(str(entry.metadata[name]) for name in _SAID if entry.metadata.get(name)),
        )
        for entry in entries
    ]
    return Rows(("When", "What", "Who", "What they said"), tuple(rows))


def _findings(detail: IncidentDetail) -> Iterator[Section]:
    cause, end = detail.root_cause, detail.resolution
    found = [("Category", _words(cause.root_cause_category)), ("Found by", cause.identified_by_name)] if cause else []
    why = Texts((_text(cause.root_cause_summary) if cause else NOT_YET,))
    yield Section("Root cause", (why, *([Facts(tuple(found))] if found else [])))
    yield _section("Remediation", _text(cause.remediation_steps) if cause else NOT_YET)
    yield _section("How it ended", _text(end.resolution_summary) if end else NOT_YET)
    yield _section("Impact", (end.impact_assessment if end else None) or "None is recorded.")
    if end and end.resolution_notes:
        yield _section("Notes", end.resolution_notes)
    missing = NOT_YET if detail.incident.closed_at is None else ERASED
    yield _section("Lessons", (end.lessons_learned if end else None) or missing)


def _section(heading: str, text: str) -> Section:
    return Section(heading, (Texts((text,)),))


def _promised(detail: IncidentDetail, promised: list[FollowUpRow], now: datetime) -> Part:
    if not promised:
        return Texts(("They come with the closing." if detail.incident.closed_at is None else "None.",))
    rows = [
        (str(row.position), _text(row.title), row.owner or "nobody", row.due or "no date", _state(row, now))
        for row in promised
    ]
    return Rows(("No.", "Action", "Owner", "Due", "State"), tuple(rows))


def _state(row: FollowUpRow, now: datetime) -> str:
    if row.state == FollowUpState.DONE and row.marked_at is not None:
        return f"done {_instant(row.marked_at)} by {row.marked_by_name}" + (f": {row.note}" if row.note else "")
    return "overdue" if row.is_overdue(now) else row.state.lower()


async def _record(work: Work, detail: IncidentDetail) -> Facts:
    """Return by which numbers anybody can check the record this was made of."""
    pairs = [("Checksum of the facts", bytes(detail.incident.checksum).hex())]
    if detail.timeline:
        last = detail.timeline[-1]
        pairs.append((f"Checksum of entry {last.sequence}, the last", bytes(last.checksum).hex()))
    checkpoint = await log.last_checkpoint(work.tx)
    if checkpoint is None:
        pairs.append(("Checkpoint of the log", "none is signed yet"))
        return Facts(tuple(pairs))
    origin = Checkpoint.parse(Note.parse(checkpoint.note).text).origin
    sealed = [one for one in await log.entries_of(work.tx, detail.incident.number) if one.index < checkpoint.size]
    pairs += [
        ("Checkpoint of the log", f"{origin}, size {checkpoint.size:,}, signed {_instant(checkpoint.signed_at)}"),
        ("Its root", bytes(checkpoint.root).hex()),
        ("Entries in it", f"{len(sealed):,} of {detail.timeline[-1].sequence if detail.timeline else 0:,}"),
        ("Check it", f"tocsin export {detail.incident.number} --output FILE, then tocsin verify FILE"),
    ]
    return Facts(tuple(pairs))


def _text(said: str | None) -> str:
    return ERASED if said is None else said


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _after(moment: datetime, start: datetime) -> str:
    """Return an instant and how long after another one it is."""
    took = max(moment - start, timedelta())
    return f"{_instant(moment)}, after {took - timedelta(microseconds=took.microseconds)}"
