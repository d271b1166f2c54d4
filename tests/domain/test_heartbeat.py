"""When a heartbeat is due, from when on its silence is an error, and what the rules of daylight saving do to both."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.intake.samples import nothing_but_refusals
from tocsin.domain.heartbeat import (
    MAX_CRONTAB_CHARACTERS,
    MAX_EARLY,
    MAX_LATE,
    MAX_LATE_UNSEEN,
    MAX_NAME_CHARACTERS,
    MAX_WAIT,
    MIN_INTERVAL,
    Attendance,
    Change,
    CheckIn,
    CheckInStatus,
    Crontab,
    Plan,
    ProblemKind,
    Run,
    Watch,
    begin,
    checked_slug,
    crontab,
    hear,
    in_words,
    interval,
    look,
    plan,
    problem_report,
    recovery_report,
)
from tocsin.domain.incident import Severity
from tocsin.domain.report import Signal
from tocsin.errors import Code, TocsinError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")
HOURLY = Plan(interval(HOUR), 5 * MINUTE)
BOUNDED = replace(HOURLY, max_runtime=20 * MINUTE)
OK = CheckIn(CheckInStatus.OK)
ERROR = CheckIn(CheckInStatus.ERROR)
STARTED = CheckIn(CheckInStatus.IN_PROGRESS)


def local(text: str, zone: tzinfo = BERLIN) -> datetime:
    """Return an instant of UTC, given as local time (`fold` 0)."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def instants(schedule: Crontab, start: datetime, number: int) -> list[str]:
    """Return the next instants of a schedule, as local times with their offsets from UTC."""
    found = []
    for _ in range(number):
        start = schedule.after(start)
        found.append(f"{start.astimezone(schedule.zone):%d %H:%M %z}")
    return found


def refused(code: Code = Code.INVALID) -> pytest.RaisesExc[TocsinError]:
    """Expect a refusal of this code."""
    return pytest.raises(TocsinError, check=lambda error: error.refusal.code is code)


def on_time(plan: Plan, watch: Watch, now: datetime) -> Change:
    """Look at an instant at which a worker was there."""
    return look(plan, watch, now, Attendance.PRESENT)


# --- schedules -------------------------------------------------------------------------------------------------


def test_an_interval_counts_from_the_check_in() -> None:
    assert interval(HOUR).after_check_in(NOON) == NOON + HOUR


@pytest.mark.parametrize("every", [MIN_INTERVAL, MAX_WAIT])
def test_an_interval_may_be_as_short_or_long_as_the_bounds(every: timedelta) -> None:
    assert interval(every).every == every
    beyond = every + timedelta(microseconds=1) if every is MAX_WAIT else every - timedelta(microseconds=1)
    with refused():
        interval(beyond)


def test_a_crontab_line_means_what_it_means_to_cron() -> None:
    nightly = crontab(" 30  3 * * MON-FRI ", BERLIN)
    assert nightly.expression == "30 3 * * MON-FRI"
    assert nightly.after(local("2026-01-09 03:30")) == local("2026-01-12 03:30"), "strictly after, over the week-end"
    assert crontab("@daily", UTC).after(NOON) == datetime(2026, 3, 2, tzinfo=UTC)
    assert crontab("0 12 1 * *", UTC).after(NOON - timedelta(microseconds=1)) == NOON


@pytest.mark.parametrize(
    "text", ["", "* * * *", "* * * * * *", "60 * * * *", "x * * * *", "@reboot", "0 0 31 2 *", "\ud800"]
)
def test_what_is_no_crontab_line_is_refused(text: str) -> None:
    with refused():
        crontab(text, UTC)


def test_a_crontab_line_has_a_longest_length() -> None:
    longest = f"{','.join('1' * 46)} * * * *"
    assert len(longest) == MAX_CRONTAB_CHARACTERS - 1
    assert crontab(longest, UTC).after(NOON) == NOON + MINUTE
    with refused():
        crontab(f"1,{longest}", UTC)


def test_what_never_comes_is_refused_when_it_is_asked_for() -> None:
    with refused():
        crontab("0 0 */31 * MON#5", UTC).after(NOON)


@given(
    st.text(max_size=30) | st.lists(st.text("0123456789*/,-#L@MON", max_size=6), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_a_crontab_line_or_is_refused(text: str) -> None:
    with nothing_but_refusals(Code.INVALID):
        assert crontab(text, BERLIN).after(NOON) > NOON


fields = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "5-20/5", "59"]),
    st.sampled_from(["*", "0", "2", "1-3", "*/6", "23"]),
    st.sampled_from(["*", "1", "*/10", "28"]),
    st.sampled_from(["*", "3", "10,11"]),
    st.sampled_from(["*", "0", "SUN", "1-5"]),
)
# Berlin has two hours of daylight saving a year, Lord Howe half an hour, Troll two hours at once; Apia left out a day.
zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia"]
)
moments = st.datetimes(datetime(2011, 12, 1), datetime(2030, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001  # it gets its zone at once


@given(fields, zones, moments)
def test_the_next_instant_is_always_later_and_none_is_left_out(
    line: tuple[str, ...], zone: str, moment: datetime
) -> None:
    schedule = crontab(" ".join(line), ZoneInfo(zone))
    due = schedule.after(moment)
    assert due > moment
    middle = moment + (due - moment) / 2
    assert schedule.after(middle) == due, "whoever asks later, but before it, hears the same"
    assert schedule.after(due) > due


@given(fields, moments)
def test_in_utc_the_next_instant_is_the_first_minute_that_matches(line: tuple[str, ...], moment: datetime) -> None:
    minute, hour, *_ = line
    schedule = crontab(f"{minute} {hour} * * *", UTC)
    minutes, hours = _matching(minute, 60), _matching(hour, 24)
    candidate = moment.replace(second=0, microsecond=0) + MINUTE
    while candidate.minute not in minutes or candidate.hour not in hours:
        candidate += MINUTE
    assert schedule.after(moment) == candidate


def _matching(field: str, end: int) -> set[int]:
    numbers, _, step = field.partition("/")
    first, _, last = numbers.partition("-")
    values = range(end) if numbers == "*" else range(int(first), int(last or first) + 1)
    return set(values[:: int(step or 1)])


def test_what_falls_into_the_hour_that_spring_leaves_out_is_due_at_its_end() -> None:
    nightly = crontab("30 2 * * *", BERLIN)
    assert instants(nightly, local("2026-03-28 00:00"), 3) == ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]


def test_what_falls_into_the_hour_that_autumn_repeats_is_due_once() -> None:
    nightly = crontab("30 2 * * *", BERLIN)
    assert instants(nightly, local("2026-10-24 12:00"), 2) == ["25 02:30 +0200", "26 02:30 +0100"]


def test_a_check_in_of_the_second_pass_through_an_hour_does_not_make_it_due_in_the_first() -> None:
    nightly = crontab("45 2 * * *", BERLIN)
    second_pass = local("2026-10-25 02:30") + HOUR
    assert second_pass.astimezone(BERLIN).fold == 1
    assert nightly.after(second_pass) == local("2026-10-26 02:45")


def test_a_line_for_every_hour_runs_through_both_changes() -> None:
    hourly = crontab("0 * * * *", BERLIN)
    assert instants(hourly, local("2026-03-29 00:30"), 3) == ["29 01:00 +0100", "29 03:00 +0200", "29 04:00 +0200"]
    assert instants(hourly, local("2026-10-25 01:30"), 3) == ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"]


def test_a_check_in_a_moment_early_counts_for_the_instant_that_it_is_meant_for() -> None:
    nightly = crontab("0 3 * * *", UTC)
    due = datetime(2026, 3, 2, 3, tzinfo=UTC)
    assert nightly.after_check_in(due - MAX_EARLY) == due + timedelta(days=1)
    assert nightly.after_check_in(due - MAX_EARLY - timedelta(microseconds=1)) == due


# --- names and plans -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["a", "nightly-backup", "2.daily_run", "a" * MAX_NAME_CHARACTERS, "backup@staging"])
def test_a_name_is_taken_as_it_is(slug: str) -> None:
    assert checked_slug(slug) == slug


@pytest.mark.parametrize(
    "slug", ["", "-a", "Backup", "a b", "a/b", "a" * (MAX_NAME_CHARACTERS + 1), "a@", "a@b@c", "a\n"]
)
def test_what_cannot_be_a_name_is_refused(slug: str) -> None:
    with refused():
        checked_slug(slug)


def test_a_plan_has_bounds() -> None:
    second = timedelta(seconds=1)
    assert plan(interval(HOUR), second, MAX_WAIT) == Plan(interval(HOUR), second, MAX_WAIT)
    for grace, max_runtime in [(timedelta(0), None), (MAX_WAIT + second, None), (second, timedelta(0))]:
        with refused():
            plan(interval(HOUR), grace, max_runtime)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (90_061, "1 d 1 h 1 min 1 s"), (86_400, "1 d"), (600, "10 min")]
)
def test_a_duration_is_said_exactly(seconds: int, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


# --- silence ---------------------------------------------------------------------------------------------------


def test_it_is_watched_from_the_beginning_and_not_only_from_the_first_check_in() -> None:
    watch = begin(HOURLY, NOON)
    assert (watch.due_at, watch.alarm_at) == (NOON + HOUR, NOON + HOUR + 5 * MINUTE)


def test_it_is_missed_at_the_end_of_the_grace_and_not_a_moment_earlier() -> None:
    watch = begin(HOURLY, NOON)
    assert on_time(HOURLY, watch, watch.alarm_at - timedelta(microseconds=1)) == Change(watch)
    change = on_time(HOURLY, watch, watch.alarm_at)
    assert change.problem is not None
    assert (change.problem.kind, change.problem.occurred_at) == (ProblemKind.MISSED, NOON + HOUR)
    assert change.problem.message == (
        "It was expected by 2026-03-01 13:00:00 UTC (every 1 h; 5 min of grace), and nothing came."
    )
    assert change.watch == Watch(NOON + 2 * HOUR, NOON + 2 * HOUR + 5 * MINUTE, failing_since=NOON + HOUR)


def test_each_due_time_is_missed_once() -> None:
    watch, about = begin(HOURLY, NOON), []
    for _ in range(3):
        change = on_time(HOURLY, watch, watch.alarm_at)
        assert change.problem is not None
        about.append(change.problem.about)
        watch = change.watch
    assert about == [f"2026-03-01 {hour}:00:00 UTC" for hour in (13, 14, 15)]
    assert watch.failing_since == NOON + HOUR


def test_a_grace_longer_than_the_schedule_still_misses_each_due_time() -> None:
    patient = Plan(crontab("* * * * *", UTC), HOUR)
    first = on_time(patient, begin(patient, NOON), NOON + MINUTE + HOUR)
    assert first.watch.due_at == NOON + 2 * MINUTE
    second = on_time(patient, first.watch, first.watch.alarm_at)
    assert second.problem is not None
    assert second.watch.due_at == NOON + 3 * MINUTE


def test_a_check_in_starts_the_waiting_anew() -> None:
    heard = hear(HOURLY, begin(HOURLY, NOON), OK, NOON + 10 * MINUTE)
    assert heard == Change(Watch(NOON + 70 * MINUTE, NOON + 75 * MINUTE))


def test_when_nobody_was_there_the_grace_is_given_again() -> None:
    watch = begin(HOURLY, NOON)
    back = NOON + 5 * HOUR
    given = look(HOURLY, watch, back, Attendance.ABSENT)
    assert given == Change(replace(watch, alarm_at=back + HOURLY.grace))
    missed = on_time(HOURLY, given.watch, given.watch.alarm_at)
    assert missed.problem is not None
    assert missed.problem.about == "2026-03-01 13:00:00 UTC", "what was due is named, not when we came back"
    assert missed.watch.due_at == back + HOUR, "what fell due while nobody listened is not missed one by one"


@pytest.mark.parametrize(
    ("attendance", "bound"), [(Attendance.PRESENT, MAX_LATE), (Attendance.UNKNOWN, MAX_LATE_UNSEEN)]
)
def test_a_look_that_is_late_excuses_once_and_no_more(attendance: Attendance, bound: timedelta) -> None:
    watch = begin(HOURLY, NOON)
    assert look(HOURLY, watch, watch.alarm_at + bound, attendance).problem is not None
    late = look(HOURLY, watch, watch.alarm_at + bound + timedelta(microseconds=1), attendance)
    assert late.problem is None
    again = look(HOURLY, late.watch, late.watch.alarm_at + HOUR, attendance)
    assert again.problem is not None, "workers that are always late must not put an alarm off for ever"


def test_nobody_there_excuses_as_often_as_nobody_is_there() -> None:
    watch = begin(HOURLY, NOON)
    for _ in range(3):
        change = look(HOURLY, watch, watch.alarm_at + HOUR, Attendance.ABSENT)
        assert change.problem is None
        watch = change.watch


# --- runs ------------------------------------------------------------------------------------------------------


def test_a_run_that_has_a_bound_counts_as_heard_until_it_runs_out() -> None:
    began = hear(BOUNDED, begin(BOUNDED, NOON), CheckIn(CheckInStatus.IN_PROGRESS, "r1"), NOON + 50 * MINUTE)
    assert (began.watch.due_at, began.watch.alarm_at) == (NOON + 110 * MINUTE, NOON + 70 * MINUTE)
    out = on_time(BOUNDED, began.watch, NOON + 70 * MINUTE)
    assert out.problem is not None
    assert (out.problem.kind, out.problem.occurred_at) == (ProblemKind.TIMED_OUT, NOON + 70 * MINUTE)
    assert "12:50:00 UTC" in out.problem.message
    assert "20 min" in out.problem.message
    assert out.watch == Watch(NOON + 110 * MINUTE, NOON + 115 * MINUTE, failing_since=NOON + 70 * MINUTE)


def test_what_fell_due_during_a_run_that_times_out_is_not_missed_as_well() -> None:
    slow = replace(HOURLY, max_runtime=3 * HOUR)
    began = hear(slow, begin(slow, NOON), STARTED, NOON).watch
    out = on_time(slow, began, NOON + 3 * HOUR)
    assert out.watch.due_at == NOON + 4 * HOUR


def test_who_only_ever_begins_does_not_pass_for_alive() -> None:
    watch = begin(HOURLY, NOON)
    for minutes in (10, 30, 50):
        watch = hear(HOURLY, watch, STARTED, NOON + minutes * MINUTE).watch
    missed = on_time(HOURLY, watch, NOON + 65 * MINUTE)
    assert missed.problem is not None
    assert missed.problem.kind is ProblemKind.MISSED
    assert "It began at 2026-03-01 12:50:00 UTC and has not ended." in missed.problem.message


def test_a_finished_run_no_longer_runs_out() -> None:
    began = hear(BOUNDED, begin(BOUNDED, NOON), CheckIn(CheckInStatus.IN_PROGRESS, "r1"), NOON).watch
    ended = hear(BOUNDED, began, CheckIn(CheckInStatus.OK, "r1"), NOON + MINUTE).watch
    assert ended == Watch(NOON + 61 * MINUTE, NOON + 66 * MINUTE, finished_run="r1")


def test_a_beginning_that_was_overtaken_by_its_end_begins_nothing() -> None:
    ended = hear(BOUNDED, begin(BOUNDED, NOON), CheckIn(CheckInStatus.OK, "r1"), NOON).watch
    assert hear(BOUNDED, ended, CheckIn(CheckInStatus.IN_PROGRESS, "r1"), NOON + MINUTE) == Change(ended)


def test_the_end_of_one_run_does_not_end_another() -> None:
    watch = begin(BOUNDED, NOON)
    for run, minutes in (("r1", 0), ("r2", 5)):
        watch = hear(BOUNDED, watch, CheckIn(CheckInStatus.IN_PROGRESS, run), NOON + minutes * MINUTE).watch
    watch = hear(BOUNDED, watch, CheckIn(CheckInStatus.OK, "r1"), NOON + 6 * MINUTE).watch
    assert watch.run is not None
    assert (watch.run.id, watch.alarm_at) == ("r2", NOON + 25 * MINUTE)
    assert hear(BOUNDED, watch, OK, NOON + 7 * MINUTE).watch.run is None, "one without an id ends whatever runs"


def test_without_a_bound_another_run_stays_known_and_changes_no_deadline() -> None:
    begun = hear(HOURLY, begin(HOURLY, NOON), CheckIn(CheckInStatus.IN_PROGRESS, "r2"), NOON).watch
    watch = hear(HOURLY, begun, CheckIn(CheckInStatus.OK, "r1"), NOON + MINUTE).watch
    assert watch == Watch(NOON + 61 * MINUTE, NOON + 66 * MINUTE, Run("r2", NOON), finished_run="r1")


# --- failures, and the way back --------------------------------------------------------------------------------


def test_an_error_is_a_problem_at_once_and_is_waited_for_again() -> None:
    said = CheckIn(CheckInStatus.ERROR, "r1", note="exit code 3\nand more")
    failed = hear(HOURLY, begin(HOURLY, NOON), said, NOON + MINUTE)
    assert failed.problem is not None
    assert (failed.problem.kind, failed.problem.about) == (ProblemKind.FAILED, "r1")
    assert failed.problem.message == "It reported an error: exit code 3"
    assert (failed.watch.failing_since, failed.watch.due_at) == (NOON + MINUTE, NOON + 61 * MINUTE)


def test_only_an_ok_ends_the_trouble_and_tells_since_when_it_lasted() -> None:
    missed = on_time(HOURLY, begin(HOURLY, NOON), NOON + 65 * MINUTE).watch
    begun = hear(HOURLY, missed, STARTED, NOON + 70 * MINUTE)
    assert begun.recovered_from is None
    failed = hear(HOURLY, begun.watch, ERROR, NOON + 71 * MINUTE)
    assert failed.watch.failing_since == NOON + HOUR, "the trouble began with what came first"
    back = hear(HOURLY, failed.watch, OK, NOON + 72 * MINUTE)
    assert (back.recovered_from, back.watch.failing_since) == (NOON + HOUR, None)
    assert hear(HOURLY, back.watch, OK, NOON + 73 * MINUTE).recovered_from is None, "it is told once"


def test_watching_anew_does_not_forget_the_trouble() -> None:
    assert begin(HOURLY, NOON, NOON - HOUR).failing_since == NOON - HOUR


def test_a_problem_is_one_event_of_one_failure_whoever_finds_it() -> None:
    problem = on_time(HOURLY, begin(HOURLY, NOON), NOON + 65 * MINUTE).problem
    assert problem is not None
    report = problem_report("backup", Severity.CRITICAL, problem, NOON + 65 * MINUTE)
    later = problem_report("backup", Severity.CRITICAL, problem, NOON + 80 * MINUTE)
    assert report == later
    assert (report.severity, report.error_type, report.fingerprint) == (
        Severity.CRITICAL,
        "HeartbeatMissed",
        ("heartbeat", "backup"),
    )
    assert report.title.startswith("HeartbeatMissed: backup: It was expected by 2026-03-01 13:00:00 UTC")
    other = problem_report("backup", Severity.CRITICAL, replace(problem, about="another"), NOON + 65 * MINUTE)
    elsewhere = problem_report("restore", Severity.CRITICAL, problem, NOON + 65 * MINUTE)
    assert len({report.event_id, other.event_id, elsewhere.event_id}) == 3


def test_the_word_that_it_is_back_is_a_signal_about_the_same_failure() -> None:
    report = recovery_report("backup", NOON - HOUR, NOON)
    assert (report.signal, report.severity) == (Signal.RESOLVE, Severity.LOW)
    assert report.fingerprint == ("heartbeat", "backup")
    assert report.event_id != recovery_report("backup", NOON - 2 * HOUR, NOON).event_id


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7_200), st.sampled_from([*CheckInStatus, None]), st.sampled_from(["", "r1", "r2", "r3"])
        ),
        max_size=30,
    ),
    st.sampled_from([HOURLY, BOUNDED, Plan(crontab("*/20 * * * *", BERLIN), MINUTE, HOUR)]),
)
def test_whatever_comes_the_alarm_is_set_and_no_problem_is_told_twice(
    story: list[tuple[int, CheckInStatus | None, str]], plan: Plan
) -> None:
    watch, now, told = begin(plan, NOON), NOON, list[tuple[ProblemKind, str]]()
    for step, (seconds, status, run) in enumerate(story):
        now += timedelta(seconds=seconds + 1)
        said = CheckIn(status, f"{run}-{step // 4}" if run else "") if status else None
        change = hear(plan, watch, said, now) if said else on_time(plan, watch, now)
        if change.problem:
            told.append((change.problem.kind, change.problem.about))
        assert (change.watch.failing_since is not None) or change.problem is None
        assert change.recovered_from is None or watch.failing_since == change.recovered_from
        watch = change.watch
        assert watch.alarm_at > watch.due_at or watch.run is not None
    assume(told)
    missed = [about for kind, about in told if kind is not ProblemKind.FAILED]
    assert len(missed) == len(set(missed))
