"""What a page is: everything that is said of it in one place, and what its handler may answer with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from tocsin.app.sessions import Principal
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor, Permission
from tocsin.web.endpoint import Access, Services
from tocsin.web.exchange import Exchange, exchange_of

T = TypeVar("T")


class Form(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What a form says. Every form proves with `csrf` that a page of ours was filled in."""

    csrf: str = ""


class JustDoForm(Form):
    """Nothing but the proof that it was meant."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One admitted request for a page, read: who makes it, and what it says."""

    services: Services
    request: Request
    principal: Principal | None = None
    form: Form | None = None
    query: msgspec.Struct | None = None

    @property
    def app(self) -> App:
        """Return the wired application."""
        return self.services.app

    @property
    def somebody(self) -> Principal:
        """Return who makes it, and by which session; only for pages that need somebody."""
        assert self.principal is not None, "the gate lets nobody unknown pass to this page"
        return self.principal

    @property
    def actor(self) -> Actor:
        """Return in whose name it is made; only for pages that need somebody."""
        return self.somebody.actor

    @property
    def exchange(self) -> Exchange:
        """Return what is known of the request so far."""
        return exchange_of(self.request.scope)

    def said(self, kind: type[T]) -> T:
        """Return the form."""
        assert isinstance(self.form, kind), "the gate has read the form as the table says"
        return self.form

    def asked(self, kind: type[T]) -> T:
        """Return the query."""
        assert isinstance(self.query, kind), "the gate has read the query as the table says"
        return self.query

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])


@dataclass(frozen=True, slots=True)
class Shown:
    """A page to show: its template, and what the template needs."""

    template: str
    context: Mapping[str, object] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirected:
    """Something is done, and another page shows it (303: the browser asks for that with GET)."""

    to: str


@dataclass(frozen=True, slots=True)
class InTransaction:
    """A handler that acts in one transaction."""

    act: Callable[[Work, Visit], Awaitable[Shown | Redirected]]


@dataclass(frozen=True, slots=True)
class Directly:
    """A handler that opens its own transactions, and may make the whole answer."""

    act: Callable[[Visit], Awaitable[Shown | Redirected | Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """One method of one path. GET shows, POST changes something and then leads to a page that shows it.

    Where a POST is refused, `again` shows the page that the form stands on, with the refusal and what was filled in.
    """

    method: str
    path: str
    access: Permission | Access
    handler: InTransaction | Directly
    form: type[Form] | None = None
    query: type[msgspec.Struct] | None = None
    lists: frozenset[str] = frozenset()
    again: InTransaction | None = None
