"""The `logging` module: ERROR is HIGH, CRITICAL is CRITICAL, and the message before formatting is the template."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Callable

from tocsin_sdk import complaints
from tocsin_sdk.report import Details

if TYPE_CHECKING:
    from tocsin_sdk.client import Client

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SEVERITIES = ((logging.CRITICAL, "CRITICAL"), (logging.ERROR, "HIGH"), (logging.WARNING, "MEDIUM"))


class ReportHandler(logging.Handler):
    """Reports log records. It takes no lock of its own: one thread's report must not hold up another's."""

    def __init__(self, client: Client, level: int) -> None:
        """Report to `client` from `level` on."""
        super().__init__(level)
        self._client = client

    def handle(self, record: logging.LogRecord) -> bool:
        """Report a record, unless a filter keeps it back."""
        kept: object = self.filter(record)  # From Python 3.12 on a filter may return another record.
        if not kept:
            return False
        self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record. What goes wrong is a problem of ours, and never the host's."""
        try:
            self._report(record)
        except Exception as error:  # noqa: BLE001  # a record may hold anything: its message need not even format
            complaints.say(f"a log record could not be reported: {type(error).__name__}: {error}")

    def _report(self, record: logging.LogRecord) -> None:
        severity = next((name for level, name in _SEVERITIES if record.levelno >= level), "LOW")
        details = Details(context=_context(record), logger=record.name)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._client.capture_exception(error, severity=severity, details=details)
        else:
            text, template = _texts(record)
            self._client.capture_message(text, severity=severity, template=template, details=details)


def install(client: Client, level: int) -> Callable[[], None]:
    """Report what reaches the root logger; return what undoes it."""
    handler = ReportHandler(client, level)
    logging.getLogger().addHandler(handler)
    return lambda: logging.getLogger().removeHandler(handler)


def _texts(record: logging.LogRecord) -> tuple[str, str]:
    """Return the message and its template. One that cannot be formatted is reported as it was written."""
    template = str(record.msg)
    try:
        return record.getMessage(), template
    except Exception:  # noqa: BLE001  # a parameter's own str() may raise anything
        return f"{template} (its parameters do not fit)", template


def _context(record: logging.LogRecord) -> dict[str, object]:
    extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    place = {"file": record.pathname, "line": record.lineno, "function": record.funcName, "thread": record.threadName}
    message = {"logMessage": _texts(record)[0]} if record.exc_info else {}
    return {"log": {**place, **message}, **({"extra": extra} if extra else {})}
