"""A mail server on loopback that accepts everything and keeps the subjects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from multiprocessing.connection import Connection
from typing import Any

from aiosmtpd.smtp import SMTP

from bench.support import processes

SENDER = "tocsin@bench.example"


async def mail_sink(line: Connection) -> None:
    """Be the mail server; sends its port, then the subject of each mail that it accepts."""

    class Sink:
        async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
            message = message_from_bytes(envelope.content, policy=policy.default)
            line.send(str(message["Subject"]))
            return "250 2.0.0 kept"

    stop, loop = processes.stop_at_end_of(line), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Sink(), loop=loop), "127.0.0.1", 0)
    async with server:
        line.send(server.sockets[0].getsockname()[1])
        await stop.wait()


@contextmanager
def subjects_kept(line: Connection) -> Iterator[list[str]]:
    """Keep the subjects that come in during the block; a line that nobody reads fills up, and mails would wait."""
    loop = asyncio.get_running_loop()
    subjects: list[str] = []

    def keep() -> None:
        while line.poll():
            subjects.append(line.recv())

    loop.add_reader(line.fileno(), keep)
    try:
        yield subjects
    finally:
        loop.remove_reader(line.fileno())


def mail_settings(port: int) -> dict[str, object]:
    """Return the settings with which pages go there."""
    return {"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none", "smtp_sender": SENDER}
