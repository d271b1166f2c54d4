"""Keeps the log: seals what waits, soon after it was recorded, and signs it if the signer is here.

It looks several times a second instead of being woken: a NOTIFY with each entry would make all commits queue.
"""

from __future__ import annotations

import asyncio

import structlog

from tocsin.app.seal import Sealed, seal_waiting
from tocsin.app.sign import introduce_key, report_refusal, report_stalled, sign_log, signer_seen
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds
from tocsin.errors import Refusal, TocsinError
from tocsin.signing.signer import Signer, SignerRefusesError

log = structlog.get_logger()

LOOK_SECONDS = 0.2
SPACING_SECONDS = 0.4
"""Between batches that are not full: each costs a leaf of its own and a signature."""
RECOVERY_SECONDS = 1.0
SEEN_SECONDS = 10.0


class LogKeeper:
    """The log's part of a worker; without a signer it only seals."""

    def __init__(self, app: App, signer: Signer | None, worker: str) -> None:
        self._app = app
        self._signer = signer
        self._worker = worker
        self._introduced = False
        self._failing_since_seconds: float | None = None
        self._refusal: Refusal | None = None
        self._seen_at_seconds = float("-inf")
        self._sealed_at_seconds = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the log until `stop` is set. What fails is tried again: pages must go out, whatever the log does."""
        while not stop.is_set():
            try:
                seconds = await self._step()
                self._failing_since_seconds = None
            except TocsinError as error:
                log.error("worker.log_waits", reason=error.refusal.message)
                seconds = RECOVERY_SECONDS
                await self._tell_if_it_lasts(error.refusal.message)
            except Exception as error:
                log.exception("worker.log_failed")
                seconds = RECOVERY_SECONDS
                await self._tell_if_it_lasts(f"{type(error).__name__}: {error}")
            await pause(stop, seconds)

    async def _tell_if_it_lasts(self, reason: str) -> None:
        """Open an incident when nothing is sealed or signed for long, and again after as long: nobody reads its log."""
        now = monotonic_seconds()
        since = self._failing_since_seconds
        if since is None:
            self._failing_since_seconds = now
        elif now - since >= self._app.settings.log_stale_after:
            try:
                await report_stalled(self._app, reason)
            except Exception:
                # As a rule the database is away; it is tried again with the next failure.
                log.exception("worker.log_failure_not_told")
            else:
                self._failing_since_seconds = now

    async def _step(self) -> float:
        """Seal and sign once; return how long to wait (seconds)."""
        sealed = await self._seal()
        if self._signer is not None:
            await self._sign(self._signer)
        return 0.0 if sealed and sealed.more_waits else LOOK_SECONDS

    async def _seal(self) -> Sealed | None:
        if monotonic_seconds() - self._sealed_at_seconds < SPACING_SECONDS:
            return None
        sealed = await seal_waiting(self._app)
        if sealed and not sealed.more_waits:
            self._sealed_at_seconds = monotonic_seconds()
        return sealed

    async def _sign(self, signer: Signer) -> None:
        try:
            if not self._introduced:
                self._introduced = await introduce_key(self._app, signer)
            if not self._introduced:
                return
            await sign_log(self._app, signer)
        except SignerRefusesError as error:
            self._introduced = False
            await self._tell(signer, error.refusal)
        else:
            await self._tell(signer, None)

    async def _tell(self, signer: Signer, refusal: Refusal | None) -> None:
        """Say that the signer is here, now and then; what it refuses at once, and as an incident."""
        now = monotonic_seconds()
        if refusal == self._refusal and now - self._seen_at_seconds < SEEN_SECONDS:
            return
        if refusal is not None and refusal != self._refusal:
            log.error("worker.signer_refuses", reason=refusal.message)
            await report_refusal(self._app, refusal)
        await signer_seen(self._app, signer.key().vkey, self._worker, refusal)
        self._refusal, self._seen_at_seconds = refusal, now


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
