"""Takes a step: locks the incident, asks the workflow, writes the details and the entries it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from tocsin import ids
from tocsin.app.work import Work
from tocsin.domain.access import SYSTEM_ROLE, Actor
from tocsin.domain.timeline import EntryKind, split_particulars
from tocsin.domain.workflow import Action, IncidentState, Step, decide, evolve
from tocsin.errors import Code, Refusal, TocsinError, refuse
from tocsin.store import incidents, record
from tocsin.store.incidents import Head

IncidentRef = UUID | int
"""How people and programs name an incident: its id or its number."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last entry of a timeline, as the next one continues it. A head says so, too."""

    sequence: int
    checksum: bytes
    status: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What a step records besides its entry: a row of `table` (None: no row), and what the entry says itself.

    What of the latter may concern a person goes to the entry's column `personal`, by `timeline.PERSONAL`.
    """

    table: str | None = None
    columns: Mapping[str, object] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of an action: the steps, and the incident's head as it was before them."""

    head: Head
    steps: tuple[Step, ...]
    state: IncidentState

    def did(self, kind: EntryKind) -> bool:
        """Tell whether one of the steps was of this kind."""
        return any(step.kind is kind for step in self.steps)


async def locked_head(work: Work, ref: IncidentRef, *, with_failure: bool = False) -> Head:
    """Find an incident and lock its head (its failure before, if asked); raise NOT_FOUND."""
    number = ref if isinstance(ref, int) else None
    incident_id = await incidents.find(work.tx, incident_id=ref if isinstance(ref, UUID) else None, number=number)
    if incident_id is not None and with_failure:
        await incidents.lock_failure_of(work.tx, incident_id)
    head = await incidents.lock_head(work.tx, incident_id) if incident_id is not None else None
    if head is None:
        raise not_found(ref)
    return head


def not_found(ref: IncidentRef) -> TocsinError:
    """Return the refusal for an incident that does not exist."""
    name = f"INC-{ref}" if isinstance(ref, int) else str(ref)
    return refuse(Code.NOT_FOUND, f"There is no incident {name}.", "List them: `tocsin incidents list`.")


async def take(
    work: Work, head: Head, action: Action, actor: Actor | None, details: Mapping[EntryKind, Detail]
) -> Taken:
    """Take an action on a locked incident: every step it leads to, or a TocsinError with the workflow's reason."""
    state = head.state()
    decision = decide(state, action)
    if isinstance(decision, Refusal):
        raise TocsinError(decision)
    last = head
    for step in decision:
        checksum = await write_entry(work, last, step, actor, details.get(step.kind, Detail()))
        last = replace(last, sequence=last.sequence + 1, checksum=checksum, status=step.status_after.value)
        state = evolve(state, step)
    return Taken(head, decision, state)


async def write_entry(work: Work, last: Head, step: Step, actor: Actor | None, detail: Detail) -> bytes:
    """Write a step's detail and its entry after the last one; return the entry's checksum."""
    written = await record.write(work.tx, detail.table, detail.columns) if detail.table else None
    checksum = written.checksum if written else None
    columns = entry_columns(work, last.incident_id, last, step, actor, checksum, detail.metadata)
    return (await record.write(work.tx, "incident_lifecycle", columns)).checksum


def entry_columns(
    work: Work,
    incident_id: UUID,
    last: Head | Last | None,
    step: Step,
    actor: Actor | None,
    detail_checksum: bytes | None,
    metadata: Mapping[str, object],
) -> dict[str, object]:
    """Return the entry that comes after the last one (None: the first)."""
    facts, personal = split_particulars(step.kind, metadata)
    return {
        "id": work.new_id(),
        "incident_id": incident_id,
        "sequence": last.sequence + 1 if last else 1,
        "previous_checksum": last.checksum if last else None,
        "event_type": step.kind.value,
        "status_before": last.status if last else None,
        "status_after": step.status_after.value,
        "actor_user_id": actor.user_id if actor else None,
        "actor_role": actor.role.value if actor else SYSTEM_ROLE,
        "detail_checksum": detail_checksum,
        "metadata": facts,
        "personal": personal,
        "event_at": work.now,
        "nonce": ids.new_nonce(),
    }
