"""A real SMTP server on loopback that keeps what it is given."""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP


class Mailbox:
    """What arrived, in order. `port` is where it listens."""

    def __init__(self) -> None:
        self.port = 0
        self._mails: list[EmailMessage] = []
        self._lock = threading.Lock()

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's
        """Keep a mail and say so."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        with self._lock:
            self._mails.append(message)
        return "250 2.0.0 kept"

    def mails(self) -> list[EmailMessage]:
        """Return what arrived until now."""
        with self._lock:
            return list(self._mails)


@contextmanager
def smtp_server() -> Iterator[Mailbox]:
    """Run the server in a thread of its own, so that a test may use processes, threads or a loop."""
    mailbox, loop, ready = Mailbox(), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        server = await loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0)
        async with server:
            mailbox.port = server.sockets[0].getsockname()[1]
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    ready.wait()
    try:
        yield mailbox
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
