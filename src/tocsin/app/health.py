"""Is the machinery well? One answer for the readiness check, the doctor and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tocsin.app.read_ledger import last_difference
from tocsin.app.work import Work
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
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: a stable name, what it is, what to do, and whether the server cannot do its work with it.

    What `breaks_a_promise` keeps the watchdog silent, so that somebody outside notices.
    """

    name: str
    message: str
    hint: str
    stops_service: bool = False
    breaks_a_promise: bool = True


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the machinery, and what is wrong with it."""

    health: Health
    log: LogCondition
    vouchers: tuple[Standing, ...]
    problems: tuple[Problem, ...]
    watchdog: Calls | None = None

    @property
    def ready(self) -> bool:
        """Tell whether this installation can keep its promises now."""
        return not any(problem.stops_service for problem in self.problems)


async def condition(work: Work) -> Condition:
    """Look at the schema, workers, jobs, pages, the log, who vouches for it, and the ledger of intake."""
    kept = await log.condition(work.tx, work.now - LOG_PATIENCE)
    vouchers = tuple(await outside.standings(work.tx, work.now - FORGOTTEN_AFTER))
    health = await jobs.health(
        work.tx, now=work.now, alive_since=work.now - WORKER_SILENCE, failed_since=work.now - FAILED_WINDOW
    )
    calls = await watchdog.state(work.tx, work.now - FORGOTTEN_AFTER)
    return Condition(
        health,
        kept,
        vouchers,
        (
            *_of_schema(await lacking(work.tx)),
            *_of_jobs(health, work.now),
            *_of_pages(health, work.now),
            *_of_log(kept, work.now),
            *_of_vouchers(vouchers),
            *_of_ledger(await last_difference(work)),
            *_of_watchdog(calls),
        ),
        calls,
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
        message = f"{health.dead_jobs} jobs were set aside after failing."
        yield Problem("dead_jobs", message, "`tocsin doctor` lists them.")


def _of_pages(health: Health, now: datetime) -> Iterator[Problem]:
    if health.oldest_unsent_page_due_at and now - health.oldest_unsent_page_due_at > PAGE_PATIENCE:
        age = int((now - health.oldest_unsent_page_due_at).total_seconds())
        message = f"{health.unsent_pages} pages are not delivered; the oldest has waited {age} s."
        yield Problem("unsent_pages", message, "`tocsin incidents show` lists each with its last answer.")
    if health.failed_pages:
        message = f"{health.failed_pages} pages were given up in the last 24 hours."
        hint = "The incidents of project `tocsin` name each address and answer."
        # Others were told, so that the promise is kept; and for a day nobody outside would notice anything else.
        yield Problem("failed_pages", message, hint, breaks_a_promise=False)


def _of_log(kept: LogCondition, now: datetime) -> Iterator[Problem]:
    if kept.waiting_since is not None and now - kept.waiting_since > LOG_PATIENCE:
        message = (
            f"{kept.waiting:,} entries wait for the log, the first since {kept.waiting_since:%Y-%m-%d %H:%M:%S} UTC."
        )
        yield Problem(
            "log_waits", message, "A worker seals them: `tocsin worker`; its own log says what is in the way."
        )
    if kept.refusal is not None:
        yield Problem("log_signer", f"The log is not signed any more. {kept.refusal}", "Nothing else stops meanwhile.")
    elif kept.size and now - max(_times(kept), default=_LONG_AGO) > LOG_PATIENCE:
        signed = f"only the first {kept.signed_size:,} are signed" if kept.signed_size else "none is signed"
        message = f"Nobody signs the log: of {kept.size:,} leaves {signed}."
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


async def dead_jobs(work: Work) -> list[DeadJob]:
    """Return the jobs that were set aside, latest first."""
    return await jobs.dead(work.tx, 100)
