"""Records every access to the administration before it is answered; what cannot be recorded is not answered."""

from __future__ import annotations

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tocsin.app import audit
from tocsin.app.work import App
from tocsin.errors import Code, TocsinError, refuse
from tocsin.web.exchange import exchange_of
from tocsin.web.problems import problem_response

log = structlog.get_logger()

LINKS = "/a/"
"""Below it a path is a credential."""
AUDITED = (
    *("/api/admin", "/api/incidents", "/api/auth", "/api/projects", "/api/intake", "/api/heartbeats"),
    *("/api/contacts", "/api/notification-rules", "/api/policies", "/api/routes", "/api/silences", "/api/schedules"),
    *("/api/notifications", "/api/v1/slack", "/api/oncall", "/api/follow-ups", "/api/stats"),
    *("/account", "/incidents", "/learning", "/sign-in", "/sign-out"),
    *("/oncall", "/audit", "/admin", "/api/audit"),
)
HOME = "/"
_BELOW = tuple(f"{prefix}/" for prefix in AUDITED)


def is_audited(path: str) -> bool:
    """Tell whether every access to this path is recorded, whether or not there is anything."""
    return path == HOME or path in AUDITED or path.startswith((*_BELOW, LINKS))


class AuditTrail:
    """Holds the answer back until the access is recorded, in a transaction of its own.

    What was asked for is committed by then. If the record cannot be written, the answer becomes a 503; a client that
    sent an Idempotency-Key gets the true answer when it repeats the request.
    """

    def __init__(self, app: ASGIApp, *, tocsin: App) -> None:
        self._app = app
        self._tocsin = tocsin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; record the access when the outcome is known."""
        if scope["type"] != "http" or not is_audited(scope["path"]):
            await self._app(scope, receive, send)
            return
        replaced = False

        async def recorded(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and not await self._record(scope, message["status"]):
                replaced = True
                await problem_response(_unrecorded().refusal, scope)(scope, receive, send)
            if not replaced:
                await send(message)

        await self._app(scope, receive, recorded)

    async def _record(self, scope: Scope, status: int) -> bool:
        exchange = exchange_of(scope)
        headers = dict(scope["headers"])
        try:
            async with self._tocsin.work() as work:
                await audit.record_access(
                    work,
                    user_id=exchange.user_id,
                    credential=exchange.credential,
                    action=f"{scope['method']} {exchange.route}",
                    target=_target(scope["path"], exchange.route),
                    client_address=client_address(scope),
                    user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
                    status=status,
                    outcome=exchange.outcome,
                    request_id=exchange.request_id,
                )
        except TocsinError as error:
            log.error("audit.failed", request_id=str(exchange.request_id), reason=error.refusal.message)
            return False
        except Exception:
            log.exception("audit.failed", request_id=str(exchange.request_id))
            return False
        return True


def _target(path: str, route: str) -> str:
    """Return what of a path is recorded: no query, and no token. Nothing is ever removed from this log."""
    return route if path.startswith(LINKS) else path


def client_address(scope: Scope) -> str:
    """Return the address of the other end of the connection. Headers that claim another one are not believed."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _unrecorded() -> TocsinError:
    return refuse(
        Code.UNAVAILABLE,
        "The access could not be recorded, so it is not answered.",
        "Repeat it; with an Idempotency-Key, what was done before is not done twice.",
    )
