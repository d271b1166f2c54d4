"""A transport for sentry-sdk that loses nothing: an envelope is on the disk before the capturing call goes on.

One changed line keeps every integration: `sentry_sdk.init(dsn=…, transport=SpoolingTransport)`. The spool lies below
the directory of `spooling_transport(directory=…)`, or that of TOCSIN_SPOOL, or the user's state directory.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from sentry_sdk.consts import VERSION
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import HttpTransport

from tocsin_sdk import clock, complaints
from tocsin_sdk.directories import SPOOL_VARIABLE, spool_directory
from tocsin_sdk.dsn import Dsn
from tocsin_sdk.memory import DiskOrMemory
from tocsin_sdk.sender import Sender
from tocsin_sdk.spool import Parcel, Spool
from tocsin_sdk.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

COMPRESSION_LEVEL = 3
"""An event is compressed while its program waits: a third of the time of level 9, for a few bytes in a hundred."""
MAX_WAIT_SECONDS = 0.5
"""How long a capture waits for the disk. After that the envelope is in memory, and written as soon as that works."""
LOSS_REPORT_SECONDS = 30
"""What the client dropped by itself is told with the next envelope, at most this often; sentry-sdk's own measure."""
QUICK_SECONDS = 0.1
"""A flush that takes longer is worth the word that sentry-sdk has for it."""
LAST_WRITE_SECONDS = 5.0
"""What a slow disk gets when the program ends: then what still waits for it is gone."""
KILL_SECONDS = 0.1
"""Whoever kills a transport has flushed it before, for as long as they would wait."""

_CLIENT = f"sentry.python/{VERSION}"
_HEADERS = (("Content-Type", "application/x-sentry-envelope"), ("Content-Encoding", "gzip"))


class SpoolingTransport(HttpTransport):
    """Writes each envelope to the disk; a thread of its own sends what lies there until the server has it.

    Of HttpTransport it keeps the count of what the client drops by itself; its queue and its connections stay unused.
    """

    directory: ClassVar[str | None] = None
    """Where the spools of all DSNs lie; None for TOCSIN_SPOOL or the user's state directory."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        assert self.parsed_dsn is not None, "sentry-sdk makes no transport without a DSN"
        dsn = Dsn.parse(str(options["dsn"]))
        self._path = f"/api/{dsn.project}/envelope/"
        self._is_killed = False
        self._spool = Spool(_directory(self.directory, dsn), on_problem=self._complain)
        self._store = DiskOrMemory(self._spool, self._complain)
        # The key goes with each request and is not kept: what waits while a key is replaced goes with the new one.
        key = ("X-Sentry-Auth", self.parsed_dsn.to_auth(_CLIENT).to_header())
        headers = (key, ("User-Agent", _CLIENT))
        self._sender = Sender(self._store, dsn.base_url, on_problem=self._complain, headers=headers)
        self._writer = Writer(
            self._store,
            max_wait_seconds=MAX_WAIT_SECONDS,
            on_kept=self._sender.wake,
            on_problem=self._complain,
            drop_notice=self._drop_notice,
        )
        self._sender.start()

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep an envelope on the disk, and have it sent. It never raises."""
        try:
            losses = self._fetch_pending_client_report(interval=LOSS_REPORT_SECONDS)
            # Others may hold the envelope: what is added is added to a copy.
            items = [*envelope.items, losses] if losses is not None else envelope.items
            whole = Envelope(headers=envelope.headers, items=items)
            self._writer.keep(self._parcel(whole.serialize()))
        except Exception as error:  # noqa: BLE001  # the host is about its own error: ours must not come in its way
            self._complain(f"an envelope could not be kept: {type(error).__name__}: {error}")
            for item in envelope.items:
                self.record_lost_event("internal_sdk_error", item=item)

    def _parcel(self, body: bytes) -> Parcel:
        return Parcel(self._path, gzip.compress(body, COMPRESSION_LEVEL), _HEADERS)

    def _drop_notice(self, number: int) -> Parcel:
        """Tell of envelopes that found no room, in the way in which sentry-sdk tells what it dropped."""
        discarded = [{"reason": "queue_overflow", "category": "error", "quantity": number}]
        report = {"timestamp": clock.timestamp(clock.now()), "discarded_events": discarded}
        return self._parcel(b'{}\n{"type":"client_report"}\n' + json.dumps(report).encode() + b"\n")

    def flush(self, timeout: float, callback: Callable[[int, float], None] | None = None) -> None:
        """Wait at most `timeout` seconds until everything is delivered. What is not, lies on the disk."""
        if timeout <= 0:
            return
        deadline = monotonic() + timeout
        try:
            losses = self._fetch_pending_client_report(force=True)
            if losses is not None:
                self.capture_envelope(Envelope(items=[losses]))
            if self._is_flushed(min(QUICK_SECONDS, timeout)):
                return
            if callback is not None:
                callback(self._spool.counts().waiting, timeout)
            self._is_flushed(max(0.0, deadline - monotonic()))
        except OSError as error:
            self._complain(str(error))

    def _is_flushed(self, timeout: float) -> bool:
        """Wait until everything is on the disk, what a slow disk has kept waiting too, and then delivered."""
        deadline = monotonic() + timeout
        return self._writer.flush(timeout) and self._sender.flush(max(0.0, deadline - monotonic()))

    def is_healthy(self) -> bool:
        """Tell that all is well: a server that is down loses nothing here, so nothing needs to be thinned out."""
        return True

    def kill(self) -> None:
        """Stop sending. What was not delivered is sent at the next start."""
        super().kill()
        written = self._writer.close(LAST_WRITE_SECONDS)
        self._sender.close(KILL_SECONDS)
        if written:
            self._store.close()
        self._is_killed = True
        try:
            self._spool.close()
        except OSError as error:
            complaints.say(str(error))

    def _complain(self, text: str) -> None:
        # The sender may be in the midst of something when its spool is closed: that is no news.
        if not self._is_killed:
            complaints.say(text)


def spooling_transport(*, directory: str | os.PathLike[str]) -> type[SpoolingTransport]:
    """Return the transport with its spools below `directory`: `sentry_sdk.init(transport=spooling_transport(…))`."""

    class SpoolingTransportThere(SpoolingTransport):
        pass

    SpoolingTransportThere.directory = os.fspath(directory)
    return SpoolingTransportThere


def _directory(given: str | None, dsn: Dsn) -> str:
    """Return where the envelopes for one project lie: programs with other DSNs may share the directory above."""
    above = given or os.environ.get(SPOOL_VARIABLE)
    if not above:
        return spool_directory(dsn, "sentry")
    return os.path.join(above, "sentry-" + hashlib.sha256(f"{dsn.base_url} {dsn.project}".encode()).hexdigest()[:16])
