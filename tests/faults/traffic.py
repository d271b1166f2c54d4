"""A client that never gives up: mixed traffic, each request with the same ids until it was accepted.

    python -m tests.faults.traffic JOURNAL KEY PORT [PORT…]

The journal says what was sent and what was accepted. A client that was killed reads it when it is started again, and
sends once more what nobody has accepted, as the SDKs do from their spools. It ends when JOURNAL.stop is there and
nothing is owed any more.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.faults.journal import append, lines, opened

SENDERS = 4
PAUSE_SECONDS = 0.03
RETRY_SECONDS = 0.1
ANSWER_SECONDS = 60.0
"""Longer than the server holds a request: whoever hangs up earlier would only send it again."""
LINES = 5
SHARED_FAILURES = 20
FRESH_EVERY = 61
"""One request in so many is a failure that nobody has seen."""
QUIET_EVERY = 11
WRONG_EVERY = 8
"""One batch in so many has a line that is no report: it is rejected, the others are not."""


@dataclass(frozen=True, slots=True)
class Post:
    """One request: where it goes, and with what."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Journal:
    """What a client did so far, in a file that survives it."""

    path: Path
    owed: set[int] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)
    failed: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read what an earlier process of this client wrote."""
        for line in lines(self.path):
            word, number, *rest = line.split()
            match word:
                case "sent":
                    self.owed.add(int(number))
                case "accepted":
                    self.accepted.add(int(number))
                case "failed":
                    self.failed[rest[0]] += 1
                case _:
                    self.refused.append(line)
        self.owed -= self.accepted

    @property
    def is_stopped(self) -> bool:
        """Tell whether nothing new is to be sent."""
        return self.path.with_suffix(".stop").exists()

    def event_ids(self) -> Iterator[str]:
        """Return the ids of everything that was accepted."""
        for number in self.accepted:
            yield from event_ids(self.path.stem, number)


def event_ids(client: str, number: int) -> list[str]:
    """Return the ids of the events in a client's request of this number."""
    many = LINES if number % 3 == 1 else 1
    return [hashlib.sha256(f"{client} {number} {place}".encode()).hexdigest()[:32] for place in range(many)]


def post(client: str, number: int, key: str) -> Post:
    """Return the request of this number, the same each time: one report, a batch of lines, or an envelope."""
    ids = event_ids(client, number)
    failure, loud = _failure(client, number), number % QUIET_EVERY != 0
    bearer = {"Authorization": f"Bearer {key}"}
    if number % 3 == 2:
        event = {"event_id": ids[0], "level": "error" if loud else "warning", "message": "broken"}
        return _envelope({**event, "fingerprint": [failure]}, key)
    reports = [
        {"eventId": one, "severity": "HIGH" if loud else "MEDIUM", "message": "broken", "fingerprint": [failure]}
        for one in ids
    ]
    if number % 3 == 0:
        return Post("/api/v1/errors", json.dumps(reports[0]).encode(), bearer)
    rows = [json.dumps(report) for report in reports] + (["no report"] if number % WRONG_EVERY == 0 else [])
    return Post("/api/v1/errors", "\n".join(rows).encode(), bearer | {"Content-Type": "application/x-ndjson"})


def _failure(client: str, number: int) -> str:
    if number % FRESH_EVERY == 0:
        return f"{client} {number}"
    return f"shared {'quiet' if number % QUIET_EVERY == 0 else number % SHARED_FAILURES}"


def _envelope(event: dict[str, object], key: str) -> Post:
    parts: Iterable[object] = ({"event_id": event["event_id"]}, {"type": "event"}, event)
    body = "\n".join(map(json.dumps, parts)).encode()
    auth = f"Sentry sentry_key={key}, sentry_version=7"
    return Post("/api/1/envelope/", gzip.compress(body), {"X-Sentry-Auth": auth, "Content-Encoding": "gzip"})


class Client:
    """One process of a client, several senders wide."""

    def __init__(self, path: Path, key: str, ports: list[int]) -> None:
        """Take up where the journal ends."""
        self._journal = Journal(path)
        self._key = key
        self._ports = ports
        self._owed = sorted(self._journal.owed)
        self._next = max(self._journal.owed | self._journal.accepted, default=0) + 1
        self._file = opened(path)

    async def run(self) -> None:
        """Send until told to stop, and until everything is accepted."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send(http))

    async def _send(self, http: aiohttp.ClientSession) -> None:
        while self._owed or not self._journal.is_stopped:
            number = self._take()
            while not await self._accepted(http, number):
                await asyncio.sleep(RETRY_SECONDS)
            append(self._file, f"accepted {number}")
            await asyncio.sleep(PAUSE_SECONDS)

    def _take(self) -> int:
        if self._owed:
            return self._owed.pop()
        number, self._next = self._next, self._next + 1
        append(self._file, f"sent {number}")
        return number

    async def _accepted(self, http: aiohttp.ClientSession, number: int) -> bool:
        made = post(self._journal.path.stem, number, self._key)
        url = f"http://127.0.0.1:{random.choice(self._ports)}{made.path}"
        try:
            async with http.post(url, data=made.body, headers=made.headers) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            append(self._file, f"failed {number} {type(error).__name__}")
            return False
        if response.status < 300:
            return True
        word = "failed" if response.status >= 500 else "refused"
        append(self._file, f"{word} {number} {response.status}")
        if word == "refused":
            raise SystemExit(f"request {number} was refused with {response.status}")
        return False


def main() -> None:
    """Be the client that the command line names."""
    path, key, *ports = sys.argv[1:]
    asyncio.run(Client(Path(path), key, list(map(int, ports))).run())


if __name__ == "__main__":
    main()
