"""Takes an alert for resolved which nobody repeated in time, unless somebody repeats it at this very moment."""

from __future__ import annotations

from tocsin.app import leases
from tocsin.app.leases import Lease
from tocsin.app.report_errors import report_errors
from tocsin.app.signals import expired_alert
from tocsin.app.work import Work
from tocsin.domain.arrival import Arrival
from tocsin.store import reports


async def expire_alert(work: Work, lease: Lease) -> None:
    """Report that an alert is over, and settle the job that says so."""
    project_id = lease.job.payload["projectId"]
    report = expired_alert(lease.job.payload, work.now)
    # Whoever repeats the alert holds this lock while putting the job off, and the job is then not ours any more.
    await reports.lock_failures(work.tx, [(project_id, Arrival.of(report).mark.value)], work.now)
    if await leases.finish(work, lease):
        await report_errors(work, project_id, [report])
