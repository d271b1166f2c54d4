"""The listening socket: bound once, by whoever is answerable for the address, whichever processes serve on it."""

from __future__ import annotations

import asyncio
import errno
import socket

from tocsin.errors import Code, TocsinError, refuse

BACKLOG = 2_048
"""Connections that may wait to be accepted."""


async def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes any free one. Raises MISCONFIGURED when it cannot listen there."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        listener = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    # asyncio does this only for sockets that name their protocol; without it every answer over a kept connection
    # waits some 40 ms for the client's delayed acknowledgment. Accepted sockets inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> TocsinError:
    if error.errno == errno.EADDRINUSE:
        return refuse(
            Code.MISCONFIGURED,
            f"Port {port} of {host} is in use by another program.",
            "Stop that program, or choose another port with TOCSIN_PORT (0 takes any free one).",
        )
    return refuse(
        Code.MISCONFIGURED,
        f"Cannot listen on port {port} of {host!r}: {error.strerror or error}.",
        "Correct TOCSIN_HOST and TOCSIN_PORT; ports below 1024 need a privilege.",
    )


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket; for one on every address, how this machine reaches it."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # it is compared with, not bound
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
