"""The session guard: a middleware that answers 403 while an unacknowledged critical incident blocks a session.

It knows nothing of Tocsin's own server: who is blocked is told by the callable that it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.app.session_blocks import SessionBlock
from tocsin.errors import Code, Refusal
from tocsin.web.problems import problem_response

BlockOf = Callable[[Scope], Awaitable[SessionBlock | None]]
"""Returns what blocks the session of a request; None lets it pass. It must never name a block for who can respond."""


@dataclass(frozen=True, slots=True)
class SessionGuard:
    """An ASGI middleware: answers SESSION_BLOCKED, with the incident, to the sessions that are blocked."""

    app: ASGIApp
    block_of: BlockOf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on unless its session is blocked."""
        block = await self.block_of(scope) if scope["type"] == "http" else None
        if block is None:
            await self.app(scope, receive, send)
        else:
            await problem_response(_blocked(block), scope)(scope, receive, send)


def _blocked(block: SessionBlock) -> Refusal:
    return Refusal(
        Code.SESSION_BLOCKED,
        f"This session is blocked: INC-{block.number} is critical and nobody has acknowledged it.",
        "It is lifted as soon as somebody who may respond acknowledges the incident.",
        {"incident": {"id": block.incident_id, "number": block.number, "createdAt": block.since}},
    )
