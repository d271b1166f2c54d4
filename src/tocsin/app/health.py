"""Is the machinery well? One answer for the readiness check, the doctor and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tocsin.app.work import Work
from tocsin.store import jobs
from tocsin.store.jobs import DeadJob, Health

WORKER_SILENCE = timedelta(seconds=30)
PAGE_PATIENCE = timedelta(minutes=2)
JOB_PATIENCE = timedelta(minutes=1)
FAILED_WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: a stable name, what it is, what to do, and whether the server cannot do its work with it."""

    name: str
    message: str
    hint: str
    stops_service: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of the machinery, and what is wrong with it."""

    health: Health
    problems: tuple[Problem, ...]

    @property
    def ready(self) -> bool:
        """Tell whether this installation can keep its promises now."""
        return not any(problem.stops_service for problem in self.problems)


async def condition(work: Work) -> Condition:
    """Look at workers, jobs and pages."""
    health = await jobs.health(work.tx, alive_since=work.now - WORKER_SILENCE, failed_since=work.now - FAILED_WINDOW)
    found: list[Problem] = []
    if not health.workers_alive:
        seen = f"; the last one was seen {health.worker_seen_at:%Y-%m-%d %H:%M:%S} UTC" if health.worker_seen_at else ""
        found.append(
            Problem("no_worker", f"No worker is running{seen}: nobody is paged.", "Start `tocsin worker`.", True)
        )
    if health.earliest_job_due_at and work.now - health.earliest_job_due_at > JOB_PATIENCE:
        late = int((work.now - health.earliest_job_due_at).total_seconds())
        found.append(Problem("late_jobs", f"A job is {late} s late.", "Start more workers: `tocsin worker`."))
    if health.oldest_unsent_page_at and work.now - health.oldest_unsent_page_at > PAGE_PATIENCE:
        age = int((work.now - health.oldest_unsent_page_at).total_seconds())
        found.append(
            Problem(
                "unsent_pages",
                f"{health.unsent_pages} pages are not delivered; the oldest has waited {age} s.",
                "`tocsin incidents show` lists each with its last answer.",
            )
        )
    if health.failed_pages:
        found.append(
            Problem(
                "failed_pages",
                f"{health.failed_pages} pages were given up in the last 24 hours.",
                "The incidents of project `tocsin` name each address and answer.",
            )
        )
    if health.dead_jobs:
        found.append(
            Problem(
                "dead_jobs", f"{health.dead_jobs} jobs were set aside after failing.", "`tocsin doctor` lists them."
            )
        )
    return Condition(health, tuple(found))


async def dead_jobs(work: Work) -> list[DeadJob]:
    """Return the jobs that were set aside, latest first."""
    return await jobs.dead(work.tx, 100)
