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


def install(client: Client, level: int) -> Callable[[], None]:
    """Report what any logger hands to its handlers from `level` on; return what undoes it.

    A handler on the root logger would not do: where the host has none it silences `logging.lastResort` and makes
    `basicConfig` do nothing, `dictConfig` removes it, and it hears of no logger that does not propagate.
    """
    threshold = logging.Handler(level).level  # It knows the names of levels, too.
    before = logging.Logger.callHandlers
    is_watching = True

    def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        try:
            before(logger, record)
        finally:
            try:
                if is_watching:
                    _report_safely(client, threshold, record)
            except RecursionError:
                complaints.unsaid += 1

    def remove() -> None:
        nonlocal is_watching
        is_watching = False  # Who wrapped it after us goes on to call us.
        if logging.Logger.callHandlers is call_handlers:
            logging.Logger.callHandlers = before  # type: ignore[method-assign]

    logging.Logger.callHandlers = call_handlers  # type: ignore[assignment,method-assign]
    return remove


def _report_safely(client: Client, level: int, record: logging.LogRecord) -> None:
    """Report a record. What goes wrong is a problem of ours, and never the host's."""
    try:
        if record.levelno >= level:
            _report(client, record)
    except Exception as error:  # noqa: BLE001  # a record may hold anything: its message need not even format
        complaints.say(f"a log record could not be reported: {complaints.words(error)}")


def _report(client: Client, record: logging.LogRecord) -> None:
    severity = next((name for level, name in _SEVERITIES if record.levelno >= level), "LOW")
    details = Details(context=_context(record), logger=record.name)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        client.capture_exception(error, severity=severity, details=details)
    else:
        text, template = _texts(record)
        client.capture_message(text, severity=severity, template=template, details=details)


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
