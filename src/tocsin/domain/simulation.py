"""Simulation: what an incident's policy would do, played on a virtual clock by the very decisions of the real thing.

Timers come from `tocsin.domain.escalation`, who is paged from `tocsin.domain.paging`. What is here is the clock and the
record that the database keeps otherwise. Nothing is read and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from tocsin.domain import delivery
from tocsin.domain.escalation import (
    Answer,
    Held,
    Silenced,
    Terms,
    Timer,
    after,
    answered,
    due,
    moot,
    opening,
    release_name,
    still_held,
    timers,
)
from tocsin.domain.incident import Severity, Status
from tocsin.domain.paging import Asked, Because, Decision, Directory, decide, spare
from tocsin.domain.policy import Policy
from tocsin.domain.reach import Planned
from tocsin.domain.silence import Silence, SilenceFacts, holding
from tocsin.domain.workflow import Acknowledge, IncidentState, RecordRootCause, Resolve

MAX_PLAYED = 1_000
"""Steps that are played; a short lease alone would make more in the longest time."""
MAX_TIME = timedelta(days=60)
_SINCE: dict[type[Answer], str] = {
    Acknowledge: "acknowledged_at",
    RecordRootCause: "root_cause_at",
    Resolve: "closed_at",
}
"""What each answer is the time of. An incident that is resolved here is closed with it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What somebody does about the incident, and when."""

    at: datetime
    action: Answer
    by: UUID


@dataclass(frozen=True, slots=True)
class Scenario:
    """The incident that is played, what is done about it in what order, and until when to look."""

    facts: SilenceFacts
    created_at: datetime
    until: datetime
    answers: tuple[Answered, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The configuration, as it was when somebody asked."""

    policy: Policy
    directory: Directory
    silences: Sequence[Silence]
    block_sessions_after: timedelta | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the incident stands after an instant, as far as pages that are not sent yet depend on it."""

    since: datetime
    acknowledged_at: datetime | None = None
    root_cause_at: datetime | None = None
    closed_at: datetime | None = None
    progressed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is owed, and how its incident stands when it is due."""

    planned: Planned
    reason: str
    created_at: datetime
    due_at: datetime
    standing: Standing

    @property
    def acknowledged_at(self) -> datetime | None:
        """Return when the incident was acknowledged."""
        return self.standing.acknowledged_at

    @property
    def root_cause_at(self) -> datetime | None:
        """Return when its root cause was recorded."""
        return self.standing.root_cause_at

    @property
    def closed_at(self) -> datetime | None:
        """Return when it was closed."""
        return self.standing.closed_at

    @property
    def progressed_at(self) -> datetime | None:
        """Return when a person last did something about it."""
        return self.standing.progressed_at

    @property
    def cancelled_because(self) -> str | None:
        """Return why it is not sent when it is due; None: it is."""
        return delivery.moot(self)


@dataclass(frozen=True, slots=True)
class Played:
    """A step that was taken or became moot (`answer` made it so), with its decisions; `asked` is None where sessions
    are blocked. What was decided on a candidate before stands: it is not among these."""

    at: datetime
    asked: Asked | None
    decisions: tuple[Decision, ...] = ()
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """Everything that was played, in its order; `cut_off`: there was more than MAX_PLAYED of it."""

    played: tuple[Played, ...]
    standings: tuple[Standing, ...]
    cut_off: bool

    def pages(self, played: Played, decision: Decision) -> Iterator[Page]:
        """Give what somebody is sent of a step. What happens at the instant at which a page is due comes after it."""
        if played.asked is None:
            return
        for planned in decision.plan:
            due_at = played.at + planned.after
            standing = next(one for one in reversed(self.standings) if one.since < due_at or one is self.standings[0])
            yield Page(planned, played.asked.reason, played.at, due_at, standing)


def play(scenario: Scenario, snapshot: Snapshot) -> Simulation:
    """Play an incident to the end of its time. What is done at the instant of a timer comes after the timer."""
    run = _Run(scenario, snapshot, _reported(scenario.facts), [Standing(scenario.created_at)])
    run.ask(scenario.created_at, opening(snapshot.policy))
    answers = [one for one in scenario.answers if one.at <= scenario.until]
    while len(run.played) < MAX_PLAYED:
        waiting = timers(run.state, scenario.created_at, run.terms())
        timer_at = max(waiting[0].due_at, scenario.created_at) if waiting else None
        if answers and (timer_at is None or answers[0].at < timer_at):
            run.answer(answers.pop(0))
        elif timer_at is not None and timer_at <= scenario.until:
            run.look(timer_at)
        else:
            break
    return Simulation(tuple(run.played[:MAX_PLAYED]), tuple(run.standings), len(run.played) >= MAX_PLAYED)


def _reported(facts: SilenceFacts) -> IncidentState:
    return IncidentState(0, Status.REPORTED, Severity(facts.severity), service=facts.service)


@dataclass(slots=True)
class _Run:
    """The state of one play: where the incident stands, and what is on record."""

    scenario: Scenario
    snapshot: Snapshot
    state: IncidentState
    standings: list[Standing]
    played: list[Played] = field(default_factory=list)
    _decided: set[tuple[str, UUID | None]] = field(default_factory=set)
    _silenced: list[tuple[str, Decision]] = field(default_factory=list)

    def terms(self) -> Terms:
        """Return what decides, besides its state, when the incident gets louder."""
        return Terms(self.snapshot.policy, self.snapshot.block_sessions_after, self._held())

    def look(self, at: datetime) -> None:
        """Fire every timer that is due at an instant."""
        for timer in due(self.state, self.scenario.created_at, self.terms(), at):
            self._fire(timer, at)

    def answer(self, one: Answered) -> None:
        """Let somebody do something, and note which steps that makes moot."""
        name = self.snapshot.directory.people[one.by].name
        self.state = answered(self.state, one.action, one.by, name, one.at)
        changed = {_SINCE[type(one.action)]: one.at}
        self.standings.append(replace(self.standings[-1], since=one.at, progressed_at=one.at, **changed))
        for step in moot(self.state, self.snapshot.policy):
            spared = spare(step.asked, self.snapshot.directory, one.at, step.because, one.by)
            self._record(one.at, step.asked, spared, one.action)

    def ask(self, at: datetime, asked: Asked) -> None:
        """Decide on the candidates of a step."""
        hold = holding(self.snapshot.silences, self.scenario.facts, at)
        self._record(at, asked, decide(asked, self.snapshot.directory, at, hold=hold))

    def _fire(self, timer: Timer, at: datetime) -> None:
        if timer.asked is None:
            self.played.append(Played(at, None))
        else:
            self.ask(at, timer.asked)
        self.state = after(self.state, timer, at)

    def _record(self, at: datetime, asked: Asked, decisions: Sequence[Decision], answer: Answer | None = None) -> None:
        """Put decisions on record: of one step and candidate the first stands."""
        new = [one for one in decisions if (asked.name, one.user_id) not in self._decided]
        self._decided |= {(asked.name, one.user_id) for one in new}
        self._silenced += [(asked.reason, one) for one in new if one.because is Because.SILENCED]
        if new or answer is None:
            self.played.append(Played(at, asked, tuple(new), answer))

    def _held(self) -> tuple[Held, ...]:
        ends_at = {silence.id: silence.ends_at for silence in self.snapshot.silences}
        names = {name for name, _ in self._decided}
        return still_held(
            [
                Silenced(
                    one.silence_id, ends_at[one.silence_id], one.user_id, reason, release_name(one.silence_id) in names
                )
                for reason, one in self._silenced
                if one.silence_id is not None and one.user_id is not None
            ]
        )
