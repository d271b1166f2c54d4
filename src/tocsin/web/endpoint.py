"""What an endpoint is: everything that is said of it in one place, for its route and for its documentation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tocsin.app.health import Shared
from tocsin.app.learning import Kept
from tocsin.app.links import Links
from tocsin.app.projects import IntakeKeys
from tocsin.app.second_factor import Vault
from tocsin.app.sessions import Principal
from tocsin.app.take_in import Intake
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Permission
from tocsin.errors import Code
from tocsin.outside.oidc import Provider
from tocsin.web.authentication import Authentication
from tocsin.web.console.live import Live
from tocsin.web.exchange import Exchange, exchange_of
from tocsin.web.metrics import Metrics
from tocsin.web.room import Room
from tocsin.web.throttle import SignInThrottle

T = TypeVar("T")


class Access(StrEnum):
    """Who may use an endpoint that asks for no permission. There is no default: closed until opened."""

    PUBLIC = "public"
    INTAKE = "intake"
    """Who has the intake key of a project; the handler checks it, for it may be in the body."""
    SIGNED_IN = "signed-in"
    """Everybody with a valid token or session."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the handlers work with."""

    app: App
    intake: Intake
    keys: IntakeKeys
    room: Room
    authentication: Authentication
    throttle: SignInThrottle
    links: Links
    link_throttle: SignInThrottle
    vault: Vault
    provider: Provider | None
    metrics: Metrics
    openapi: bytes
    docs: Response
    live: Live
    figures: Kept
    machinery: Shared


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted request, read: who makes it, and what it says."""

    services: Services
    request: Request
    principal: Principal | None = None
    body: msgspec.Struct | None = None
    query: msgspec.Struct | None = None
    raw_body: bytes = b""

    @property
    def exchange(self) -> Exchange:
        """Return what is known of the request so far."""
        return exchange_of(self.request.scope)

    @property
    def actor(self) -> Actor:
        """Return in whose name it is made; only for endpoints that need somebody."""
        assert self.principal is not None, "the gate lets nobody unknown pass to this endpoint"
        return self.principal.actor

    def said(self, kind: type[T]) -> T:
        """Return the body."""
        assert isinstance(self.body, kind), "the gate has decoded the body as the table says"
        return self.body

    def asked(self, kind: type[T]) -> T:
        """Return the query."""
        assert isinstance(self.query, kind), "the gate has decoded the query as the table says"
        return self.query

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])


@dataclass(frozen=True, slots=True)
class InTransaction:
    """A handler that acts in one transaction, together with the remembered answer of an Idempotency-Key."""

    act: Callable[[Work, Call], Awaitable[msgspec.Struct]]


@dataclass(frozen=True, slots=True)
class Directly:
    """A handler that opens its own transactions, if any, and makes the whole answer."""

    answer: Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path.

    `codes` are the problems that its handler may answer with, beyond what follows from the rest. `also` are other
    paths with the same meaning; `lists` are parameters of the query that may be repeated. `raw` says what a body is
    that is not JSON of one known form: its media type, and what it means. `partly` is the 200 of an endpoint whose
    success is another status, where it did only a part. `forms` are the media types of answers in a protocol's own
    form, refusals among them.
    """

    method: str
    path: str
    summary: str
    access: Permission | Access
    handler: InTransaction | Directly
    description: str = ""
    request: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    lists: frozenset[str] = frozenset()
    response: type[msgspec.Struct] | None = None
    partly: type[msgspec.Struct] | None = None
    forms: tuple[str, ...] = ()
    status: int = 200
    media_type: str = "application/json"
    codes: tuple[Code, ...] = ()
    also: tuple[str, ...] = ()
    raw: tuple[str, str] | None = None
    tag: str = ""

    @property
    def idempotent(self) -> bool:
        """Tell whether an Idempotency-Key makes a repetition harmless."""
        return self.method == "POST" and isinstance(self.handler, InTransaction)
