"""What operators and their machines ask: is it alive, is it ready, how much of what; and the documentation."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec
import structlog
from starlette.responses import Response

from tocsin.app import health, read_incidents
from tocsin.app.health import Condition
from tocsin.app.read_ledger import intake_condition
from tocsin.errors import TocsinError
from tocsin.web import metrics
from tocsin.web.documents import CheckDocument, HealthAnswer, ReadinessAnswer
from tocsin.web.endpoint import Call
from tocsin.web.problems import RETRY_AFTER_SECONDS

log = structlog.get_logger()

READINESS_SECONDS = 5.0
"""How long the database may take to answer; who asks for readiness rarely waits longer."""
_ALIVE = Response(msgspec.json.encode(HealthAnswer("ok")), media_type="application/json")


async def healthz(_: Call) -> Response:
    """Say that the process is alive, whatever the database does."""
    return _ALIVE


async def readyz(call: Call) -> Response:
    """Say whether this installation can keep its promises."""
    checks = await _checks(call)
    ready = not any(check.stops_service for check in checks)
    answer = ReadinessAnswer("ready" if ready else "not ready", checks)
    headers = {} if ready else {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return Response(msgspec.json.encode(answer), 200 if ready else 503, headers, "application/json")


async def _checks(call: Call) -> list[CheckDocument]:
    try:
        async with asyncio.timeout(READINESS_SECONDS), call.services.app.work() as work:
            condition = await health.condition(work)
    except (TocsinError, TimeoutError) as error:
        # The reason may name hosts and users: the log has it, everybody who asks has not.
        log.error("readiness.no_database", reason=str(error) or type(error).__name__)
        return [CheckDocument("database", "The database cannot be used.", "`tocsin doctor` says why.", True)]
    return [
        CheckDocument(problem.name, problem.message, problem.hint, problem.stops_service)
        for problem in condition.problems
    ]


async def scrape(call: Call) -> Response:
    """Tell Prometheus everything that is counted."""
    async with call.services.app.work() as work:
        stats = await read_incidents.stats(work, call.actor)
        condition = await health.condition(work)
        intake = await intake_condition(work)
    state = condition.health
    numbers = {
        "overdue_incidents": stats.overdue,
        "unsent_pages": state.unsent_pages,
        "failed_pages": state.failed_pages,
        "dead_jobs": state.dead_jobs,
        "workers_alive": state.workers_alive,
        "policy_steps_unreached": condition.steps_unreached,
        "coverage_gaps": condition.coverage_gaps,
        **_log_numbers(condition, call.services.app.clock()),
        **_watchdog_numbers(condition),
    }
    by_status = {status.value: count for status, count in stats.by_status.items()}
    by_severity = {severity.value: count for severity, count in stats.by_severity.items()}
    call.services.metrics.ledger(intake.tallies)
    body = call.services.metrics.exposition(by_status, by_severity, numbers)
    return Response(body, headers={"Content-Type": metrics.CONTENT_TYPE})


def _log_numbers(condition: Condition, now: datetime) -> dict[str, int]:
    kept = condition.log
    age = now - kept.waiting_since if kept.waiting_since else timedelta()
    return {
        "log_size": kept.size,
        "log_signed_size": kept.signed_size or 0,
        "log_waiting": kept.waiting,
        "log_waiting_seconds": max(int(age.total_seconds()), 0),
        "log_signer_refuses": int(kept.refusal is not None),
        "log_vouched_size": max((one.size for one in condition.vouchers), default=0),
        "log_vouchers_failing": sum(one.failing_since is not None for one in condition.vouchers),
    }


def _watchdog_numbers(condition: Condition) -> dict[str, int]:
    calls = condition.watchdog
    if calls is None:
        return {}
    return {
        "watchdog_called_timestamp_seconds": int(calls.called_at.timestamp()) if calls.called_at else 0,
        "watchdog_withheld": int(calls.withheld_since is not None),
        "watchdog_failing": int(calls.failing_since is not None),
    }


async def openapi(call: Call) -> Response:
    """Show the machine's description of this API."""
    return Response(call.services.openapi, media_type="application/json")


async def docs(call: Call) -> Response:
    """Show the same for people."""
    return call.services.docs
