"""Reports a failure of Tocsin itself the way anybody's failure is reported: it becomes an incident."""

from __future__ import annotations

from tocsin.app.report_errors import report_errors
from tocsin.app.work import Work
from tocsin.domain.incident import Severity
from tocsin.domain.report import ErrorReport
from tocsin.store.projects import INTERNAL_PROJECT_ID


async def report_internal(
    work: Work, error_type: str, message: str, severity: Severity = Severity.HIGH, *, about: str = ""
) -> None:
    """Report a failure of our own, in the transaction that noticed it.

    Failures of one type share an incident, apart by what they are `about`: a mail server that is down must not open
    an incident for each page it costs, but one person who cannot be reached must not hide another.
    """
    report = ErrorReport(
        event_id=work.new_id().hex,
        severity=severity,
        error_type=error_type,
        message=message,
        occurred_at=work.now,
        fingerprint=("tocsin", error_type, about),
        platform="python",
        service="tocsin",
    )
    await report_errors(work, INTERNAL_PROJECT_ID, [report])
