"""A program that is watched by an SDK, and measures what that costs it: prints its samples as JSON.

    python -m bench.support.sdk_program capture tocsin_sdk|sentry_sdk DSN SPOOL COUNT
    python -m bench.support.sdk_program commit DIRECTORY COUNT
    python -m bench.support.sdk_program sync DIRECTORY COUNT
    python -m bench.support.sdk_program guard DSN

The SDKs are imported when they are asked for: they are distributions of their own, and only one of them is measured.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

DEPTH = 6
WARM_UP = 50
ROW_BYTES = 2_048
BLOCK_BYTES, BLOCKS = 4_096, 256
GUARD_CALLS, GUARD_ROUNDS = 5_000, 21
FIRST_ANSWER_SECONDS = 10.0
PAUSE_SECONDS = 0.01
FLUSH_SECONDS = 10.0


def reserve(order: dict[str, Any], left: int) -> int:
    """Go down some calls, then fail."""
    customer = {"name": "Noor", "id": order["number"] % 97, "city": "Utrecht"}
    if left == 0:
        raise ValueError(f"order {order['number']} of {customer['id']} cannot be shipped")
    return reserve({**order, "customer": customer}, left - 1)


def capture(sdk: str, dsn: str, spool: str, count: int) -> dict[str, object]:
    """Capture as many exceptions one after the other; return how long each took (µs), and the flush (s)."""
    module = importlib.import_module(sdk)
    if sdk == "tocsin_sdk":
        module.init(dsn, spool_directory=spool, service="shop", environment="production")
    else:
        module.init(dsn=dsn, environment="production", server_name="web-3")
    samples = []
    for number in range(-WARM_UP, count):
        try:
            reserve({"number": number, "basket": ["s-1", "s-2"]}, DEPTH)
        except ValueError as error:
            began = perf_counter()
            module.capture_exception(error)
            ended = perf_counter()
        if number >= 0:
            samples.append((ended - began) * 1e6)
    began = perf_counter()
    module.flush(FLUSH_SECONDS)
    return {"microseconds": samples, "captured": count + WARM_UP, "flushSeconds": perf_counter() - began}


def commit(directory: str, count: int) -> dict[str, object]:
    """Commit as many rows to SQLite, each by itself and to the disk; return how long each took (µs)."""
    connection = sqlite3.connect(Path(directory) / "plain.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY, body BLOB)")
    samples = []
    for _ in range(count):
        began = perf_counter()
        connection.execute("INSERT INTO plain (body) VALUES (?)", (bytes(ROW_BYTES),))
        samples.append((perf_counter() - began) * 1e6)
    connection.close()
    return {"microseconds": samples}


def sync(directory: str, count: int) -> dict[str, object]:
    """Write as many blocks to a file that does not grow, each to the disk; return how long each took (µs)."""
    samples = []
    file = os.open(Path(directory) / "plain.blocks", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(file, bytes(BLOCK_BYTES * BLOCKS))
    os.fsync(file)
    block = os.urandom(BLOCK_BYTES)
    for number in range(count):
        began = perf_counter()
        os.pwrite(file, block, number % BLOCKS * BLOCK_BYTES)
        os.fdatasync(file)
        samples.append((perf_counter() - began) * 1e6)
    os.close(file)
    return {"microseconds": samples}


def guard(dsn: str) -> dict[str, object]:
    """Time an application with and without the guard, through WSGI and ASGI; return µs of a request, of each round."""
    module = importlib.import_module("tocsin_sdk.guard")
    # Closed until the first answer: as soon as it lets through, it has heard from the server.
    state = module.GuardState(dsn, when_unreachable="closed")
    wsgi, asgi = module.SessionGuardWSGI(_wsgi, state), module.SessionGuardASGI(_asgi, state)
    deadline = perf_counter() + FIRST_ANSWER_SECONDS
    while state.block() is not None and perf_counter() < deadline:
        sleep(PAUSE_SECONDS)
    if state.block() is not None:
        raise SystemExit("the guard did not hear from the server")
    samples: dict[str, list[float]] = {"wsgiBare": [], "wsgi": [], "asgiBare": [], "asgi": []}
    for _ in range(GUARD_ROUNDS):  # in turns, so that a machine that gets slower does so for all
        samples["wsgiBare"].append(_wsgi_round(_wsgi))
        samples["wsgi"].append(_wsgi_round(wsgi))
        samples["asgiBare"].append(asyncio.run(_asgi_round(_asgi)))
        samples["asgi"].append(asyncio.run(_asgi_round(asgi)))
    state.close()
    return {"microseconds": samples}


def _wsgi(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"ok"]


def _wsgi_round(application: Callable[..., Iterable[bytes]]) -> float:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/orders", "SCRIPT_NAME": ""}
    began = perf_counter()
    for _ in range(GUARD_CALLS):
        application(environ, _nothing)
    return (perf_counter() - began) / GUARD_CALLS * 1e6


def _nothing(*_: object) -> None:
    return


async def _asgi(_scope: dict[str, Any], _receive: object, send: Callable[[object], Awaitable[None]]) -> None:
    await send(None)


async def _asgi_round(application: Callable[..., Awaitable[None]]) -> float:
    async def nothing(*_: object) -> None:
        return

    scope = {"type": "http", "method": "GET", "path": "/orders", "headers": []}
    began = perf_counter()
    for _ in range(GUARD_CALLS):
        await application(scope, nothing, nothing)
    return (perf_counter() - began) / GUARD_CALLS * 1e6


def main() -> None:
    """Do what the command line says."""
    what, *rest = sys.argv[1:]
    if what == "capture":
        result = capture(rest[0], rest[1], rest[2], int(rest[3]))
    elif what == "commit":
        result = commit(rest[0], int(rest[1]))
    elif what == "sync":
        result = sync(rest[0], int(rest[1]))
    else:
        result = guard(rest[0])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
