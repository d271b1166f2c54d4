"""A heartbeat: something that must be heard from on a schedule, and whose silence is an error.

`hear` says what a check-in changes, `look` what an instant changes at which nothing came. Both answer with where the
watch stands afterwards and with the problem, if there is one; `problem_report` and `recovery_report` put it in words.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import islice

from cronsim import CronSim, CronSimError

from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport, Signal, bounded, cut
from tocsin.errors import Code, TocsinError, refuse

MAX_NAME_CHARACTERS = 100
MAX_ENVIRONMENT_CHARACTERS = 64
MAX_SLUG_CHARACTERS = MAX_NAME_CHARACTERS + 1 + MAX_ENVIRONMENT_CHARACTERS
MAX_CRONTAB_CHARACTERS = 100
MAX_RUN_CHARACTERS = 64
"""A client's own id of one run (characters)."""
MAX_NOTE_CHARACTERS = 10_000
"""What a check-in says beside its status (characters)."""
MAX_NOTE_LINE_CHARACTERS = 200
"""How much of a note's first line stands in the message of the error."""
MIN_INTERVAL = timedelta(seconds=10)
MIN_WAIT = timedelta(seconds=1)
"""The shortest grace, and the shortest time that a run may be given."""
MAX_WAIT = timedelta(days=366)
"""The longest interval, grace and run."""
MAX_EARLY = timedelta(seconds=10)
"""How long before its instant a check-in counts for that instant of a crontab, and not for the one before: no two
clocks agree, and a job of 03:00 whose clock runs ahead must not be missed at 03:00."""
MAX_LATE = timedelta(minutes=1)
"""A look that comes later than this was held up by something that held up the check-ins as well, as a database."""
MAX_LATE_UNSEEN = timedelta(seconds=5)
"""The same while no worker has made itself known: one that has just started does so within this time."""
MAX_REPEATED = 1_440
"""Instants of a crontab that may lie in an hour that comes twice, and are passed over at most."""

_SLUG = re.compile(
    rf"[a-z0-9][a-z0-9_.-]{{0,{MAX_NAME_CHARACTERS - 1}}}(?:@[0-9A-Za-z_.:-]{{1,{MAX_ENVIRONMENT_CHARACTERS}}})?"
)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_CRONTAB_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Interval:
    """Expected again within `every` after each check-in."""

    every: timedelta

    def after(self, instant: datetime) -> datetime:
        """Return the instant that is one interval later."""
        return instant + self.every

    def after_check_in(self, instant: datetime) -> datetime:
        """Return when it is expected again after a check-in."""
        return self.after(instant)

    def __str__(self) -> str:
        """Return the schedule in words."""
        return f"every {in_words(self.every)}"


@dataclass(frozen=True, slots=True)
class Crontab:
    """Expected at the instants of a crontab line in a time zone; `crontab` makes one of what people write."""

    expression: str
    zone: tzinfo

    def after(self, instant: datetime) -> datetime:
        """Return the first instant after this one, UTC; raise INVALID when none comes within 50 years.

        The rules of Debian's cron: what falls into the hour that spring leaves out is due at its end, and what falls
        into the hour that autumn repeats is due once, in the first. Lines with a `*` for minute or hour run through.
        """
        # In the repeated hour the library starts over at its beginning, so that what it says first may be past.
        for local in islice(CronSim(self.expression, instant.astimezone(self.zone)), MAX_REPEATED):
            moment = local.astimezone(UTC)
            if moment > instant:
                return moment
        raise _invalid("crontab", f"{self.expression!r} never comes")

    def after_check_in(self, instant: datetime) -> datetime:
        """Return when it is expected again after a check-in, which may have come a moment early."""
        return self.after(instant + MAX_EARLY)

    def __str__(self) -> str:
        """Return the schedule as it was written."""
        return f"{self.expression} {self.zone}"


Schedule = Interval | Crontab


def interval(every: timedelta) -> Interval:
    """Return the schedule; raise INVALID unless `every` is between MIN_INTERVAL and MAX_WAIT, in whole seconds."""
    return Interval(_checked_wait("every", every, MIN_INTERVAL))


def crontab(text: str, zone: tzinfo) -> Crontab:
    """Return the schedule of a crontab line of five fields, or of a name such as `@daily`; raise INVALID."""
    expression = " ".join(_NICKNAMES.get(text.strip().lower(), text).split())
    if len(expression) > MAX_CRONTAB_CHARACTERS or len(expression.split()) != _CRONTAB_FIELDS:
        raise _invalid("crontab", f"{cut(text, MAX_CRONTAB_CHARACTERS)!r} has not the five fields of a crontab line")
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise _invalid("crontab", f"{expression!r} is no crontab line: {error}") from None
    return Crontab(expression, zone)


def checked_slug(text: str) -> str:
    """Return the name by which a heartbeat is known in its project; raise INVALID."""
    if not _SLUG.fullmatch(text):
        problem = f"{cut(text, MAX_NAME_CHARACTERS)!r} is no name of a heartbeat"
        raise _invalid("slug", f"{problem}: small letters, digits, and _ . - between, {MAX_NAME_CHARACTERS} at most")
    return text


def _checked_wait(field: str, wait: timedelta, shortest: timedelta) -> timedelta:
    if not shortest <= wait <= MAX_WAIT:
        raise _invalid(field, f"{field} must be between {in_words(shortest)} and {in_words(MAX_WAIT)}")
    return timedelta(seconds=int(wait.total_seconds()))


def _invalid(field: str, problem: str) -> TocsinError:
    hint = "A schedule is `every 1d`, or five fields such as `0 3 * * *` with a time zone."
    return refuse(Code.INVALID, f"{problem}.", hint, errors=[{"field": field, "problem": problem}])


@dataclass(frozen=True, slots=True)
class Plan:
    """What is expected: when, how late it may be, and how long a run may take (None: until it is due again)."""

    schedule: Schedule
    grace: timedelta
    max_runtime: timedelta | None = None


def plan(schedule: Schedule, grace: timedelta, max_runtime: timedelta | None = None) -> Plan:
    """Return the plan; raise INVALID when a time is out of bounds."""
    longest = _checked_wait("maxRuntime", max_runtime, MIN_WAIT) if max_runtime is not None else None
    return Plan(schedule, _checked_wait("grace", grace, MIN_WAIT), longest)


class CheckInStatus(StrEnum):
    """What a check-in says."""

    IN_PROGRESS = "in_progress"
    OK = "ok"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CheckIn:
    """One sign of life. `run` is the client's own id of the run, "" without one; `duration` what the run took."""

    status: CheckInStatus
    run: str = ""
    duration: timedelta | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun and not ended, as far as anybody told."""

    id: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Watch:
    """Where the watch over a heartbeat stands: expected at `due_at`; from `alarm_at` on its silence is an error.

    `failing_since` is when the trouble began that no `ok` has ended yet. `finished_run` is the id of the run that ended
    last: what comes of it again is a repetition, or was overtaken.
    """

    due_at: datetime
    alarm_at: datetime
    run: Run | None = None
    finished_run: str = ""
    failing_since: datetime | None = None


class Attendance(StrEnum):
    """Whether a worker was there at an alarm's instant, as far as the workers on record tell."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """No worker is on record: the last one stopped in good order, or the one that asks has just started."""


class ProblemKind(StrEnum):
    """What is wrong with a heartbeat; the type of the error that is reported."""

    MISSED = "HeartbeatMissed"
    TIMED_OUT = "HeartbeatTimedOut"
    FAILED = "HeartbeatFailed"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem to report. `about` is what makes it this one: the due time, the run's start, or the check-in."""

    kind: ProblemKind
    about: str
    occurred_at: datetime
    message: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the watch, the problem that this is, and since when there was one that this ends."""

    watch: Watch
    problem: Problem | None = None
    recovered_from: datetime | None = None


def begin(plan: Plan, now: datetime, failing_since: datetime | None = None) -> Watch:
    """Begin to watch: it counts from now on, not only from the first check-in, which may never come."""
    return _expecting(plan, plan.schedule.after(now), Watch(now, now, failing_since=failing_since))


def hear(plan: Plan, watch: Watch, said: CheckIn, now: datetime) -> Change:
    """Say what a check-in changes."""
    if said.run and said.run == watch.finished_run:
        return Change(watch)
    if said.status is CheckInStatus.IN_PROGRESS:
        return Change(_begun(plan, watch, said, now))
    ended = _ended(plan, watch, said, now)
    if said.status is CheckInStatus.OK:
        return Change(replace(ended, failing_since=None), recovered_from=watch.failing_since)
    problem = Problem(ProblemKind.FAILED, said.run or instant_text(now), now, _failure(said), said.note)
    return Change(replace(ended, failing_since=watch.failing_since or now), problem)


def _begun(plan: Plan, watch: Watch, said: CheckIn, now: datetime) -> Watch:
    """Without a bound of its own a run has until it is due: who only ever begins must not pass for alive."""
    begun = replace(watch, run=Run(said.run, now))
    if plan.max_runtime is None:
        return begun
    return replace(begun, due_at=plan.schedule.after_check_in(now), alarm_at=now + plan.max_runtime)


def _ended(plan: Plan, watch: Watch, said: CheckIn, now: datetime) -> Watch:
    ended = _expecting(plan, plan.schedule.after_check_in(now), replace(watch, finished_run=said.run))
    other = watch.run if watch.run and said.run and watch.run.id not in ("", said.run) else None
    if other is None or plan.max_runtime is None:
        return replace(ended, run=other)
    return replace(ended, run=other, alarm_at=other.started_at + plan.max_runtime)


def _expecting(plan: Plan, due_at: datetime, watch: Watch) -> Watch:
    return replace(watch, due_at=due_at, alarm_at=due_at + plan.grace)


def _failure(said: CheckIn) -> str:
    lines = said.note.strip().splitlines()
    return f"It reported an error: {cut(lines[0], MAX_NOTE_LINE_CHARACTERS)}" if lines else "It reported an error."


def look(plan: Plan, watch: Watch, now: datetime, attendance: Attendance) -> Change:
    """Say what it means that nothing came until now.

    If nobody was there at `alarm_at` to notice, the grace is given again from now on: our own absence is no proof of
    anybody's silence.
    """
    if now < watch.alarm_at:
        return Change(watch)
    if not _listened(plan, watch, now, attendance):
        return Change(replace(watch, alarm_at=now + plan.grace))
    if watch.run and plan.max_runtime and now >= watch.run.started_at + plan.max_runtime:
        return _timed_out(plan, watch, watch.run, plan.max_runtime, now)
    return _missed(plan, watch)


def _listened(plan: Plan, watch: Watch, now: datetime, attendance: Attendance) -> bool:
    if attendance is Attendance.ABSENT:
        return False
    # Being late excuses once: workers that are always late must not put an alarm off for ever.
    excused = watch.alarm_at > _first_alarm(plan, watch)
    bound = MAX_LATE if attendance is Attendance.PRESENT else MAX_LATE_UNSEEN
    return excused or now - watch.alarm_at <= bound


def _first_alarm(plan: Plan, watch: Watch) -> datetime:
    if watch.run and plan.max_runtime:
        return watch.run.started_at + plan.max_runtime
    return watch.due_at + plan.grace


def _timed_out(plan: Plan, watch: Watch, run: Run, max_runtime: timedelta, now: datetime) -> Change:
    # What fell due while it ran is not missed as well: that it ran is why.
    due_at = watch.due_at if watch.due_at + plan.grace > now else plan.schedule.after(now)
    message = (
        f"It began at {instant_text(run.started_at)} and has not ended: it may take {in_words(max_runtime)} at most."
    )
    problem = Problem(ProblemKind.TIMED_OUT, instant_text(run.started_at), run.started_at + max_runtime, message)
    failing_since = watch.failing_since or problem.occurred_at
    return Change(replace(_expecting(plan, due_at, watch), run=None, failing_since=failing_since), problem)


def _missed(plan: Plan, watch: Watch) -> Change:
    began = f" It began at {instant_text(watch.run.started_at)} and has not ended." if watch.run else ""
    message = (
        f"It was expected by {instant_text(watch.due_at)} ({plan.schedule}; {in_words(plan.grace)} of grace), "
        f"and nothing came.{began}"
    )
    problem = Problem(ProblemKind.MISSED, instant_text(watch.due_at), watch.due_at, message)
    # What fell due while nobody listened is not missed one by one: it goes on after the instant that counted.
    counted_from = max(watch.due_at, watch.alarm_at - plan.grace)
    expecting = _expecting(plan, plan.schedule.after(counted_from), watch)
    return Change(replace(expecting, failing_since=watch.failing_since or watch.due_at), problem)


def problem_report(slug: str, severity: Severity, problem: Problem, now: datetime) -> ErrorReport:
    """Return the error that a problem is. The same problem is the same event, however often it is found."""
    return _report(
        slug,
        now,
        event=(problem.kind.value, problem.about),
        severity=severity,
        message=f"{slug}: {problem.message}",
        occurred_at=problem.occurred_at,
        note=problem.note,
    )


def recovery_report(slug: str, failing_since: datetime, now: datetime, note: str = "") -> ErrorReport:
    """Return the word that it is back: a signal, which ends no incident by itself."""
    return _report(
        slug,
        now,
        event=("HeartbeatRecovered", instant_text(failing_since)),
        severity=Severity.LOW,
        message=f"{slug}: It checked in again; it had been failing since {instant_text(failing_since)}.",
        occurred_at=now,
        note=note,
        signal=Signal.RESOLVE,
    )


def _report(
    slug: str,
    now: datetime,
    *,
    event: tuple[str, str],
    severity: Severity,
    message: str,
    occurred_at: datetime,
    note: str,
    signal: Signal | None = None,
) -> ErrorReport:
    error_type, about = event
    # Neither a slug nor an instant has a line break; an id that has one is the last part.
    event_id = hashlib.sha256(f"{error_type}\n{slug}\n{about}".encode("utf-8", "surrogatepass")).hexdigest()
    report = ErrorReport(
        event_id=event_id,
        severity=severity,
        error_type=error_type,
        message=message,
        occurred_at=occurred_at,
        fingerprint=("heartbeat", slug),
        service=slug,
        logger="tocsin.heartbeats",
        context={"note": note} if note else {},
        signal=signal,
    )
    return bounded(report, received_at=now)


def instant_text(instant: datetime) -> str:
    """Return an instant in UTC, to the microsecond where there are any."""
    return instant.astimezone(UTC).isoformat(sep=" ").replace("+00:00", " UTC")


def in_words(duration: timedelta) -> str:
    """Return a duration exactly, in the units in which people give it: `1 d 12 h`."""
    seconds = int(duration.total_seconds())
    parts = {"d": seconds // 86_400, "h": seconds // 3_600 % 24, "min": seconds // 60 % 60, "s": seconds % 60}
    return " ".join(f"{number} {unit}" for unit, number in parts.items() if number) or "0 s"
