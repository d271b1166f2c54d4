"""The process that sends one message by Apprise: `python -m tocsin.channels.apprise_child`, an order in, a result out.

Before Apprise is loaded, an audit hook (PEP 578) is set, which nothing in the process can take away: each connection is
judged by the address that it goes to, whichever of 190 plugins makes it and whatever a name or a redirect led to.
Starting programs and writing files are refused as well.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote

import msgspec

from tocsin.address_guard import AddressGuard, AddressRefusedError
from tocsin.channels import MAX_ANSWER_CHARACTERS, clean_line
from tocsin.channels.apprise import Order, Result

_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_STARTING = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PIECES = re.compile(r"[/:@?&=#+,]+")
_SHORTEST_SECRET = 4


class Wall:
    """Refuses what the process must not do, and remembers the first thing that it refused."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self.refused = ""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Judge one audit event; raise for what is refused, so that it does not happen."""
        if event in _CONNECTING:
            reason = self._judged(arguments[-1])
        elif event.startswith(_STARTING):
            reason = "it would start another program"
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            reason = "it would write a file"
        else:
            return
        if reason is not None:
            self.refused = self.refused or reason
            raise AddressRefusedError(reason)

    def _judged(self, peer: object) -> str | None:
        if peer is None:
            # A datagram over a socket that is connected, and so was judged.
            return None
        if not isinstance(peer, tuple) or not isinstance(peer[0], str):
            return "it would connect to a socket of this machine"
        try:
            return self._guard.refusal(ip_address(peer[0].partition("%")[0]).compressed)
        except ValueError:
            return "it would connect to a name whose address cannot be judged"


class Said(logging.Handler):
    """Keeps what Apprise logs, without any piece of the address: some of it is secret, and which is the plugin's."""

    def __init__(self, address: str) -> None:
        super().__init__(logging.INFO)
        found = {address, *_PIECES.split(address), *_PIECES.split(unquote(address))}
        pieces = {piece for piece in found - {address.partition("://")[0]} if len(piece) >= _SHORTEST_SECRET}
        # The longest first, for one may contain another.
        self._secrets = sorted(pieces, key=len, reverse=True)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        line = record.getMessage()
        for secret in self._secrets:
            line = line.replace(secret, "…")
        self.lines.append(clean_line(line, MAX_ANSWER_CHARACTERS))

    def text(self) -> str:
        """Return the last of what was said."""
        return " ".join(self.lines[-5:])[-MAX_ANSWER_CHARACTERS:]


def send(order: Order) -> Result:
    """Send one message; never raises for what Apprise does."""
    wall = Wall(AddressGuard(order.networks()))
    sys.dont_write_bytecode = True
    sys.addaudithook(wall)
    said = Said(order.address)
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.INFO)
    logger.addHandler(said)
    try:
        usable, sent = _notify(order)
    except Exception as error:  # noqa: BLE001  # 190 plugins; whatever one raises, the page was not sent
        return Result(said=f"{said.text()} {type(error).__name__}", refused=wall.refused)
    return Result(sent=sent, said=said.text(), refused="" if sent else wall.refused, unusable=not usable)


def _notify(order: Order) -> tuple[bool, bool]:
    """Return whether Apprise can use the address, and whether it sent the message."""
    import apprise  # noqa: PLC0415  # behind the wall only

    asset = apprise.AppriseAsset(
        http_redirects=False, storage_mode=apprise.PersistentStoreMode.MEMORY, async_mode=False, language="en"
    )
    service = apprise.Apprise.instantiate(order.address, asset=asset)
    if service is None:
        return False, False
    kind = apprise.NotifyType.FAILURE if order.urgent else apprise.NotifyType.WARNING
    # The plugin itself and not `Apprise.notify`, where the URL could say that a failure is a success (`optional=yes`).
    sent = service.notify(body=order.text, title=order.title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
    return True, bool(sent)


def main() -> None:
    """Read the order, send, and write the result; what plugins print is not part of it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    # Whoever started this ends it before; if they were killed themselves, nobody else would.
    signal.alarm(order.seconds)
    result = send(order)
    answers.write(msgspec.json.encode(result))
    answers.flush()


if __name__ == "__main__":
    main()
