"""Paging: who of those whom a step might reach is paged, over what and after how long, and why the others are not.

Each candidate of a step has exactly one decision. A step that reaches nobody does not wait for the next one: those whom
the next steps are for are asked at once, and at last the superadmins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tocsin.domain.oncall import Schedule, on_call
from tocsin.domain.policy import Duty, Target
from tocsin.domain.reach import Planned, Reach, plan
from tocsin.domain.silence import Silence

MAX_VIA_CHARACTERS = 500


class Because(StrEnum):
    """Why a candidate was paged, or not. Of several reasons for one person, the first of this list counts."""

    PAGED = "PAGED"
    SILENCED = "SILENCED"
    """A silence or a maintenance window holds the page back until its end."""
    IN_STORM = "IN_STORM"
    """The incident is one of a storm, which is paged as one."""
    NO_CONTACT_METHOD = "NO_CONTACT_METHOD"
    """There is nothing to reach them over."""
    INACTIVE = "INACTIVE"
    """They are shut out."""
    OVERRIDDEN = "OVERRIDDEN"
    """It is their turn, and somebody else has taken it over."""
    NOT_ON_CALL = "NOT_ON_CALL"
    """It is not their turn."""
    ACKNOWLEDGED = "ACKNOWLEDGED"
    """Somebody acknowledged before the step was due."""
    ROOT_CAUSE_KNOWN = "ROOT_CAUSE_KNOWN"
    """The root cause was recorded before the step was due."""
    CLOSED = "CLOSED"
    """The incident was closed before the step was due."""
    NOBODY = "NOBODY"
    """The step's own targets reached nobody: the next ones were asked at once."""


_HELD = frozenset({Because.SILENCED, Because.IN_STORM})
_BEST_FIRST = {because: rank for rank, because in enumerate(Because)}


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a step is for. `name` is the step's in the record: each name has one set of decisions in an incident's life.

    `then` are the targets of the steps after it, for when nobody of its own can be reached. `spared` are candidates of
    whom it is known already why they are not paged.
    """

    name: str
    reason: str
    targets: tuple[Target, ...]
    then: tuple[tuple[Target, ...], ...] = ()
    policy_id: UUID | None = None
    spared: tuple[tuple[UUID, Because], ...] = ()
    superadmins_too: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """Everybody who can be paged, and what decides whether they are: schedules, who holds the duties, superadmins."""

    people: Mapping[UUID, Reach]
    schedules: Mapping[UUID, Schedule] = field(default_factory=dict)
    duties: Mapping[Duty, Target] = field(default_factory=dict)
    superadmins: tuple[UUID, ...] = ()

    def without(self, address: str) -> Directory:
        """Return the directory as it is for whom cannot be reached at this address."""
        return replace(self, people={user_id: _without(reach, address) for user_id, reach in self.people.items()})


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of one candidate (None: the step's own targets reached nobody), and why.

    `plan` says over what to send after how long; it is there exactly for whom is paged, and begins at once.
    """

    user_id: UUID | None
    via: str
    because: Because
    about_user_id: UUID | None = None
    silence_id: UUID | None = None
    until: datetime | None = None
    plan: tuple[Planned, ...] = ()

    @property
    def paged(self) -> bool:
        """Tell whether the candidate is paged."""
        return self.because is Because.PAGED


def decide(
    asked: Asked, directory: Directory, at: datetime, *, hold: Silence | None = None, in_storm: bool = False
) -> tuple[Decision, ...]:
    """Return what a step means for each of its candidates at an instant; each has exactly one decision.

    Where its own targets reach nobody, those of the next steps are asked in their order, at last the superadmins.
    """
    found: dict[UUID, Decision] = {}

    def ask(ways: Iterable[_Way]) -> bool:
        for way in ways:
            decision = _decided(way, directory.people[way.user_id], hold, in_storm)
            known = found.get(way.user_id)
            found[way.user_id] = _better(known, decision) if known else decision
        return any(decision.paged or decision.because in _HELD for decision in found.values())

    superadmins = [_Way(user_id, "superadmin") for user_id in directory.superadmins]
    reached = ask(_ways(asked.targets, directory, at))
    if asked.superadmins_too:
        reached = ask(superadmins)
    nobody = () if reached or not asked.targets else (Decision(None, _words(asked.targets, directory), Because.NOBODY),)
    if nobody:
        further = (_ways(targets, directory, at, "next step: ") for targets in asked.then)
        any(ask(ways) for ways in (*further, superadmins))
    spared = tuple(
        Decision(user_id, "held back before", because) for user_id, because in asked.spared if user_id not in found
    )
    return (*found.values(), *spared, *nobody)


def candidates(targets: Sequence[Target], directory: Directory, at: datetime) -> dict[UUID, str]:
    """Return everybody whom targets might reach, with how they come to be a candidate."""
    found: dict[UUID, list[str]] = {}
    for way in _ways(targets, directory, at):
        found.setdefault(way.user_id, []).append(way.via)
    return {user_id: _joined(vias) for user_id, vias in found.items()}


def spare(
    asked: Asked, directory: Directory, at: datetime, because: Because, about_user_id: UUID | None
) -> tuple[Decision, ...]:
    """Return the decisions of a step that is not taken any more: one for each candidate, or one for want of any."""
    found: list[tuple[UUID | None, str]] = [*candidates(asked.targets, directory, at).items()]
    if asked.targets and not found:
        found = [(None, _words(asked.targets, directory))]
    return tuple(Decision(user_id, via, because, about_user_id) for user_id, via in found)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way in which a step leads to somebody; `because` is why it does not just now (None: it does)."""

    user_id: UUID
    via: str
    because: Because | None = None
    about_user_id: UUID | None = None


def _ways(targets: Sequence[Target], directory: Directory, at: datetime, lead: str = "") -> Iterator[_Way]:
    for target in targets:
        if target.user_id is not None:
            yield _Way(target.user_id, f"{lead}by name")
        elif target.duty is None:
            yield from _of_schedule(target, directory, at, lead)
        elif holder := directory.duties.get(target.duty):
            yield from _of_duty(target.duty, holder, directory, at, lead)


def _of_duty(duty: Duty, holder: Target, directory: Directory, at: datetime, lead: str) -> Iterator[_Way]:
    if holder.user_id is not None:
        yield _Way(holder.user_id, f"{lead}duty {duty}")
    else:
        yield from _of_schedule(holder, directory, at, f"{lead}duty {duty}, ")


def _of_schedule(target: Target, directory: Directory, at: datetime, lead: str) -> Iterator[_Way]:
    schedule = directory.schedules[target.schedule_id] if target.schedule_id else None
    if schedule is None:
        return
    via = f"{lead}schedule {schedule.name}"
    now = on_call(schedule, at)
    by_turn = on_call(replace(schedule, overrides=()), at)
    yield from (_Way(user_id, via) for user_id in now)
    for member in dict.fromkeys(member for layer in schedule.layers for member in layer.members):
        if member not in now:
            because = Because.OVERRIDDEN if member in by_turn else Because.NOT_ON_CALL
            instead = [user_id for user_id in now if user_id not in by_turn] if member in by_turn else now
            yield _Way(member, via, because, next(iter(instead or now), None))


def _decided(way: _Way, reach: Reach, hold: Silence | None, in_storm: bool) -> Decision:
    if way.because is not None:
        return Decision(way.user_id, way.via[:MAX_VIA_CHARACTERS], way.because, way.about_user_id)
    planned = plan(reach)
    said = Decision(way.user_id, way.via[:MAX_VIA_CHARACTERS], Because.PAGED)
    if not reach.active:
        return replace(said, because=Because.INACTIVE)
    if not planned:
        return replace(said, because=Because.NO_CONTACT_METHOD)
    if in_storm:
        return replace(said, because=Because.IN_STORM)
    if hold is not None:
        return replace(said, because=Because.SILENCED, silence_id=hold.id, until=hold.ends_at)
    return replace(said, plan=planned)


def _better(one: Decision, other: Decision) -> Decision:
    """Return the decision that counts for somebody to whom two ways lead, with both where they say the same."""
    if one.because is other.because:
        return replace(one, via=_joined([*one.via.split("; "), other.via]))
    return min(one, other, key=lambda decision: _BEST_FIRST[decision.because])


def _joined(vias: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(vias))[:MAX_VIA_CHARACTERS]


def _words(targets: Sequence[Target], directory: Directory) -> str:
    """Return targets in words, without the names of people: those can be erased where they stand."""

    def word(target: Target) -> str:
        if target.user_id is not None:
            return "somebody by name"
        if target.duty is not None:
            return f"duty {target.duty}"
        schedule = directory.schedules.get(target.schedule_id) if target.schedule_id else None
        return f"schedule {schedule.name}" if schedule else "a schedule"

    return _joined([word(target) for target in targets])


def _without(reach: Reach, address: str) -> Reach:
    return replace(reach, methods=tuple(method for method in reach.methods if method.address != address))
