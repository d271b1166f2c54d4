"""A story for the console to show: the documentation's pictures and the tests of every page begin with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

Post = Callable[..., Awaitable[Any]]
"""`await post(path, body, token=…, method=…)` sends JSON and returns the answer's; all but success fails."""


def _error(severity: str, kind: str, message: str, function: str, source: str) -> dict[str, Any]:
    frames = [
        {"function": "dispatch", "filename": "site-packages/starlette/routing.py", "line": 269, "inApp": False},
        {
            "function": "checkout",
            "filename": "shop/checkout.py",
            "line": 57,
            "sourceLine": "charge(order)",
            "inApp": True,
        },
        {"function": function, "filename": "shop/payments.py", "line": 112, "sourceLine": source, "inApp": True},
    ]
    exception = {"type": kind, "message": message, "frames": frames}
    facts = {"service": "payments", "environment": "production", "release": "shop@4.2.1", "tags": {"region": "eu"}}
    return {"severity": severity, "type": kind, "message": message, "exceptions": [exception], **facts}


ERRORS = [
    _error("HIGH", "CardDeclined", "issuer timed out after 30 s", "authorize", "reply = issuer.ask(card)"),
    _error(
        "CRITICAL", "PoolExhausted", "no connection within 30 s (10 in use)", "charge", "with pool.connection() as c:"
    ),
    _error("HIGH", "InvoiceNotFound", "no invoice for order 1017", "invoice_of", "return invoices[order.id]"),
    _error("HIGH", "QueueStuck", "no message taken for 5 minutes", "drain", "message = queue.get(timeout=300)"),
]


@asynccontextmanager
async def speaking(url: str, token: str) -> AsyncIterator[Post]:
    """Speak to the API at a URL with a token."""
    async with aiohttp.ClientSession() as http:

        async def post(path: str, body: object, token: str = token, method: str = "POST") -> Any:
            headers = {"Authorization": f"Bearer {token}"}
            async with http.request(method, url + path, json=body, headers=headers) as answer:
                assert answer.status < 300, (path, await answer.text())  # what HTTP calls success
                return await answer.json(content_type=None)

        yield post


async def live_to_the_end(post: Post, number: int, *, until: str = "close") -> None:
    """Take an incident to its end, or to a step before it."""
    for step, body in STEPS.items():
        await post(f"/api/incidents/{number}/{step}", body)
        if step == until:
            return


STEPS: dict[str, dict[str, Any]] = {
    "acknowledge": {"notes": "Asking the issuer's status page."},
    "root-cause": {
        "summary": "The issuer's new gateway answers after 35 s, and we wait for 30.",
        "category": "CONFIGURATION",
        "remediationSteps": "Wait for 60 s, and say so to the customer after 5.",
    },
    "resolve": {"resolutionSummary": "60 s; no declined card for 20 minutes."},
    "close": {
        "lessonsLearned": "Timeouts of others change without a word: alert on their p99.",
        "followUpActions": [{"title": "Alert on the issuer's p99", "owner": "ada"}],
    },
}


async def fill(post: Post, email: str, key: str) -> None:
    """Give it a schedule, errors, an incident that somebody has solved, and one that somebody is at."""
    schedule = (await post("/api/schedules", {"name": "Payments", "timeZone": "Europe/Berlin"}))["schedule"]
    layer = {"name": "Weeks", "rotation": "WEEKLY", "every": 1, "startsOn": "2026-01-05", "handOff": "09:00"}
    await post(f"/api/schedules/{schedule['id']}", {"layers": [layer | {"members": [email]}]}, method="PATCH")
    for times, error in zip((3, 41, 1, 7), ERRORS, strict=True):
        for _ in range(times):
            await post("/api/v1/errors", error, key)
    await live_to_the_end(post, 1)
    await post("/api/incidents/3/acknowledge", {"notes": "Looking at the import of last night."})
