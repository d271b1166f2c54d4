"""Everything that Apprise speaks: a process for each message, which may connect only where the guard allows.

Apprise blocks, makes its connections itself, and says no more than yes or no. A thread that hangs cannot be ended and
would connect wherever it likes; a process is killed when its time is up, and has its own guard (`apprise_child`).
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from ipaddress import ip_network

import msgspec

from tocsin.address_guard import AddressGuard, Network
from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry, clean_line, not_configured
from tocsin.child_process import end, launch
from tocsin.domain.contact_method import address_problem

MAX_PROCESSES = 4
"""How many messages are sent at once by a worker: each is an interpreter of some 50 MB."""
MAX_TEXT_CHARACTERS = 20_000
MAX_TITLE_CHARACTERS = 200
_CHILD = "tocsin.channels.apprise_child"

# No TOCSIN_ settings, which hold secrets, and no proxy, which would connect for it past the guard.
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Order(msgspec.Struct):
    """What the process is to send, where it may connect besides the outside, and when it ends whatever happens."""

    address: str
    title: str
    text: str
    urgent: bool
    allowed: tuple[str, ...]
    seconds: int

    def networks(self) -> tuple[Network, ...]:
        """Return the networks inside that are allowed."""
        return tuple(ip_network(text) for text in self.allowed)


class Result(msgspec.Struct):
    """What came of it: sent or not, the last lines of Apprise's log, and what its guard refused."""

    sent: bool = False
    said: str = ""
    refused: str = ""
    unusable: bool = False


@dataclass(frozen=True, slots=True)
class _Failed:
    reason: str


class AppriseChannel:
    """Sends notifications to Apprise URLs."""

    def __init__(self, guard: AddressGuard, *, timeout_seconds: float = 10.0) -> None:
        self._guard = guard
        self._timeout_seconds = timeout_seconds
        self._room = asyncio.Semaphore(MAX_PROCESSES)

    async def send(self, address: str, message: Message) -> Outcome:
        """Send the message by a process of its own; see `Channel.send`.

        What Apprise could not send is tried again, for it does not tell a wrong token from a server that is down;
        an URL that it cannot use, and an address inside, are final.
        """
        if not available():
            return not_configured("apprise")
        problem = address_problem("apprise", address)
        if problem is not None:
            return Rejected(f"not sent by Apprise: the address {problem}")
        order = Order(
            address=address,
            title=clean_line(message.subject, MAX_TITLE_CHARACTERS),
            text=_with_link(message),
            urgent=message.severity in ("CRITICAL", "HIGH"),
            allowed=tuple(map(str, self._guard.allowed)),
            seconds=math.ceil(self._timeout_seconds) + 1,
        )
        try:
            async with asyncio.timeout(self._timeout_seconds), self._room:
                result = await _run(order)
        except TimeoutError:
            return Retry(f"Apprise did not finish within {self._timeout_seconds:g} seconds")
        return _outcome(result)


def available() -> bool:
    """Tell whether Apprise is installed: it is the extra `tocsin[apprise]`."""
    return importlib.util.find_spec("apprise") is not None


def _with_link(message: Message) -> str:
    text = message.text[:MAX_TEXT_CHARACTERS]
    return f"{text}\n\nAcknowledge: {message.acknowledge_url}" if message.acknowledge_url else text


async def _run(order: Order) -> Result | _Failed:
    try:
        process = await _launched()
    except OSError as error:
        return _Failed(f"its process cannot be started: {error.strerror or error}")
    try:
        said, _ = await process.communicate(msgspec.json.encode(order))
    finally:
        await end(process)
    try:
        return msgspec.json.decode(said, type=Result)
    except msgspec.DecodeError:
        return _Failed(f"its process ended with code {process.returncode} and said nothing")


async def _launched() -> Process:
    return await launch(
        *(sys.executable, "-P", "-m", _CHILD),
        stdin=PIPE,
        stdout=PIPE,
        # What it might print there could hold the address; its result says what is to be known.
        stderr=DEVNULL,
        env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        start_new_session=True,
    )


def _outcome(result: Result | _Failed) -> Outcome:
    if isinstance(result, _Failed):
        return Retry(f"not sent by Apprise: {result.reason}")
    if result.refused:
        return Rejected(f"not sent by Apprise: {result.refused}")
    if result.unusable:
        return Rejected(f"not sent by Apprise: it cannot use this address. {result.said}")
    if result.sent:
        return Delivered(result.said or "Apprise says that it was sent")
    return Retry(f"Apprise could not send it: {result.said or 'it does not say why'}")
