"""A program that fails again and again, and is killed again and again: what it captured is owed to the server.

    python -m tests.faults.capturing tocsin|sentry|forwarded DSN SPOOL JOURNAL

Before a capture its number goes to the journal, after it the event's id, both to the disk. It ends when JOURNAL.stop
is there and the spool is empty.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.journal import append, lines, opened

PAUSE_SECONDS = 0.05
RETRY_SECONDS = 0.1
FLUSH_SECONDS = 120.0
CAPTURE_SECONDS = 10.0
"""These programs are to lose nothing to a `kill -9`, so each waits for the disk, however busy the machine is."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """One way to report: `capture` returns the event's id when it is kept, `flush` whether nothing is owed."""

    capture: Callable[[str], str]
    flush: Callable[[float], bool]


def message_of(kind: str, number: int) -> str:
    """Return the message of a capture, which no other has."""
    return f"outage of {kind}, number {number}"


def _tocsin(dsn: str, spool: str) -> Reporter:
    import tocsin_sdk  # each program has one SDK

    tocsin_sdk.init(dsn, spool_directory=spool, service="outage", max_capture_seconds=CAPTURE_SECONDS)
    return Reporter(tocsin_sdk.capture_message, tocsin_sdk.flush)


def _sentry(dsn: str, spool: str) -> Reporter:
    import sentry_sdk  # each program has one SDK

    from tocsin_sdk import sentry_transport  # it needs sentry-sdk

    sentry_transport.MAX_WAIT_SECONDS = CAPTURE_SECONDS
    sentry_sdk.init(dsn=dsn, transport=sentry_transport.spooling_transport(directory=spool))

    def flush(seconds: float) -> bool:
        sentry_sdk.flush(seconds)
        transport = sentry_sdk.get_client().transport
        assert isinstance(transport, sentry_transport.SpoolingTransport)
        return transport._spool.counts().waiting == 0

    return Reporter(lambda message: sentry_sdk.capture_message(message, level="error") or "", flush)


def _forwarded(dsn: str, _: str) -> Reporter:
    """Report over plain HTTP, to a forwarder that may be killed at any moment."""
    url = urlsplit(dsn)
    headers = {"Authorization": f"Bearer {url.username}", "Content-Type": "application/json"}

    def capture(message: str) -> str:
        event_id = hashlib.sha256(message.encode()).hexdigest()[:32]
        body = json.dumps({"eventId": event_id, "severity": "HIGH", "message": message})
        while not _posted(url.netloc.rpartition("@")[2], body, headers):
            time.sleep(RETRY_SECONDS)
        return event_id

    return Reporter(capture, lambda _: True)


def _posted(host: str, body: str, headers: dict[str, str]) -> bool:
    with contextlib.closing(http.client.HTTPConnection(host, timeout=CAPTURE_SECONDS)) as connection:
        try:
            connection.request("POST", "/api/v1/errors", body, headers)
            return connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            return False


REPORTERS: dict[str, Callable[[str, str], Reporter]] = {"tocsin": _tocsin, "sentry": _sentry, "forwarded": _forwarded}


def captured(journal: Path) -> dict[int, str]:
    """Return the id of each capture that returned, by its number."""
    kept = (line.split() for line in lines(journal) if line.startswith("kept "))
    return {int(number): event_id for _, number, event_id in kept}


def numbers_after(journal: Path) -> Iterator[int]:
    """Give numbers that no earlier process of this program used."""
    number = max((int(line.split()[1]) for line in lines(journal)), default=0)
    while True:
        number += 1
        yield number


def main() -> int:
    """Capture until told to stop; return 0 if everything was delivered then."""
    kind, dsn, spool, journal = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
    numbers = numbers_after(journal)
    file = opened(journal)
    reporter = REPORTERS[kind](dsn, spool)
    while not journal.with_suffix(".stop").exists():
        number = next(numbers)
        append(file, f"about {number}", to_disk=True)
        if event_id := reporter.capture(message_of(kind, number)):
            append(file, f"kept {number} {event_id}", to_disk=True)
        time.sleep(PAUSE_SECONDS)
    return 0 if reporter.flush(FLUSH_SECONDS) else 1


if __name__ == "__main__":
    sys.exit(main())
