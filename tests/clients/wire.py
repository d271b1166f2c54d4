"""A wire to a server that remembers what a client sent over it: how a client speaks is a fact, to be looked at."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536
IDLE_SECONDS = 30.0


@dataclass(slots=True)
class Wire:
    """A port that leads to the server's, and the bytes of each connection that went there, as they were."""

    port: int
    sent: list[bytearray] = field(default_factory=list)

    def request_heads(self) -> list[str]:
        """Return the head of each connection's first request, in lower case."""
        return [bytes(one).partition(b"\r\n\r\n")[0].decode("latin-1").lower() for one in self.sent if one]


@contextmanager
def wire_to(server_port: int) -> Iterator[Wire]:
    """Give a wire to a port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        wire = Wire(door.getsockname()[1])
        threading.Thread(target=_let_in, args=(door, wire, server_port), daemon=True).start()
        yield wire
        # A close alone does not wake the thread that waits in accept().
        door.shutdown(socket.SHUT_RDWR)


def _let_in(door: socket.socket, wire: Wire, server_port: int) -> None:
    with suppress(OSError):  # the door is closed: the test is over
        while True:
            client, _ = door.accept()
            threading.Thread(target=_connect, args=(client, wire, server_port), daemon=True).start()


def _connect(client: socket.socket, wire: Wire, server_port: int) -> None:
    remembered = bytearray()
    wire.sent.append(remembered)
    with client, socket.create_connection(("127.0.0.1", server_port), IDLE_SECONDS) as server:
        client.settimeout(IDLE_SECONDS)
        answers = threading.Thread(target=_pump, args=(server, client, bytearray()), daemon=True)
        answers.start()
        _pump(client, server, remembered)
        answers.join()


def _pump(source: socket.socket, target: socket.socket, remembered: bytearray) -> None:
    with suppress(OSError):  # either side may hang up; the other one is told by the shutdown
        while chunk := source.recv(CHUNK_BYTES):
            remembered += chunk
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
