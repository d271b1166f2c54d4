"""The client: from a failure to a report on the disk. Nothing in here ever raises into the host."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from tocsin_sdk import clock, complaints
from tocsin_sdk.delivery import ERRORS_PATH
from tocsin_sdk.dsn import Dsn
from tocsin_sdk.memory import DiskOrMemory, Earlier
from tocsin_sdk.report import SEVERITIES, Details, Origin, encode, encode_made, looked_up, of_exception, of_message
from tocsin_sdk.sender import LINES_TYPE, Sender
from tocsin_sdk.spool import MAX_SPOOL_BYTES, MAX_SPOOL_PARCELS, Parcel, Spool, SpoolUnusableError
from tocsin_sdk.writer import Writer

BeforeSend = Callable[[dict[str, Any]], "dict[str, Any] | None"]

DEFAULT_SEVERITY = "HIGH"
MAX_CAPTURE_SECONDS = 0.05
SAME_ERROR_SECONDS = 5.0
"""An exception that is seen twice within this time (logged, then raised through a middleware) is reported once."""
CLOSE_SECONDS = 0.2
"""How long a spool that is in use is waited for, to close it. Left open it loses nothing."""
MAX_NESTING = 2
"""Captures within each other: what logs an error while an error is reported is reported too, but not for ever."""
MAX_REPORT_BYTES = 1_048_576

_MARK = "__tocsin_report__"
_HEADERS = (("Content-Type", LINES_TYPE),)


@dataclass(frozen=True)
class Options:
    """How a client behaves: see `tocsin_sdk.init`."""

    dsn: Dsn
    spool_directory: str
    earlier_spool: str | None = None
    origin: Origin = field(default_factory=Origin)
    before_send: BeforeSend | None = None
    max_capture_seconds: float = MAX_CAPTURE_SECONDS
    timeout_seconds: float = 10.0
    max_spool_bytes: int = MAX_SPOOL_BYTES
    max_spool_parcels: int = MAX_SPOOL_PARCELS


class Client:
    """Captures, keeps and sends the reports of one program. Threads, forks and signal handlers may use it freely."""

    def __init__(self, options: Options) -> None:
        """Wire the parts; the disk is not touched before the first report, but for what an earlier process left."""
        self._options = options
        self._origin = options.origin.fields()
        self._nesting = threading.local()
        self.spool = Spool(
            options.spool_directory,
            max_bytes=options.max_spool_bytes,
            max_parcels=options.max_spool_parcels,
            on_problem=complaints.say,
        )
        self._store = DiskOrMemory(self.spool, complaints.say, self._earlier())
        # The key travels with the request and is not kept: what waits while a key is replaced goes with the new one.
        key = ("Authorization", f"Bearer {options.dsn.key}")
        self._sender = Sender(
            self._store,
            options.dsn.base_url,
            timeout_seconds=options.timeout_seconds,
            on_problem=complaints.say,
            headers=(key,),
        )
        self._writer = Writer(
            self._store,
            max_wait_seconds=options.max_capture_seconds,
            on_kept=self._sender.wake,
            on_problem=complaints.say,
            drop_notice=self._drop_notice,
        )

    def _earlier(self) -> Earlier | None:
        directory, service = self._options.earlier_spool, self._origin.get("service")
        if directory is None:
            return None
        holding = f'"service":{encode(service)}'.encode() if service else b""
        return Earlier(Spool(directory, on_problem=complaints.say), holding)

    def start(self) -> None:
        """Send what an earlier process has left, from now on."""
        self._sender.start()

    @staticmethod
    def details(
        tags: Mapping[str, object] | None, context: Mapping[str, object] | None, trace_id: str, user_id: str
    ) -> Details | None:
        """Return what a caller adds to a report, if anything; it is looked at only when the report is made."""
        try:
            is_any = bool(tags or context or trace_id or user_id)
        except Exception:  # noqa: BLE001  # an array, say, whose truth is ambiguous: it is looked at with the report
            is_any = True
        return Details(tags, context, trace_id, user_id) if is_any else None

    def capture_exception(
        self,
        error: BaseException | None = None,
        *,
        severity: str = DEFAULT_SEVERITY,
        handled: bool = True,
        details: Details | None = None,
    ) -> str:
        """Report an exception, or the one that is being handled; return the event id, "" if there is none."""
        found = sys.exc_info()[1] if error is None else error  # an exception may be false
        if found is None:
            complaints.say("capture_exception was called where no exception is being handled")
            return ""
        severity = _known(severity)
        if known := _already(found, severity):
            return known
        event_id = self._capture(os.urandom(16).hex(), severity, lambda: of_exception(found, handled=handled), details)
        if event_id:  # one that was not reported now may be reported by whoever catches it next
            _mark(found, event_id, severity)
        return event_id

    def capture_message(
        self, message: str, *, severity: str = DEFAULT_SEVERITY, template: str = "", details: Details | None = None
    ) -> str:
        """Report a message; return the event id, "" if it was not reported."""
        event_id = os.urandom(16).hex()
        return self._capture(event_id, _known(severity), lambda: of_message(message, template), details)

    def flush(self, timeout_seconds: float) -> bool:
        """Send now; return whether everything was sent in time."""
        deadline = time.monotonic() + timeout_seconds
        written = self._writer.flush(timeout_seconds)
        return self._sender.flush(max(0.0, deadline - time.monotonic())) and written

    def stop(self, timeout_seconds: float) -> bool:
        """Flush, and end the threads; return whether everything was sent in time. What was not is on the disk.

        A report that comes later still, say from a finalizer, is written by its caller.
        """
        deadline = time.monotonic() + timeout_seconds
        written = self._writer.close(timeout_seconds)
        sent = self._sender.close(max(0.0, deadline - time.monotonic()))
        if written:
            self._store.close()
        return sent and written

    def close(self, timeout_seconds: float) -> bool:
        """Stop, and close the spool."""
        sent = self.stop(timeout_seconds)
        try:
            self.spool.close(CLOSE_SECONDS)
        except SpoolUnusableError as error:
            complaints.say(f"{error}, so it is left open")
        return sent

    def _capture(
        self, event_id: str, severity: str, make: Callable[[], dict[str, Any]], details: Details | None
    ) -> str:
        depth = getattr(self._nesting, "depth", 0)
        if depth >= MAX_NESTING:
            complaints.say("an error inside the reporting of an error is not reported")
            return ""
        self._nesting.depth = depth + 1
        try:
            report = {
                "eventId": event_id,
                "severity": severity,
                "occurredAt": clock.timestamp(clock.now()),
                **self._origin,
                **(details.fields() if details else {}),
                **make(),
            }
            body = self._body(report)
            if body is None:
                return ""
            self._writer.keep(Parcel(ERRORS_PATH, body, _HEADERS))
        except Exception as error:  # noqa: BLE001  # the boundary: whatever fails in here, the host goes on
            complaints.say(f"a report could not be made: {complaints.words(error)}")
            return ""
        finally:
            self._nesting.depth = depth
        return event_id

    def _body(self, report: dict[str, Any]) -> bytes | None:
        """Return a report's line, after the host had its say; None if the host does not want it sent."""
        body = encode_made(report).encode()
        if self._options.before_send is not None:
            try:
                changed = self._options.before_send(json.loads(body))
                if changed is None:
                    return None
                body = encode(changed).encode()
            except Exception as error:  # noqa: BLE001  # the host's code: the failure that it was to look at comes first
                complaints.say(f"before_send failed, so the report goes as it was: {complaints.words(error)}")
        if len(body) > MAX_REPORT_BYTES:
            raise ValueError(f"it has {len(body):,} bytes, more than the server takes ({MAX_REPORT_BYTES:,})")
        return body

    def _drop_notice(self, number: int) -> Parcel:
        text = f"{number} error reports were dropped: the spool on the disk was full"
        report = {
            "eventId": os.urandom(16).hex(),
            "severity": DEFAULT_SEVERITY,
            "occurredAt": clock.timestamp(clock.now()),
            **self._origin,
            "type": "tocsin_sdk.ReportsDropped",
            **of_message(text, "%d error reports were dropped: the spool on the disk was full"),
        }
        return Parcel(ERRORS_PATH, encode(report).encode(), _HEADERS)


def _known(severity: object) -> str:
    wanted = severity.upper() if isinstance(severity, str) else type(severity).__name__
    if wanted in SEVERITIES:
        return wanted
    complaints.say(f"there is no severity {wanted[:100]!r}: it must be one of {', '.join(SEVERITIES)}; HIGH is assumed")
    return DEFAULT_SEVERITY


def _already(error: BaseException, severity: str) -> str:
    """Return the event id under which this very exception was just reported as at least this bad, or ""."""
    mark = looked_up(error, _MARK)
    if not isinstance(mark, tuple):
        return ""
    event_id, rank, at = mark
    is_news = SEVERITIES.index(severity) > rank or time.monotonic() - at > SAME_ERROR_SECONDS
    return "" if is_news else str(event_id)


def _mark(error: BaseException, event_id: str, severity: str) -> None:
    try:
        setattr(error, _MARK, (event_id, SEVERITIES.index(severity), time.monotonic()))
    except Exception:  # noqa: BLE001  # an exception that takes no attributes is reported twice, which is no loss
        return
