"""Taking in: the quick way and the careful way agree with the rules, nothing is counted twice, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.conftest import Tables, with_settings
from tests.app.test_report_errors import closed
from tests.support.clock import START, FakeClock
from tests.support.lives import error_report
from tocsin import ids
from tocsin.app import maintain, take_in
from tocsin.app.erase import Grounds, Reports, erase_reports
from tocsin.app.projects import add_project, rules_of
from tocsin.app.report_errors import Accepted, Item, take_in_carefully
from tocsin.app.samples import QUIET_SECONDS, STALE_SECONDS
from tocsin.app.take_in import Intake
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor
from tocsin.domain.arrival import Arrival
from tocsin.domain.deduplication import LatestIncident, Outcome, judge
from tocsin.domain.incident import Severity, Status
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport, Signal
from tocsin.errors import Code, refuse
from tocsin.store import reports

pytestmark = pytest.mark.anyio

WINDOW = timedelta(minutes=1)
LEDGER = "SELECT measure, sum(quantity)::int FROM intake_ledger WHERE project_id = %s GROUP BY measure"


# --- the rules, once more, in plain Python ---------------------------------------------------------------------


@dataclass(slots=True)
class Incident:
    """An incident as the model knows it."""

    latest: LatestIncident
    occurrences: int = 1
    signals: list[Signal] = field(default_factory=list)


@dataclass(slots=True)
class Model:
    """What a project's incidents and its ledger should be: reports are judged one after the other."""

    project: Project
    incidents: list[Incident] = field(default_factory=list)
    last: dict[str, Incident] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    ledger: Counter[str] = field(default_factory=Counter)

    def take_in(self, report: ErrorReport, now: Any) -> Outcome:
        """Say what becomes of a report, and take note of it."""
        outcome = self._judged(report, now)
        self.known.add(report.event_id)
        self.ledger["received"] += 1
        self.ledger[outcome.value] += 1
        incident = self.last.get(report.error_type)
        if outcome is Outcome.OPENED:
            latest = LatestIncident(ids.new_id(), Status.REPORTED, report.severity, now)
            self.last[report.error_type] = Incident(latest)
            self.incidents.append(self.last[report.error_type])
        elif outcome is Outcome.JOINED and incident is not None:
            self._join(incident, report)
        return outcome

    def _judged(self, report: ErrorReport, now: Any) -> Outcome:
        if report.event_id in self.known:
            return Outcome.DUPLICATE
        incident = self.last.get(report.error_type)
        return judge(
            report.severity,
            incident.latest if incident else None,
            now,
            window=self.project.dedup_window,
            threshold=self.project.incident_threshold,
            signal=report.signal is not None,
        )

    def _join(self, incident: Incident, report: ErrorReport) -> None:
        if report.signal is not None:
            if incident.signals[-1:] != [report.signal]:
                incident.signals.append(report.signal)
            return
        incident.occurrences += 1
        if report.severity.rank > incident.latest.severity.rank:
            incident.latest = replace(incident.latest, severity=report.severity)

    def close(self, failure: str) -> None:
        """Take the last incident of a failure to its end."""
        incident = self.last[failure]
        incident.latest = replace(incident.latest, status=Status.CLOSED)

    def told(self) -> list[tuple[str, str, int, list[str]]]:
        """Return what the database should say of each incident, in their order."""
        return [
            (one.latest.status.value, one.latest.severity.value, one.occurrences, [str(said) for said in one.signals])
            for one in self.incidents
        ]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a history: a report, or the end of the failure's incident, or a pause, or a fold of the counters."""

    kind: str
    failure: str
    severity: Severity
    event_id: str | None
    signal: Signal | None
    pause: timedelta


# Few failures and few events, so that what is rare in life happens in every history.
STEPS = st.builds(
    Step,
    st.sampled_from([*["report"] * 7, "close", "close", "wait", "fold"]),
    st.sampled_from(["A", "A", "A", "B"]),
    st.sampled_from(Severity),
    st.sampled_from([None, None, None, "e1", "e2"]),
    st.sampled_from([None, None, None, *Signal]),
    st.sampled_from([timedelta(seconds=1), WINDOW - timedelta(seconds=1), WINDOW]),
)
THRESHOLDS = st.sampled_from([Severity.LOW, Severity.MEDIUM, Severity.HIGH])
WINDOWS = st.sampled_from([timedelta(0), WINDOW])


@dataclass(slots=True)
class Way:
    """One way to take reports in, with a project of its own."""

    app: App
    admin: Actor
    tables: Tables
    model: Model
    intake: Intake | None

    async def take_in(self, report: ErrorReport) -> None:
        """Take in a report, and compare what became of it."""
        arrival = Arrival.of(report)
        if self.intake is not None:
            (accepted,) = await self.intake.take_in(self.model.project, [arrival], "test")
        else:
            async with self.app.work() as work:
                item = Item(self.model.project, arrival, ids.new_id(), "test")
                (accepted,) = await take_in_carefully(work, [item])
        expected = self.model.take_in(report, self.app.clock())
        assert (accepted.event_id, accepted.outcome) == (report.event_id, expected)

    async def close(self, failure: str) -> None:
        """Close the last incident of a failure, if it is open."""
        incident = self.model.last.get(failure)
        if incident is None or incident.latest.status is Status.CLOSED:
            return
        query = (
            "SELECT s.id FROM current_incident_status s JOIN incidents i USING (id)"
            " WHERE s.project_id = %s AND i.title LIKE %s ORDER BY s.number DESC LIMIT 1"
        )
        incident_id = self.tables.value(query, self.model.project.id, f"{failure}:%")
        await closed(self.app, self.admin, incident_id)
        self.model.close(failure)

    def compare(self) -> None:
        """Compare everything with the model."""
        found = self.tables.rows(
            "SELECT status, current_severity, occurrences, ARRAY(SELECT metadata ->> 'signal' FROM incident_lifecycle l"
            " WHERE l.incident_id = s.id AND event_type = 'SIGNAL_RECEIVED' ORDER BY sequence)"
            " FROM current_incident_status s WHERE project_id = %s ORDER BY number",
            self.model.project.id,
        )
        assert found == self.model.told()
        assert dict(self.tables.rows(LEDGER, self.model.project.id)) == +self.model.ledger


@dataclass(frozen=True, slots=True)
class World:
    """A database in which histories take place, each in projects of its own."""

    app: App
    admin: Actor
    tables: Tables
    clock: FakeClock

    async def way(self, threshold: Severity, window: timedelta, *, quick: bool) -> Way:
        """Return a way with a new project."""
        async with self.app.work() as work:
            project_id, _ = await add_project(work, self.admin, ids.new_id().hex)
            project = await rules_of(work, project_id)
        project = replace(project, incident_threshold=threshold, dedup_window=window)
        return Way(self.app, self.admin, self.tables, Model(project), Intake(self.app) if quick else None)

    async def live(self, history: list[Step], threshold: Severity, window: timedelta) -> None:
        """Live through a history in both ways."""
        ways = [await self.way(threshold, window, quick=quick) for quick in (True, False)]
        for number, step in enumerate(history):
            if step.kind == "wait":
                self.clock.now += step.pause
            elif step.kind == "fold":
                async with self.app.work() as work:
                    await maintain.fold_counters(work)
            for way in ways:
                if step.kind == "report":
                    report = error_report(step.failure, step.severity, event_id=step.event_id or f"fresh-{number}")
                    await way.take_in(msgspec.structs.replace(report, signal=step.signal))
                elif step.kind == "close":
                    await way.close(step.failure)
        for way in ways:
            if way.intake is not None:
                await way.intake.close()
            way.compare()


@pytest.fixture
def world(app: App, admin: Actor, tables: Tables, clock: FakeClock) -> World:
    """A database without storms: they page differently, and judge alike."""
    return World(with_settings(app, storm_threshold=10_000), admin, tables, clock)


_SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=_SUPPRESSED, database=None)
@given(history=st.lists(STEPS, min_size=20, max_size=40), threshold=THRESHOLDS, window=WINDOWS)
async def test_both_ways_do_with_every_report_what_the_rules_say(
    world: World, history: list[Step], threshold: Severity, window: timedelta
) -> None:
    await world.live(history, threshold, window)


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=_SUPPRESSED, database=None)
@given(history=st.lists(STEPS, min_size=40, max_size=60), threshold=THRESHOLDS, window=WINDOWS)
async def test_both_ways_agree_over_many_long_histories(
    world: World, history: list[Step], threshold: Severity, window: timedelta
) -> None:
    await world.live(history, threshold, window)


# --- many at once ----------------------------------------------------------------------------------------------


@pytest.fixture
async def project(app: App) -> Project:
    """Project 1."""
    async with app.work() as work:
        return await rules_of(work, 1)


@pytest.fixture
async def intake(app: App) -> AsyncIterator[Intake]:
    """The intake of one process, closed in the end."""
    made = Intake(app)
    yield made
    await made.close()


async def take(intake: Intake, project: Project, *batch: ErrorReport) -> list[Accepted]:
    """Take in the reports of one request."""
    return await intake.take_in(project, [Arrival.of(report) for report in batch], "test")


def outcomes(answers: Iterable[list[Accepted]]) -> Counter[Outcome]:
    """Count what became of the reports of many requests."""
    return Counter(one.outcome for answer in answers for one in answer)


async def test_many_processes_open_one_incident_and_count_exactly(app: App, project: Project, tables: Tables) -> None:
    intakes = [Intake(app) for _ in range(4)]
    requests = [take(intakes[number % 4], project, error_report(), error_report()) for number in range(100)]
    answers = await asyncio.gather(*requests)
    for one in intakes:
        await one.close()
    assert outcomes(answers) == {Outcome.OPENED: 1, Outcome.JOINED: 199}
    assert len({one.incident_id for answer in answers for one in answer}) == 1
    assert tables.rows("SELECT occurrences FROM current_incident_status") == [(200,)]
    assert tables.value("SELECT count(*) FROM audit_logs") == 200
    assert dict(tables.rows(LEDGER, 1)) == {"received": 200, "opened": 1, "joined": 199}


async def test_an_event_that_comes_to_many_processes_at_once_is_taken_in_once(
    app: App, project: Project, tables: Tables
) -> None:
    opener = Intake(app)
    await take(opener, project, error_report("A"))
    intakes = [Intake(app) for _ in range(4)]
    events = [f"e{number}" for number in range(10)]
    requests = [
        take(one, project, *(error_report(failure, severity, event_id=event) for event in order))
        for one in intakes
        for order in (events, events[::-1])
        for failure, severity in (("A", Severity.LOW), ("A", Severity.HIGH), ("quiet", Severity.LOW))
    ]
    answers = await asyncio.gather(*requests)
    for one in (opener, *intakes):
        await one.close()
    counted = outcomes(answers)
    assert counted[Outcome.JOINED] + counted[Outcome.RECORDED] == 10
    assert counted[Outcome.DUPLICATE] == len(requests) * 10 - 10
    taken = {
        one.event_id: one.incident_id for answer in answers for one in answer if one.outcome is not Outcome.DUPLICATE
    }
    copies = [one for answer in answers for one in answer if one.outcome is Outcome.DUPLICATE]
    assert all(one.incident_id == taken[one.event_id] for one in copies), "a copy is told the incident of the first"
    assert tables.value("SELECT count(*) FROM audit_logs") == 11
    assert tables.value("SELECT occurrences FROM current_incident_status") == 1 + counted[Outcome.JOINED]
    ledger = dict(tables.rows(LEDGER, 1))
    assert ledger.pop("received") == sum(ledger.values()) == len(requests) * 10 + 1


async def test_a_storm_of_new_failures_in_many_processes_opens_each_once(
    app: App, project: Project, tables: Tables
) -> None:
    intakes = [Intake(app) for _ in range(3)]
    failures = [f"failure {number}" for number in range(30)]
    batches = [failures, failures[::-1], failures[10:] + failures[:10]]
    answers = await asyncio.gather(
        *(
            take(one, project, *(error_report(name) for name in batch))
            for one, batch in zip(intakes, batches, strict=True)
        )
    )
    for one in intakes:
        await one.close()
    assert outcomes(answers) == {Outcome.OPENED: 30, Outcome.JOINED: 60}
    assert tables.rows("SELECT occurrences FROM current_incident_status WHERE project_id = 1") == [(3,)] * 30


async def test_sums_are_exact_while_the_counters_are_being_folded(app: App, project: Project, tables: Tables) -> None:
    intakes = [Intake(app) for _ in range(2)]
    await take(intakes[0], project, error_report())
    seen = []

    async def fold_and_look() -> None:
        for _ in range(15):
            async with app.work() as work:
                await maintain.fold_counters(work)
            # It does not await: what one look finds is never older than what the look before it found.
            seen.append(tables.value("SELECT occurrences FROM current_incident_status"))

    async def report() -> None:
        for number in range(60):
            await take(intakes[number % 2], project, error_report(severity=Severity.LOW))

    await asyncio.gather(report(), fold_and_look(), fold_and_look(), report())
    for one in intakes:
        await one.close()
    assert tables.value("SELECT occurrences FROM current_incident_status") == 121
    assert seen == sorted(seen), "a count never falls"
    assert len(set(seen)) > 2, "the folds ran while reports came in"
    assert dict(tables.rows(LEDGER, 1)) == {"received": 121, "opened": 1, "joined": 120}
    async with app.work() as work:
        await maintain.fold_counters(work)
    assert tables.value("SELECT occurrences FROM incident_occurrences") == 121
    assert tables.value("SELECT count(*) FROM occurrence_changes") == 0


# --- what PostgreSQL refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [Severity.LOW, Severity.HIGH])
@pytest.mark.parametrize("poison", ["title", "event id", "whole"])
async def test_one_report_that_cannot_be_stored_fails_alone(
    intake: Intake, project: Project, tables: Tables, severity: Severity, poison: str
) -> None:
    def broken() -> ErrorReport:
        raise ValueError("it cannot be read a second time")

    bad = Arrival.of(error_report("bad", severity))
    bad = {
        "title": msgspec.structs.replace(bad, title="a\x00b"),
        "event id": msgspec.structs.replace(bad, event_id="x" * 65),
        "whole": msgspec.structs.replace(bad, whole=broken),
    }[poison]
    requests = [take(intake, project, error_report("good", severity)) for _ in range(5)]
    requests.insert(2, intake.take_in(project, [bad], "test"))
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(answers.pop(2), Exception)
    assert all(isinstance(answer, list) for answer in answers)
    assert tables.value("SELECT count(*) FROM audit_logs") == 5
    assert dict(tables.rows("SELECT measure, sum(quantity)::int FROM intake_ledger GROUP BY measure"))["received"] == 5


async def test_a_project_that_does_not_exist_is_refused_and_the_others_are_taken(
    intake: Intake, project: Project, tables: Tables
) -> None:
    nowhere = replace(project, id=4_711)
    bad, good = await asyncio.gather(
        take(intake, nowhere, error_report(severity=Severity.LOW)),
        take(intake, project, error_report(severity=Severity.LOW)),
        return_exceptions=True,
    )
    assert isinstance(bad, Exception)
    assert isinstance(good, list)
    assert tables.rows("SELECT project_id FROM audit_logs") == [(1,)]


# --- samples ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Monotonic:
    """The clock of samples, moved by hand."""

    now: float = 1_000.0

    def __call__(self) -> float:
        """Return the seconds at which it stands."""
        return self.now


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    """The clock of samples; what writes the latest reports looks all the time."""
    clock = Monotonic()
    monkeypatch.setattr(take_in, "monotonic_seconds", clock)
    monkeypatch.setattr(take_in, "LATEST_TICK_SECONDS", 0.001)
    return clock


def whole_messages(tables: Tables) -> list[str]:
    """Return the messages of the reports that are kept whole in their rows, in their order."""
    query = "SELECT document FROM audit_logs WHERE document IS NOT NULL ORDER BY received_at, id"
    return [msgspec.json.decode(document)["message"] for (document,) in tables.rows(query)]


def latest_message(tables: Tables) -> str | None:
    """Return the message of the latest report that is kept beside the rows."""
    found = tables.rows("SELECT document FROM latest_reports")
    return msgspec.json.decode(found[0][0])["message"] if found else None


async def eventually(tables: Tables, message: str) -> None:
    """Wait until the latest report is this one."""
    async with asyncio.timeout(10):
        while latest_message(tables) != message:
            await asyncio.sleep(0.005)


async def storm(intake: Intake, project: Project, clock: FakeClock, start: int, count: int) -> None:
    """Report the same failure again and again; each message tells its number."""
    for number in range(start, start + count):
        clock.forward(milliseconds=1)
        await take(intake, project, error_report(message=f"number {number}"))


async def test_a_storm_keeps_the_first_a_thinning_series_and_the_latest(
    app: App, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    intake = Intake(app)
    await storm(intake, project, clock, 1, 40)
    assert whole_messages(tables) == [f"number {n}" for n in (1, 2, 3, 4, 16)]
    assert latest_message(tables) is None, "while more come, the latest is not known"
    await intake.close()
    assert latest_message(tables) == "number 40"
    async with app.work() as work:
        found = await reports.samples(work.tx, tables.value("SELECT id FROM incidents"), 50)
    assert [msgspec.json.decode(one.document)["message"] for one in found] == [
        f"number {n}" for n in (40, 16, 4, 3, 2, 1)
    ]
    assert tables.value("SELECT count(*) FROM audit_logs") == 40


async def test_the_latest_report_is_written_once_it_is_quiet(
    intake: Intake, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    await storm(intake, project, clock, 1, 6)
    monotonic.now += QUIET_SECONDS / 2
    await storm(intake, project, clock, 7, 1)
    monotonic.now += QUIET_SECONDS / 2
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert latest_message(tables) is None, "not a moment before it is quiet"
    monotonic.now += QUIET_SECONDS / 2
    await eventually(tables, "number 7")


def test_the_latest_report_waits_a_few_seconds_and_not_longer() -> None:
    assert QUIET_SECONDS + 2 * take_in.LATEST_TICK_SECONDS <= 5.0


@pytest.mark.slow
async def test_in_a_storm_without_end_the_latest_is_written_now_and_then(
    intake: Intake, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    await storm(intake, project, clock, 1, 5)
    # One is kept every half minute; what is thinned in between never becomes quiet.
    written = []
    for step in range(100):
        monotonic.now += QUIET_SECONDS * 0.9
        await storm(intake, project, clock, 100 + step, 1)
        for _ in range(3):
            await asyncio.sleep(0.001)
        written.append(len(whole_messages(tables)))
    gaps = Counter(written)
    assert max(gaps.values()) * QUIET_SECONDS * 0.9 <= STALE_SECONDS + QUIET_SECONDS, (
        "somebody who looks sees a recent one"
    )


async def test_an_older_latest_report_never_replaces_a_newer_one(
    app: App, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    slow, fast = Intake(app), Intake(app)
    await storm(slow, project, clock, 1, 7)
    await storm(fast, project, clock, 11, 7)
    await fast.close()
    assert latest_message(tables) == "number 17"
    await slow.close()
    assert latest_message(tables) == "number 17"


async def test_what_opens_an_incident_is_kept_whole_even_if_its_turn_to_be_thinned_has_come(
    app: App, admin: Actor, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    intake = Intake(app)
    await storm(intake, project, clock, 1, 5)
    await closed(app, admin, tables.value("SELECT id FROM incidents"))
    clock.forward(hours=1)
    (again,) = await take(intake, project, error_report(message="again"))
    await intake.close()
    assert again.outcome is Outcome.OPENED
    query = "SELECT document FROM audit_logs WHERE incident_id = %s AND outcome = 'opened'"
    assert msgspec.json.decode(tables.value(query, again.incident_id))["message"] == "again"
    assert tables.value("SELECT count(*) FROM audit_logs WHERE outcome = 'opened' AND document IS NULL") == 0


async def test_a_latest_report_that_cannot_be_written_holds_up_no_other(
    app: App, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    def broken() -> ErrorReport:
        raise ValueError("it cannot be read a second time")

    intake = Intake(app)
    for _ in range(4):
        await take(intake, project, error_report("bad", Severity.LOW))
    bad = msgspec.structs.replace(Arrival.of(error_report("bad", Severity.LOW)), whole=broken)
    await intake.take_in(project, [bad], "test")
    await storm(intake, project, clock, 1, 5)
    monotonic.now += QUIET_SECONDS
    await eventually(tables, "number 5")
    await intake.close()


async def test_latest_reports_wait_for_a_database_that_is_away(
    app: App, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = Intake(app)
    await storm(intake, project, clock, 1, 5)
    keep_latest, tried = reports.keep_latest, []

    async def away_at_first(*arguments: Any) -> None:
        tried.append(1)
        if len(tried) < 3:
            raise refuse(Code.UNAVAILABLE, "The database cannot be used.")
        await keep_latest(*arguments)

    monkeypatch.setattr(reports, "keep_latest", away_at_first)
    monotonic.now += QUIET_SECONDS
    await eventually(tables, "number 5")
    assert len(tried) == 3
    await intake.close()


async def test_the_latest_report_that_is_erased_while_it_waits_is_not_kept(
    app: App, admin: Actor, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    intake = Intake(app)
    await storm(intake, project, clock, 1, 6)
    which, why = Reports(incident=tables.value("SELECT id FROM incidents")), Grounds("Request of the person")
    async with app.work() as work:
        await erase_reports(work, admin, which, why)
    await intake.close()
    assert latest_message(tables) is None
    # What an older version kept is not shown, and goes with the next erasure.
    tables.connection.execute(
        b"INSERT INTO latest_reports SELECT project_id, fingerprint, incident_id, id, received_at, 'x'"
        b" FROM audit_logs ORDER BY received_at DESC LIMIT 1"
    )
    async with app.work() as work:
        assert await reports.samples(work.tx, tables.value("SELECT id FROM incidents"), 50) == []
        await erase_reports(work, admin, which, why)
    assert tables.value("SELECT count(*) FROM latest_reports") == 0


# --- the shape of a request ------------------------------------------------------------------------------------


async def test_the_answers_of_a_mixed_request_come_in_its_order(intake: Intake, project: Project) -> None:
    await take(intake, project, error_report("open"))
    batch = [
        error_report("new"),
        error_report("open", Severity.LOW),
        msgspec.structs.replace(error_report("open"), signal=Signal.RESOLVE),
        error_report("quiet", Severity.LOW),
        error_report("open", Severity.CRITICAL),
        msgspec.structs.replace(error_report("open"), expires_at=START + timedelta(minutes=4)),
    ]
    answers = await take(intake, project, *batch)
    assert [one.event_id for one in answers] == [report.event_id for report in batch]
    assert [one.outcome for one in answers] == [
        Outcome.OPENED,
        Outcome.JOINED,
        Outcome.JOINED,
        Outcome.RECORDED,
        Outcome.JOINED,
        Outcome.JOINED,
    ]


async def test_nothing_is_answered_with_nothing(intake: Intake, project: Project, tables: Tables) -> None:
    assert await take(intake, project) == []
    assert tables.value("SELECT count(*) FROM intake_ledger") == 0


async def test_a_report_taken_in_again_after_its_answer_was_lost_is_a_copy(
    app: App, intake: Intake, project: Project, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit arrived and its answer did not: the next try must find it, and count it as what it is."""
    committed, answered = reports.take_in, []

    async def lose_the_first_answer(*arguments: Any) -> Any:
        result = await committed(*arguments)
        answered.append(result)
        if len(answered) == 1:
            raise refuse(Code.UNAVAILABLE, "The connection broke.")
        return result

    monkeypatch.setattr(reports, "take_in", lose_the_first_answer)
    (one,) = await take(intake, project, error_report(severity=Severity.LOW))
    assert one.outcome is Outcome.DUPLICATE
    assert tables.value("SELECT count(*) FROM audit_logs") == 1
    assert dict(tables.rows(LEDGER, 1)) == {"received": 2, "recorded": 1, "duplicate": 1}


async def test_closing_waits_for_what_is_under_way(app: App, project: Project, tables: Tables) -> None:
    intake = Intake(app)
    requests = [asyncio.create_task(take(intake, project, error_report())) for _ in range(20)]
    await asyncio.sleep(0)
    await intake.close()
    assert tables.value("SELECT count(*) FROM audit_logs") == 20
    assert outcomes(await asyncio.gather(*requests)) == {Outcome.OPENED: 1, Outcome.JOINED: 19}


async def test_a_new_failure_is_read_whole_once_and_spared_the_quick_way(
    app: App, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    quick: list[int] = []
    take_in_quickly = reports.take_in

    async def counted(tx: Any, rows: Any, *rest: Any) -> Any:
        quick.append(len(rows))
        return await take_in_quickly(tx, rows, *rest)

    def arrival(error_type: str, severity: Severity = Severity.HIGH) -> Arrival:
        report = error_report(error_type, severity)

        def whole() -> ErrorReport:
            reads.append(error_type)
            return report

        return msgspec.structs.replace(Arrival.of(report), whole=whole)

    monkeypatch.setattr(reports, "take_in", counted)
    intake = Intake(app)
    async with app.work() as work:
        project = await rules_of(work, 1)
    for error_type, severity, outcome, ways in (
        ("new", Severity.HIGH, Outcome.OPENED, 0),
        ("new", Severity.HIGH, Outcome.JOINED, 1),
        ("minor", Severity.LOW, Outcome.RECORDED, 1),
    ):
        (taken,) = await intake.take_in(project, [arrival(error_type, severity)], "native")
        assert taken.outcome is outcome
        assert len(quick) == ways
        assert reads == [error_type]
        quick.clear()
        reads.clear()


async def test_a_failure_that_only_this_process_does_not_know_joins(app: App) -> None:
    async with app.work() as work:
        project = await rules_of(work, 1)
    outcomes = []
    for intake in (Intake(app), Intake(app)):
        (taken,) = await intake.take_in(project, [Arrival.of(error_report())], "native")
        outcomes.append(taken.outcome)
    assert outcomes == [Outcome.OPENED, Outcome.JOINED]


async def test_of_a_failure_that_another_process_opened_one_is_kept_to_begin_with(
    app: App, project: Project, tables: Tables, clock: FakeClock, monotonic: Monotonic
) -> None:
    opener, careful, quick = Intake(app), Intake(app), Intake(app)
    await storm(opener, project, clock, 1, 1)
    await storm(careful, project, clock, 2, 20)
    assert whole_messages(tables) == [f"number {n}" for n in (1, 2, 14)]
    await take(quick, project, error_report("Other"))  # opens one
    await take(careful, project, error_report("Third"))
    await take(quick, project, error_report("Third"))  # joins: now the quick way looks first
    await storm(quick, project, clock, 22, 20)
    assert whole_messages(tables)[-2:] == ["number 22", "number 34"]
    await storm(opener, project, clock, 42, 2)
    assert whole_messages(tables)[-2:] == ["number 42", "number 43"], "whoever opened it keeps the first three"
    for one in (opener, careful, quick):
        await one.close()


async def test_what_the_last_failure_turned_out_to_be_decides_the_way_of_the_next_new_one(
    app: App, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    carefully: list[str] = []

    async def watched(work: Work, items: Sequence[Item]) -> list[Accepted]:
        carefully.extend(item.arrival.error_type for item in items)
        return await take_in_carefully(work, items)

    opener, joiner = Intake(app), Intake(app)
    for name in "ABC":
        await take(opener, project, error_report(name))
    monkeypatch.setattr(take_in, "take_in_carefully", watched)
    answers = [await take(joiner, project, error_report(name)) for name in ("A", "B", "C", "D", "E")]
    assert outcomes(answers) == {Outcome.JOINED: 3, Outcome.OPENED: 2}
    assert carefully == ["A", "D", "E"]  # B and C joined the quick way; D went it in vain, E was spared that
    for one in (opener, joiner):
        await one.close()
