"""The workflow stands twice, in Python and in PostgreSQL: over generated lives of incidents, both always agree.

Every action at every stage, and generated lives beyond that. Each action is put three times: to `decide`; to the
database, as rows that somebody writes by hand without asking `decide` (and that are taken back again); and to the use
case. All three accept, or all three refuse. After each, the head in the database, the fold of `evolve` and the replay
of the recorded timeline are the same state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.support.by_hand import ByHand, connected
from tests.support.clock import FakeClock
from tests.support.lives import FOLLOW_UPS, LESSONS, actor_of, application
from tests.support.servers import Server
from tocsin.app import escalate, respond
from tocsin.app.accounts import first_start
from tocsin.app.open_incident import open_by_hand
from tocsin.app.timeline import Detail, locked_head, take
from tocsin.app.verify import verify_database
from tocsin.app.work import App, Work
from tocsin.domain import workflow
from tocsin.domain.access import Actor
from tocsin.domain.follow_up import FollowUpAction
from tocsin.domain.incident import EscalationReason, RootCauseCategory, Severity, Status
from tocsin.domain.timeline import EntryKind
from tocsin.domain.workflow import (
    Acknowledge,
    AcknowledgeEscalation,
    Acknowledgment,
    Action,
    AddNote,
    BlockSessions,
    ChangeSeverity,
    Close,
    Escalate,
    HoldPages,
    IncidentState,
    LapseAcknowledgment,
    RaiseSeverity,
    ReceiveSignal,
    RecordRootCause,
    Resolve,
    StartInvestigation,
    Step,
    evolve,
)
from tocsin.errors import Refusal, TocsinError
from tocsin.store import incidents
from tocsin.store.database import GuardRefusedError

ADA = "ada@example.org"
Written = list[tuple[str, dict[str, Any]]]
"""Steps as somebody writes them by hand: their names, and the columns in which they differ."""
BY_NOBODY = (BlockSessions, HoldPages, LapseAcknowledgment, RaiseSeverity, ReceiveSignal)
TIMED = [reason for reason in EscalationReason if reason.name.startswith("NO_")]

BY_THE_CLOCK = [*TIMED, EscalationReason.POLICY_STEP]


@dataclass(frozen=True, slots=True)
class World:
    """A wired application, and a second person with SQL access to its database."""

    run: Callable[[Awaitable[Any]], Any]
    app: App
    clock: FakeClock
    ada: Actor
    hand: ByHand

    def work(self, do: Callable[[Work], Awaitable[Any]], *, streaming: bool = False) -> Any:
        """Run something in a unit of work."""

        async def run() -> Any:
            async with self.app.work(streaming=streaming) as work:
                return await do(work)

        return self.run(run())


@pytest.fixture
def world(server: Server, database_name: str) -> Iterator[World]:
    """A database of its own, in which Ada is superadmin and everything else."""
    clock = FakeClock()
    with asyncio.Runner() as runner, connected(server, database_name, user="tocsin_app") as connection:
        stack = AsyncExitStack()
        run: Callable[[Any], Any] = runner.run
        app = run(stack.enter_async_context(application(server, database_name, clock)))

        async def start() -> Actor:
            async with app.work() as work:
                await first_start(work)
            return await actor_of(app, ADA)

        ada = run(start())
        yield World(run, app, clock, ada, ByHand(connection, ada.user_id))
        run(stack.aclose())


class Lives(RuleBasedStateMachine):
    """One incident and whatever people, clocks and worse reports do to it."""

    world: World

    @initialize(severity=st.sampled_from(Severity), walk=st.integers(0, 5))
    def open(self, severity: Severity, walk: int) -> None:
        """Open an incident and take it some steps forward, so that the late states are seen as often as the early."""
        self.id: UUID = self.world.work(
            lambda work: open_by_hand(work, self.world.ada, severity=severity, title="It broke", description="")
        )
        number = self.world.hand.head(self.id)["number"]
        self.state = IncidentState(number, Status.REPORTED, severity, lease_from=self.world.clock.now)
        self.escalations: list[UUID] = []
        self.acknowledged: set[UUID] = set()
        steps = (self.acknowledge, self.investigate, self.find_cause)
        for step in steps[:walk]:
            step()
        if walk > 3:
            self.resolve(False, False)
        if walk > 4:
            self.close(True, True)

    # --- what can happen -------------------------------------------------------------------------------------

    @rule()
    def acknowledge(self) -> None:
        """Somebody takes the incident."""
        action = Acknowledge("On it")
        self._try(
            action, [("ACKNOWLEDGED", {})], lambda work: respond.acknowledge(work, self.world.ada, self.id, action)
        )

    @rule()
    def investigate(self) -> None:
        """Somebody starts the investigation."""
        by_hand: Written = [("INVESTIGATION_STARTED", {})]
        ada = self.world.ada
        self._try(StartInvestigation(), by_hand, lambda work: respond.start_investigation(work, ada, self.id))

    @rule()
    def find_cause(self) -> None:
        """Somebody records a root cause."""
        action = RecordRootCause("Too small a pool", RootCauseCategory.CONFIGURATION, "Raised it")
        by_hand: Written = [("ROOT_CAUSE_RECORDED", {})]
        if self.world.hand.head(self.id)["status"] == "ACKNOWLEDGED":
            by_hand.insert(0, ("INVESTIGATION_STARTED", {}))
        self._try(action, by_hand, lambda work: respond.record_root_cause(work, self.world.ada, self.id, action))

    @rule(lessons=st.booleans(), follow_ups=st.booleans())
    def resolve(self, lessons: bool, follow_ups: bool) -> None:
        """Somebody resolves, with or without what is needed for closing."""
        action = Resolve("Mended", lessons_learned=_lessons(lessons), follow_up_actions=_follow_ups(follow_ups))
        by_hand: Written = [("RESOLVED", {})]
        if lessons and follow_ups:
            by_hand = [("RESOLVED with lessons", {}), ("CLOSED without closure", {})]
        self._try(action, by_hand, lambda work: respond.resolve(work, self.world.ada, self.id, action))

    @rule(lessons=st.booleans(), follow_ups=st.booleans())
    def close(self, lessons: bool, follow_ups: bool) -> None:
        """Somebody closes, saying what was not said before, or not."""
        action = Close(_lessons(lessons), _follow_ups(follow_ups))
        documents = [each.document() for each in action.follow_up_actions or self.state.follow_up_actions]
        said: dict[str, object] = {
            "lessons_learned": action.lessons_learned or self.state.lessons_learned,
            "follow_up_actions": documents or None,
        }
        self._try(
            action, [("CLOSED", {"detail": said})], lambda work: respond.close(work, self.world.ada, self.id, action)
        )

    @rule()
    def note(self) -> None:
        """Somebody adds a note."""
        action = AddNote("Customers know")
        self._try(action, [("NOTE_ADDED", {})], lambda work: respond.add_note(work, self.world.ada, self.id, action))

    @rule()
    def signal(self) -> None:
        """Another system says something of the failure."""
        self._try(ReceiveSignal(), [("SIGNAL_RECEIVED", {})], self._take_signal)

    async def _take_signal(self, work: Work) -> None:
        await take(work, await locked_head(work, self.id), ReceiveSignal(), None, {})

    @rule(to=st.sampled_from(Severity))
    def change_severity(self, to: Severity) -> None:
        """Somebody says that it is worse, or less bad."""
        action = ChangeSeverity(to, "Looked closer")
        metadata = {"from": self.state.severity.value, "to": to.value}
        by_hand: Written = [("SEVERITY_CHANGED by a person", {"metadata": metadata})]
        self._try(action, by_hand, lambda work: escalate.change_severity(work, self.world.ada, self.id, action))

    @rule(to=st.sampled_from(Severity))
    def worse_report(self, to: Severity) -> None:
        """A report joins, perhaps a worse one."""
        metadata = {"from": self.state.severity.value, "to": to.value}
        by_hand: Written = [("SEVERITY_CHANGED up by the system", {"metadata": metadata})]
        self._try(RaiseSeverity(to), by_hand, lambda work: escalate.raise_severity(work, self.id, to))

    @rule(reason=st.sampled_from(TIMED))
    def clock_strikes(self, reason: EscalationReason) -> None:
        """A timer fires, perhaps one that should not."""
        action = Escalate(reason)

        async def fire(work: Work) -> None:
            detail = self._escalation(work, reason, {})
            await take(work, await locked_head(work, self.id), action, None, {EntryKind.ESCALATED: detail})

        self._try(action, [(f"ESCALATED {reason.value}", {})], fire)

    @rule(step=st.sampled_from(["0.1/p", "1.1/p"]))
    def policy_asks_the_next(self, step: str) -> None:
        """A further step of a policy is taken, perhaps once more, or too late."""
        action = Escalate(EscalationReason.POLICY_STEP, step=step)

        async def fire(work: Work) -> None:
            detail = self._escalation(work, EscalationReason.POLICY_STEP, {"step": step})
            await take(work, await locked_head(work, self.id), action, None, {EntryKind.ESCALATED: detail})

        self._try(action, [("ESCALATED POLICY_STEP", {"metadata": {"step": step}})], fire)

    @rule()
    def acknowledgment_lapses(self) -> None:
        """The clock says that nothing was heard for too long, perhaps where nobody has acknowledged."""
        self._by_the_clock(LapseAcknowledgment(), "ACKNOWLEDGMENT_LAPSED")

    @rule()
    def pages_are_held(self) -> None:
        """A silence holds pages back, perhaps of a closed incident."""
        self._by_the_clock(HoldPages(), "PAGES_HELD")

    def _by_the_clock(self, action: Action, name: str) -> None:
        async def fire(work: Work) -> None:
            await take(work, await locked_head(work, self.id), action, None, {})

        self._try(action, [(name, {})], fire)

    def _escalation(self, work: Work, reason: EscalationReason, said: dict[str, object]) -> Detail:
        columns = {
            "id": work.new_id(),
            "incident_id": self.id,
            "escalation_reason": reason.value,
            "escalated_to_user_id": self.world.ada.user_id,
            "escalated_by_user_id": None,
            "escalation_notes": "",
            "escalated_at": work.now,
        }
        return Detail("incident_escalations", columns, said)

    @rule()
    def ask_for_help(self) -> None:
        """Somebody escalates by hand."""
        action = Escalate(EscalationReason.MANUAL_ESCALATION, "Help")

        async def ask(work: Work) -> None:
            self.escalations.append(await escalate.escalate_by_hand(work, self.world.ada, self.id, ADA, action))

        self._try(action, [("ESCALATED MANUAL_ESCALATION", {})], ask)

    @rule(data=st.data())
    def answer_for_help(self, data: st.DataObject) -> None:
        """The one who was asked says that it arrived, perhaps twice."""
        if self.escalations:
            self.answer(data.draw(st.sampled_from(self.escalations)))

    def answer(self, escalation_id: UUID) -> None:
        """Say of one escalation that it arrived."""
        said_at = self.world.clock.now if escalation_id in self.acknowledged else None
        action = AcknowledgeEscalation(self.world.ada.user_id, self.world.ada.user_id, said_at)

        async def answer(work: Work) -> None:
            await escalate.acknowledge_escalation(work, self.world.ada, self.id, escalation_id)
            self.acknowledged.add(escalation_id)

        by_hand: Written = [("ESCALATION_ACKNOWLEDGED", {"detail": {"escalation_id": escalation_id}})]
        self._try(action, by_hand, answer)

    @rule()
    def block_sessions(self) -> None:
        """The clock wants to block sessions."""

        async def block(work: Work) -> None:
            await take(work, await locked_head(work, self.id), BlockSessions(), None, {})

        self._try(BlockSessions(), [("SESSIONS_BLOCKED", {})], block)

    # --- how it is judged ------------------------------------------------------------------------------------

    def _try(
        self,
        action: Action,
        by_hand: Written,
        use_case: Callable[[Work], Awaitable[object]],
    ) -> None:
        self.world.clock.forward(seconds=1)
        decision = workflow.decide(self.state, action)
        steps = () if isinstance(decision, Refusal) else decision
        refusal = self._by_hand(by_hand)
        assert bool(steps) == (refusal == ""), f"decide says {decision}, the database says {refusal or 'yes'}"
        if isinstance(decision, Refusal):
            with pytest.raises(TocsinError) as caught:
                self.world.work(use_case)
            assert caught.value.refusal == decision
        else:
            try:
                self.world.work(use_case)
            except GuardRefusedError as refused:
                raise AssertionError(f"decide says {decision}, the database says {refused}") from refused
        for step in steps:
            self.state = _with_facts(evolve(self.state, step), step, action, self.world)
        assert self._head() == self.state
        assert self._replayed() == (self.state.status, self.state.severity, self.state.has_root_cause)

    def _by_hand(self, names: Written) -> str:
        try:
            with self.world.hand.connection.transaction():
                for name, overrides in names:
                    self.world.hand.step(self.id, name, **overrides)
                raise psycopg.Rollback
        except psycopg.Error as error:
            return error.sqlstate or "unknown"
        return ""

    def _head(self) -> IncidentState:
        async def read(work: Work) -> IncidentState:
            return (await locked_head(work, self.id)).state()

        state: IncidentState = self.world.work(read)
        return state

    def _replayed(self) -> tuple[Status, Severity, bool]:
        entries = self.world.work(lambda work: incidents.timeline(work.tx, self.id))
        row = self.world.hand.connection.execute("SELECT severity FROM incidents WHERE id = %s", [self.id]).fetchone()
        assert row is not None
        severities = [entry.metadata["to"] for entry in entries if entry.event_type == EntryKind.SEVERITY_CHANGED]
        kinds = [entry.event_type for entry in entries]
        assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
        return (
            Status(entries[-1].status_after),
            Severity([row["severity"], *severities][-1]),
            EntryKind.ROOT_CAUSE_RECORDED.value in kinds,
        )


def _lessons(said: bool) -> str | None:
    return LESSONS if said else None


def _follow_ups(said: bool) -> tuple[FollowUpAction, ...]:
    return FOLLOW_UPS if said else ()


def _with_facts(state: IncidentState, step: Step, action: Action, world: World) -> IncidentState:
    """Add what came with the action, as the rows that were written tell it."""
    if not isinstance(action, BY_NOBODY) and getattr(action, "reason", None) not in BY_THE_CLOCK:
        state = replace(state, lease_from=world.clock.now, lapses=0)
    if isinstance(action, LapseAcknowledgment):
        return replace(state, lease_from=world.clock.now, lapses=state.lapses + 1)
    if isinstance(action, Escalate) and action.step:
        return replace(state, fired_steps=state.fired_steps | {action.step})
    if isinstance(action, Acknowledge):
        return replace(state, acknowledgment=Acknowledgment(world.ada.user_id, world.ada.name, world.clock.now))
    if isinstance(action, Resolve):
        return replace(state, lessons_learned=action.lessons_learned, follow_up_actions=action.follow_up_actions)
    if isinstance(action, Escalate) and action.reason in TIMED:
        return replace(state, fired=state.fired | {action.reason})
    return state


def live(world: World, *, lives: int, steps: int) -> None:
    """Let incidents live; raises what does not agree."""
    run_state_machine_as_test(
        type("Lives", (Lives,), {"world": world}),
        settings=settings(
            max_examples=lives,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            database=None,
            deadline=None,
        ),
    )


TRIALS: list[Callable[[Lives], None]] = [
    Lives.acknowledge,
    Lives.investigate,
    Lives.find_cause,
    *(partial(Lives.resolve, lessons=lessons, follow_ups=said) for lessons in (False, True) for said in (False, True)),
    *(partial(Lives.close, lessons=lessons, follow_ups=said) for lessons in (False, True) for said in (False, True)),
    Lives.note,
    Lives.signal,
    *(partial(Lives.change_severity, to=severity) for severity in Severity),
    *(partial(Lives.worse_report, to=severity) for severity in Severity),
    *(partial(Lives.clock_strikes, reason=reason) for reason in TIMED),
    partial(Lives.policy_asks_the_next, step="0.1/p"),
    Lives.acknowledgment_lapses,
    Lives.pages_are_held,
    Lives.ask_for_help,
    Lives.block_sessions,
]
"""Everything that can happen to an incident of which nothing else is known than its stage."""
STAGES = [(Severity.MEDIUM, 0), *((Severity.CRITICAL, stage) for stage in range(6))]


def at_every_stage(world: World) -> None:
    """Put every action to an incident at every stage, and once more what can happen only once; raises as `live`."""
    for severity, stage in STAGES:
        life = opened(world, severity, stage)
        for trial in TRIALS:
            before = life.state
            trial(life)
            if life.state is not before:
                trial(life)
                life = opened(world, severity, stage)
        life.ask_for_help()
        for escalation_id in life.escalations * 2:
            life.answer(escalation_id)


def opened(world: World, severity: Severity, stage: int) -> Lives:
    """Return an incident that was taken to a stage."""
    life = Lives()
    life.world = world
    life.open(severity, stage)
    return life


@pytest.mark.slow
def test_python_and_the_database_agree_on_every_action_at_every_stage(world: World) -> None:
    at_every_stage(world)
    assert world.work(verify_database, streaming=True).findings == []


def test_python_and_the_database_agree_on_every_life(world: World) -> None:
    live(world, lives=8, steps=15)
    assert world.work(verify_database, streaming=True).findings == []


@pytest.mark.slow
def test_python_and_the_database_agree_on_many_long_lives(world: World) -> None:
    live(world, lives=40, steps=30)
    assert world.work(verify_database, streaming=True).findings == []


def _always(*kinds_and_statuses: tuple[EntryKind, Status]) -> Callable[..., tuple[Step, ...]]:
    return lambda state, _: tuple(Step(kind, status, state.severity) for kind, status in kinds_and_statuses)


BROKEN_RULES: dict[type, Callable[..., tuple[Step, ...]]] = {
    Acknowledge: _always((EntryKind.ACKNOWLEDGED, Status.ACKNOWLEDGED)),
    StartInvestigation: _always((EntryKind.INVESTIGATION_STARTED, Status.INVESTIGATING)),
    RecordRootCause: _always((EntryKind.ROOT_CAUSE_RECORDED, Status.INVESTIGATING)),
    Resolve: _always((EntryKind.RESOLVED, Status.RESOLVED)),
    Close: _always((EntryKind.CLOSED, Status.CLOSED)),
    LapseAcknowledgment: lambda state, _: (Step(EntryKind.ACKNOWLEDGMENT_LAPSED, state.status, state.severity),),
    HoldPages: lambda state, _: (Step(EntryKind.PAGES_HELD, state.status, state.severity),),
    BlockSessions: lambda state, _: (Step(EntryKind.SESSIONS_BLOCKED, state.status, state.severity),),
    Escalate: lambda state, _: (Step(EntryKind.ESCALATED, state.status, state.severity),),
    AcknowledgeEscalation: lambda state, _: (Step(EntryKind.ESCALATION_ACKNOWLEDGED, state.status, state.severity),),
    ChangeSeverity: lambda state, action: (Step(EntryKind.SEVERITY_CHANGED, state.status, action.to),),
    RaiseSeverity: lambda state, action: (Step(EntryKind.SEVERITY_CHANGED, state.status, action.to),),
}


@pytest.mark.slow
@pytest.mark.parametrize("action", BROKEN_RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_is_lost_in_python_is_noticed(world: World, action: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(workflow._RULES, action, BROKEN_RULES[action])
    with pytest.raises(AssertionError, match="the database says"):
        at_every_stage(world)


@pytest.mark.slow
def test_a_rule_that_is_lost_in_the_database_is_noticed(server: Server, world: World, database_name: str) -> None:
    with connected(server, database_name) as superuser:
        definition = superuser.execute("SELECT pg_get_functiondef('allowed_status_after'::regproc) AS text").fetchone()
        assert definition is not None
        lost = definition["text"].replace("AND has_root_cause THEN 'RESOLVED'", "THEN 'RESOLVED'")
        assert lost != definition["text"]
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute(lost)
    with pytest.raises(AssertionError, match="the database says yes"):
        at_every_stage(world)
