"""Is the machinery well? One answer for the readiness check, the doctor and the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tocsin.app.coverage import Covered, cover
from tocsin.app.read_ledger import last_difference
from tocsin.app.work import Work
from tocsin.channels.working import working_channels
from tocsin.clock import monotonic_seconds
from tocsin.domain.coverage import Weakness
from tocsin.domain.plural import number_of
from tocsin.domain.policy_document import delay_text
from tocsin.domain.reach import Reach, plan, usable
from tocsin.store import jobs, log, outside, watchdog
from tocsin.store.jobs import DeadJob, Health
from tocsin.store.ledger import DifferenceIncident
from tocsin.store.log import LogCondition
from tocsin.store.migrate import lacking
from tocsin.store.outside import Standing
from tocsin.store.watchdog import Calls

WORKER_SILENCE = timedelta(seconds=30)
PAGE_PATIENCE = timedelta(minutes=2)
JOB_PATIENCE = timedelta(minutes=1)
FAILED_WINDOW = timedelta(hours=24)
LOG_PATIENCE = timedelta(minutes=1)
"""How long an entry may wait for the log, and the log for a signature; both take half a second."""
FORGOTTEN_AFTER = timedelta(days=1)
"""Who vouched for the log once and stands in nobody's settings any more is not asked about after so long."""
FAILURES_BORNE = 3
SHARED_SECONDS = 1.0
"""How old the condition on a page may be; the coverage forecast in it is the same for all, and takes its time."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: a stable name, what it is, what to do, and whether the server cannot do its work with it.

    What `breaks_a_promise` keeps the watchdog silent, so that somebody outside notices. A `risk` is nothing wrong yet.
    Who asks for readiness need not be known here: no names of people stand in it.
    """

    name: str
    message: str
    hint: str
    stops_service: bool = False
    breaks_a_promise: bool = True
    risk: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the machinery, and what is wrong with it."""

    health: Health
    log: LogCondition
    vouchers: tuple[Standing, ...]
    problems: tuple[Problem, ...]
    watchdog: Calls | None = None
    steps_unreached: int = 0
    """Steps of the policies in force that reach nobody now."""
    coverage_gaps: int = 0
    """Times within the next days in which a step will reach nobody."""

    @property
    def ready(self) -> bool:
        """Tell whether this installation can keep its promises now."""
        return not any(problem.stops_service for problem in self.problems)


class Shared:
    """The condition for everybody who looks at once: each change makes every open page ask for it again."""

    def __init__(self) -> None:
        self._looking = asyncio.Lock()
        self._seen: Condition | None = None
        self._seen_seconds = 0.0

    async def condition(self, work: Work) -> Condition:
        """Return the condition as somebody has just seen it, or look."""
        async with self._looking:
            if self._seen is None or monotonic_seconds() - self._seen_seconds >= SHARED_SECONDS:
                self._seen = await condition(work)
                self._seen_seconds = monotonic_seconds()
            return self._seen


async def condition(work: Work) -> Condition:
    """Look at the schema, workers, jobs, pages, the log, who vouches for it, the ledger, and whom policies reach."""
    kept = await log.condition(work.tx, work.now - LOG_PATIENCE)
    vouchers = tuple(await outside.standings(work.tx, work.now - FORGOTTEN_AFTER))
    health = await jobs.health(
        work.tx, now=work.now, alive_since=work.now - WORKER_SILENCE, failed_since=work.now - FAILED_WINDOW
    )
    calls = await watchdog.state(work.tx, work.now - FORGOTTEN_AFTER)
    missing = await lacking(work.tx)
    # Of a schema that lacks something, policies may be what is missing.
    covered = await cover(work) if not missing else None
    return Condition(
        health,
        kept,
        vouchers,
        (
            *_of_schema(missing),
            *_of_jobs(health, work.now),
            *_of_pages(health, work.now),
            *_of_log(kept, work.now),
            *_of_vouchers(vouchers),
            *_of_ledger(await last_difference(work)),
            *_of_watchdog(calls),
            *(_of_coverage(covered) if covered else ()),
            *(_of_people(covered, working_channels(work.settings)) if covered else ()),
        ),
        calls,
        len(covered.unreached_now) if covered else 0,
        len(covered.gaps_ahead) if covered else 0,
    )


def _of_schema(missing: list[str]) -> Iterator[Problem]:
    if missing:
        message = f"The schema lacks {', '.join(missing)}."
        yield Problem("schema", message, "Bring it up to date: `tocsin migrate`.", stops_service=True)


def _of_jobs(health: Health, now: datetime) -> Iterator[Problem]:
    if not health.workers_alive:
        seen = f"; the last one was seen {health.worker_seen_at:%Y-%m-%d %H:%M:%S} UTC" if health.worker_seen_at else ""
        message = f"No worker is running{seen}: nobody is paged."
        yield Problem("no_worker", message, "Start `tocsin worker`.", stops_service=True)
    if health.earliest_job_due_at and now - health.earliest_job_due_at > JOB_PATIENCE:
        late = int((now - health.earliest_job_due_at).total_seconds())
        yield Problem("late_jobs", f"A job is {late} s late.", "Start more workers: `tocsin worker`.")
    if health.dead_jobs:
        message = f"{number_of(health.dead_jobs, 'job was', 'jobs were')} set aside after failing."
        yield Problem("dead_jobs", message, "`tocsin doctor` lists them.")


def _of_pages(health: Health, now: datetime) -> Iterator[Problem]:
    if health.oldest_unsent_page_due_at and now - health.oldest_unsent_page_due_at > PAGE_PATIENCE:
        age = int((now - health.oldest_unsent_page_due_at).total_seconds())
        message = (
            f"{number_of(health.unsent_pages, 'page is', 'pages are')} not delivered; the oldest has waited {age} s."
        )
        yield Problem("unsent_pages", message, "`tocsin oncall pages --state pending` lists each with its last answer.")
    if health.failed_pages:
        message = f"{number_of(health.failed_pages, 'page was', 'pages were')} given up in the last 24 hours."
        hint = "The incidents of project `tocsin` name each address and answer."
        # Others were told, so that the promise is kept; and for a day nobody outside would notice anything else.
        yield Problem("failed_pages", message, hint, breaks_a_promise=False)


def _of_log(kept: LogCondition, now: datetime) -> Iterator[Problem]:
    if kept.waiting_since is not None and now - kept.waiting_since > LOG_PATIENCE:
        message = (
            f"{number_of(kept.waiting, 'entry waits', 'entries wait')} for the log, the first since "
            f"{kept.waiting_since:%Y-%m-%d %H:%M:%S} UTC."
        )
        yield Problem(
            "log_waits", message, "A worker seals them: `tocsin worker`; its own log says what is in the way."
        )
    if kept.refusal is not None:
        yield Problem("log_signer", f"The log is not signed any more. {kept.refusal}", "Nothing else stops meanwhile.")
    elif kept.size and now - max(_times(kept), default=_LONG_AGO) > LOG_PATIENCE:
        signed = f"only the first {kept.signed_size:,} are signed" if kept.signed_size else "none is signed"
        message = f"Nobody signs the log: of {number_of(kept.size, 'leaf', 'leaves')} {signed}."
        yield Problem("log_unsigned", message, "Set TOCSIN_SIGNER_DIR where one `tocsin worker` runs, and start it.")


def _of_vouchers(vouchers: tuple[Standing, ...]) -> Iterator[Problem]:
    for one in vouchers:
        if one.failing_since is not None and one.failures >= FAILURES_BORNE:
            message = f"The {one.name} has not vouched for the log since {one.failing_since:%Y-%m-%d %H:%M:%S} UTC: "
            yield Problem(
                f"log_{one.kind}",
                f"{message}{one.failure}",
                "It is tried again every few minutes; docs/how-to/witnesses-and-copies.md tells what each may say.",
            )


def _times(kept: LogCondition) -> list[datetime]:
    """Return when somebody was seen to sign, or signed."""
    return [at for at in (kept.signer_seen_at, kept.signed_at) if at is not None]


def _of_ledger(difference: DifferenceIncident | None) -> Iterator[Problem]:
    if difference is not None:
        seen = f"{difference.last_seen_at:%Y-%m-%d %H:%M:%S} UTC"
        message = f"The ledger of intake was wrong, last found at {seen}: a report was lost, or counted twice."
        yield Problem(
            "intake_ledger", message, f"`tocsin incidents show {difference.number}` names the minutes and the counts."
        )


def _of_watchdog(calls: Calls | None) -> Iterator[Problem]:
    if calls is not None and calls.failing_since is not None and calls.failures >= FAILURES_BORNE:
        since = f"{calls.failing_since:%Y-%m-%d %H:%M:%S} UTC"
        message = f"Whoever watches over this installation from outside is not reached since {since}: {calls.failure}"
        hint = "Check TOCSIN_WATCHDOG_URL; docs/how-to/watch-the-watchman.md."
        # If this silenced the calls, they would never begin again.
        yield Problem("watchdog", message, hint, breaks_a_promise=False)


def _of_coverage(covered: Covered) -> Iterator[Problem]:
    told = any(plan(covered.directory.people[user_id]) for user_id in covered.directory.superadmins)
    instead = "the superadmins are paged instead" if told else "no superadmin can be reached either"
    hint = "`tocsin oncall forecast` tells all of it, and names whom it is about."
    if now := covered.unreached_now:
        until = f" until {_minute(now[0].span.ends_at)}" if now[0].span.ends_at < covered.ends_at else ""
        message = f"{_step(now[0])} reaches nobody{until}: {_why(now[0])} ({instead}).{_more(now)}"
        yield Problem("policy_reaches_nobody", message, hint, breaks_a_promise=not told)
    if ahead := covered.gaps_ahead:
        times = f"from {_minute(ahead[0].span.starts_at)} until {_minute(ahead[0].span.ends_at)}"
        message = f"{_step(ahead[0])} will reach nobody {times}: {_why(ahead[0])} ({instead}).{_more(ahead)}"
        yield Problem("coverage_gap", message, hint, breaks_a_promise=False, risk=True)


def _step(one: Weakness) -> str:
    when = f" after {delay_text(one.step.after)}" if one.step.after else ""
    return f"Policy {one.policy.name}: the step {one.step.reason}{when}"


def _why(one: Weakness) -> str:
    return "; ".join(dict.fromkeys(obstacle.words() for obstacle in one.span.obstacles))


def _minute(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _more(found: Sequence[object]) -> str:
    return f" And {len(found) - 1} more like it." if len(found) > 1 else ""


def _of_people(covered: Covered, working: Collection[str]) -> Iterator[Problem]:
    if without := covered.without_channel(working):
        channels = ", ".join(sorted({method.channel for one in without for method in usable(one)}))
        message = f"{_people(without)} only by a channel that is not set up ({channels}): no page can get there."
        hint = (
            "Set it up (e-mail: TOCSIN_SMTP_HOST), or let them add another way on their account's page, "
            "or `tocsin users contact add`."
        )
        # No page is owed to them by that alone; one that cannot leave is a broken promise of its own.
        yield Problem("channel_not_configured", message, hint, breaks_a_promise=False)
    if unverified := covered.unverified(working):
        message = f"{_people(unverified)} only by contact methods of which nobody knows whether they work."
        hint = (
            "Verify them: everybody on their account's page, or `tocsin users contact send-code`, then `verify`. "
            "`tocsin oncall forecast` says whose."
        )
        yield Problem("unverified_contact", message, hint, breaks_a_promise=False, risk=True)


def _people(found: Sequence[Reach]) -> str:
    return number_of(len(found), "person who may be paged is reached", "people who may be paged are reached")


async def dead_jobs(work: Work) -> list[DeadJob]:
    """Return the jobs that were set aside, latest first."""
    return await jobs.dead(work.tx, 100)
