"""A server on loopback that takes every event of either SDK, counts them, and blocks nobody's session."""

from __future__ import annotations

from collections import Counter
from multiprocessing.connection import Connection

from aiohttp import web

from bench.support import processes

MAX_BODY_BYTES = 32 * 1024 * 1024
_MARKS = {"tocsin_sdk": b'"eventId"', "sentry_sdk": b'"type":"event"'}


async def event_sink(line: Connection) -> None:
    """Be the server; sends its port. `GET /counts` tells how many events of each SDK have come."""
    counts: Counter[str] = Counter()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        for sdk, mark in _MARKS.items():
            counts[sdk] += body.count(mark)
        return web.json_response({"id": "0" * 32, "accepted": [], "rejected": []})

    async def tell(_: web.Request) -> web.Response:
        return web.json_response({sdk: counts[sdk] for sdk in _MARKS})

    async def block(_: web.Request) -> web.Response:
        return web.json_response({"blocked": False, "incident": None})

    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/counts", tell)
    app.router.add_get("/api/v1/session-block", block)
    app.router.add_post("/{path:.*}", take)
    stop, runner = processes.stop_at_end_of(line), web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    line.send(runner.addresses[0][1])
    await stop.wait()
    await runner.cleanup()
