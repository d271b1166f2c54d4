"""Erases a person's data: an incident's texts, reports, a user. The record says that it was done, by whom and why.

The order is always the same: find what there is, name it in accounts, and write these. Writing an account (an entry of
the incident's timeline, or a leaf of the log for what belongs to none) is what erases what it names, in the database.
What was copied elsewhere (pages, remembered answers) is rewritten or forgotten in the same transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from uuid import UUID

from tocsin.app import deliver, paging, schedules
from tocsin.app.accounts import changeable
from tocsin.app.paging import Subject
from tocsin.app.policy_reach import keeping_reach
from tocsin.app.timeline import Detail, IncidentRef, locked_head, take
from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.erasure import ALL_REPORTS, ErasableRow, Grounds, Named, by_ids, checked_texts, portions
from tocsin.domain.log_leaf import Erasure, LeafKind
from tocsin.domain.timeline import EntryKind, time_text
from tocsin.domain.workflow import ErasePersonalData, checked_text
from tocsin.errors import Code, refuse
from tocsin.store import contacts, erasure, follow_ups, incidents, log, notifications
from tocsin.store.erasure import MAX_REPORTS, FoundReport
from tocsin.store.incidents import Head
from tocsin.store.projects import INTERNAL_PROJECT_ID
from tocsin.store.users import User

SHORTEST_SEARCH = 3
"""Characters: what is shorter stands in half of all reports."""
MAX_SHOWN = 20

__all__ = ["Erased", "Grounds", "Reports", "erase_incident", "erase_reports", "erase_user", "vacuum"]

vacuum = erasure.vacuum


@dataclass(frozen=True, slots=True)
class ErasedIncident:
    """How many texts and reports of an incident were erased, or would be.

    `kept_texts` are copies of reports that stay: an older version wrote them into the record for ever.
    """

    id: UUID
    number: int
    texts: int
    reports: int
    kept_texts: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, or (`done` is False) would be. `more` says that a search found more than fits into one go.

    Of an incident it says that more was reported meanwhile.
    """

    done: bool
    incidents: list[ErasedIncident] = field(default_factory=list)
    reports: int = 0
    user_id: UUID | None = None
    accesses: int = 0
    more: bool = False
    found: list[FoundReport] = field(default_factory=list)
    """The first reports that a search found, to be recognised before they are gone; empty once they are."""


@dataclass(frozen=True, slots=True)
class Reports:
    """Which reports are meant: exactly one of all those of an incident, these, and those in which a text stands."""

    incident: IncidentRef | None = None
    ids: tuple[UUID, ...] = ()
    containing: str | None = None

    def __post_init__(self) -> None:
        given = [self.incident is not None, bool(self.ids), self.containing is not None]
        if given.count(True) != 1:
            raise _invalid("reports", "must be those of an incident, some by their ids, or those containing a text")
        if self.containing is not None and len(checked_text("containing", self.containing)) < SHORTEST_SEARCH:
            raise _invalid("containing", f"must have at least {SHORTEST_SEARCH} characters")
        if len(self.ids) > MAX_REPORTS:
            raise _invalid("reports", f"must be at most {MAX_REPORTS} at once")


def _invalid(name: str, problem: str) -> Exception:
    return refuse(Code.INVALID, f"{name} {problem}.", errors=[{"field": name, "problem": problem}])


async def erase_incident(
    work: Work, actor: Actor, ref: IncidentRef, texts: Iterable[str] | None, grounds: Grounds, *, dry_run: bool = False
) -> Erased:
    """Erase texts of an incident by their names (None: all that people wrote); its reports stay as they are.

    Raises CONFLICT where some of these were recorded before texts could be erased.
    """
    require(actor, Permission.ADMINISTER)
    wanted = checked_texts(texts)
    head = await locked_head(work, ref)
    found = await erasure.texts_of_incident(work.tx, head.incident_id)
    rows = [chosen for row in found if (chosen := row.of(wanted)) is not None]
    if kept := [column for row in rows if row.for_ever for column in row.columns]:
        raise refuse(
            Code.CONFLICT,
            f"Cannot erase {', '.join(dict.fromkeys(kept))} of INC-{head.number}: recorded by a version of Tocsin that "
            "wrote texts into the record for ever.",
            "docs/explanation/erasure.md says what can be done. Texts that were written since are erased by name.",
        )
    erased = ErasedIncident(head.incident_id, head.number, _count(rows), 0)
    if not dry_run and rows:
        await _write_accounts(work, actor, head, [row.named() for row in rows], grounds)
    return Erased(not dry_run, [erased])


async def erase_reports(work: Work, actor: Actor, which: Reports, grounds: Grounds, *, dry_run: bool = False) -> Erased:
    """Erase reports, and of the incidents that they opened what was copied from them: title, description, checksum."""
    require(actor, Permission.ADMINISTER)
    await erasure.take_time(work.tx)
    if which.incident is not None:
        return await _erase_all_reports(work, actor, which.incident, grounds, dry_run=dry_run)
    if which.containing is not None:
        found = await erasure.reports_containing(work.tx, [which.containing.strip()])
        if not dry_run:
            await erasure.erase_check_in_notes(work.tx, which.containing.strip())
    else:
        found = await erasure.reports_by_id(work.tx, which.ids)
        if missing := set(which.ids) - {report.id for report in found}:
            name = min(missing)
            raise refuse(Code.NOT_FOUND, f"There is no error report {name} that could be erased.", "Leave it out.")
    return await _erase_found(work, actor, found, grounds, dry_run=dry_run)


async def _erase_all_reports(work: Work, actor: Actor, ref: IncidentRef, grounds: Grounds, *, dry_run: bool) -> Erased:
    head = await locked_head(work, ref)
    before = await erasure.count_reports_of(work.tx, head.incident_id)
    facts = await incidents.get(work.tx, head.incident_id)
    by_system = facts is not None and facts.created_by_system
    texts = await erasure.texts_of_incident(work.tx, head.incident_id)
    copied = [row for row in texts if _is_copied(row, opened=by_system, first=True, events=None)]
    rows, kept = _parted(copied)
    count, more = before.whole, False
    if not dry_run and (count or rows or await erasure.has_kept_erased(work.tx, head.incident_id)):
        await erasure.call_off_expiry(work.tx, incident_id=head.incident_id)
        await _write_accounts(work, actor, head, [ALL_REPORTS, *(row.named() for row in rows)], grounds)
        # An account erases what was received until it was written. Intake waits for no erasure, so look once more.
        after = await erasure.count_reports_of(work.tx, head.incident_id)
        count, more = after.erased - before.erased, after.whole > 0
    erased = ErasedIncident(head.incident_id, head.number, _count(rows), count, _count(kept))
    return Erased(not dry_run, [erased], count, more=more)


async def _erase_found(
    work: Work, actor: Actor, found: Sequence[FoundReport], grounds: Grounds, *, dry_run: bool
) -> Erased:
    taken = found[:MAX_REPORTS]
    by_incident: defaultdict[UUID | None, list[FoundReport]] = defaultdict(list)
    for report in taken:
        by_incident[report.incident_id].append(report)
    alone = by_incident.pop(None, [])
    touched = []
    # Everybody locks heads in this order who locks several.
    for incident_id in sorted(incident_id for incident_id in by_incident if incident_id is not None):
        reports = by_incident[incident_id]
        touched.append(await _erase_reports_of(work, actor, incident_id, reports, grounds, dry_run=dry_run))
    if not dry_run:
        await erasure.call_off_expiry(work.tx, report_ids=[report.id for report in taken])
        await _write_leaves(work, actor, by_ids("audit_logs", [report.id for report in alone]), grounds)
    shown = list(taken[:MAX_SHOWN]) if dry_run else []
    return Erased(not dry_run, touched, len(taken), more=len(found) > len(taken), found=shown)


async def _erase_reports_of(
    work: Work, actor: Actor, incident_id: UUID, reports: Sequence[FoundReport], grounds: Grounds, *, dry_run: bool
) -> ErasedIncident:
    head = await locked_head(work, incident_id)
    events = {report.event_id for report in reports}
    outcomes = {report.outcome for report in reports}
    opened, first = "opened" in outcomes, bool(outcomes & {"opened", "recorded"})
    texts = await erasure.texts_of_incident(work.tx, incident_id)
    rows, kept = _parted(row for row in texts if _is_copied(row, opened=opened, first=first, events=events))
    if not dry_run:
        named = by_ids("audit_logs", [report.id for report in reports]) + [row.named() for row in rows]
        await _write_accounts(work, actor, head, named, grounds)
    return ErasedIncident(incident_id, head.number, _count(rows), len(reports), _count(kept))


def _parted(rows: Iterable[ErasableRow]) -> tuple[list[ErasableRow], list[ErasableRow]]:
    """Part rows into those whose texts can be erased, and those that hold them for ever."""
    parts: tuple[list[ErasableRow], list[ErasableRow]] = ([], [])
    for row in rows:
        parts[row.for_ever].append(row)
    return parts


def _is_copied(row: ErasableRow, *, opened: bool, first: bool, events: Set[str] | None) -> bool:
    """Tell whether what a row says was copied from the reports that are erased.

    An incident's title and description come from the report that `opened` it, unless a person opened it for its `first`
    one; what its first entry knows of that is its checksum. A signal comes from the report with its event (None: any).
    """
    if row.table == "incidents":
        return opened
    if row.kind is EntryKind.REPORTED:
        return first
    return row.kind is EntryKind.SIGNAL_RECEIVED and (events is None or row.event_id in events)


def _count(rows: Iterable[ErasableRow]) -> int:
    return sum(len(row.columns) for row in rows)


async def erase_user(work: Work, actor: Actor, email: str, grounds: Grounds, *, dry_run: bool = False) -> Erased:
    """Erase who a user was: the record knows them by a random id, and nothing leads from it to a person any more.

    Raises CONFLICT for who has a duty or turns of a schedule, for the last superadmin, and for oneself.
    """
    require(actor, Permission.ADMINISTER)
    user = await changeable(work, email, stays_superadmin=False)
    await _refuse_the_needed(work, actor, user)
    await erasure.take_time(work.tx)
    methods = await contacts.of_user(work.tx, user.id)
    addresses = sorted({user.email, *(method.address for method in methods)})
    accesses = await erasure.accesses_naming(work.tx, addresses)
    own = await erasure.count_accesses_of(work.tx, user.id)
    # Our own reports of pages that could not be delivered name the address.
    found = await erasure.reports_containing(work.tx, addresses, INTERNAL_PROJECT_ID)
    reports = await _erase_found(work, actor, found, grounds, dry_run=dry_run)
    if not dry_run:
        named = by_ids("users", [user.id]) + by_ids("audit_access_log", accesses)
        await _write_leaves(work, actor, named, grounds)
        async with keeping_reach(work):
            await _hand_over_pages(work, user)
            await erasure.erase_user(work.tx, user.id, addresses, work.now)
    return Erased(not dry_run, reports.incidents, reports.reports, user.id, own + len(accesses), reports.more)


async def _refuse_the_needed(work: Work, actor: Actor, user: User) -> None:
    if user.id == actor.user_id:
        raise refuse(Code.CONFLICT, "You cannot erase yourself.", "Ask another superadmin to do it.")
    held = [row.duty for row in await notifications.duties(work.tx) if row.user_id == user.id]
    if held:
        raise refuse(
            Code.CONFLICT,
            f"{user.email} is {', '.join(held)}: pages would reach nobody.",
            "Give the duty to somebody else first: `tocsin oncall assign`.",
        )
    await schedules.refuse_member(work, user.id, user.email)


async def _hand_over_pages(work: Work, user: User) -> None:
    """Give up the pages that are still owed to a user, and tell the others."""
    owed = await notifications.by_ids(work.tx, await erasure.owed_to(work.tx, user.id))
    await erasure.remove_contacts(work.tx, user.id)
    await notifications.settle(work.tx, [page.id for page in owed], "FAILED", work.now)
    for page in owed:
        await deliver.tell_others(work, page)


async def _write_accounts(work: Work, actor: Actor, head: Head, named: Sequence[Named], grounds: Grounds) -> None:
    """Write the entries that erase what they name, then let no copy say it any longer."""
    for portion in portions(named):
        current = await locked_head(work, head.incident_id)
        account = Detail(metadata=grounds.account(portion))
        await take(work, current, ErasePersonalData(), actor, {EntryKind.PERSONAL_DATA_ERASED: account})
    await follow_ups.forget_owners(work.tx, head.incident_id)
    for pages in await erasure.pages_about(work.tx, head.incident_id):
        about = await locked_head(work, pages.incident_id)
        await erasure.rewrite_pages(work.tx, pages, await paging.page_text(work, Subject.of(about), pages.reason))
    await erasure.forget_answers_about(work.tx, head.incident_id)


async def _write_leaves(work: Work, actor: Actor, named: Sequence[Mapping[str, object]], grounds: Grounds) -> None:
    """The same for what belongs to no incident: its account is a leaf of the log."""
    for portion in portions(dict(item) for item in named):
        leaf = Erasure(str(actor.user_id), actor.role.value, time_text(work.now), grounds.account(portion))
        await log.await_leaf(work.tx, LeafKind.ERASURE, leaf.encode(), work.now)
