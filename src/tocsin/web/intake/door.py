"""The door of intake: who reports, the body as it was meant, and what became of the reports. Every protocol uses it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from tocsin import ids
from tocsin.app.report_errors import Accepted
from tocsin.domain.arrival import Arrival
from tocsin.domain.project import Project
from tocsin.domain.report import ErrorReport
from tocsin.domain.severity_rules import judged_severity
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.cloudevents import MAX_ATTRIBUTES
from tocsin.intake.decoding import decode_body
from tocsin.intake.sentry import parse_auth
from tocsin.web.authentication import bearer_token
from tocsin.web.documents import RejectedDocument
from tocsin.web.endpoint import Call
from tocsin.web.exchange import exchange_of
from tocsin.web.reading import header_of, parameter_of, read_body
from tocsin.web.room import MAX_REQUEST_BYTES

log = structlog.get_logger()

MAX_KEY_CHARACTERS = 200
_IN_PLACE_BYTES = 65_536
"""Larger bodies are read in a thread, so that nobody else waits for it."""
_PROJECT = re.compile(r"[0-9]{1,9}")
_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Encoding, Content-Type, Idempotency-Key, X-Sentry-Auth,"
    " X-Tocsin-Key",
    "Access-Control-Max-Age": "3600",
}
_EVENT_ATTRIBUTE = re.compile(r"ce-[!#$%&'*+.^_`|~0-9a-z-]{1,60}", re.IGNORECASE)

T = TypeVar("T")
Outcomes = Sequence[Arrival | ErrorReport | Rejected]
"""What a parser made of a request, in the request's order."""


def key_of(request: Request) -> str | None:
    """Return the intake key that a request names in its headers or its query."""
    header = header_of(request, b"authorization")
    return (
        (bearer_token(header) if header else None)
        or header_of(request, b"x-tocsin-key")
        or parameter_of(request, "key")
        or sentry_key_of(request)
    )


def sentry_key_of(request: Request) -> str | None:
    """Return the intake key that a request names as Sentry's SDKs do."""
    return parse_auth(header_of(request, b"x-sentry-auth"), parameter_of(request, "sentry_key"))


async def project_of(call: Call, key: str | None) -> Project:
    """Return the project that an intake key opens; raise UNAUTHORIZED."""
    if key and len(key) <= MAX_KEY_CHARACTERS and (project := await call.services.keys.project(key)) is not None:
        return project
    raise refuse(
        Code.UNAUTHORIZED,
        "There is no intake key, or it opens no project.",
        "Send it as `Authorization: Bearer KEY`, X-Tocsin-Key, ?key=, or as a Sentry DSN.",
    )


async def named_project(call: Call, key: str | None) -> Project:
    """Return the project that the path names, if the key opens it; raise NOT_FOUND, UNAUTHORIZED or FORBIDDEN."""
    text = call.path("project")
    if not _PROJECT.fullmatch(text):
        raise refuse(Code.NOT_FOUND, f"There is no project {text[:50]!r}.", "A project's id is a number: see the DSN.")
    project = await project_of(call, key)
    if project.id != int(text):
        raise refuse(
            Code.FORBIDDEN,
            f"This key does not open project {text}.",
            "Use the DSN exactly as it was given: key and project belong together.",
        )
    return project


async def intake_body(request: Request, limit: int = MAX_REQUEST_BYTES) -> bytes:
    """Return the decompressed body: at most `limit` bytes, as it is sent and as it is read."""
    body = await read_body(request, limit)
    encoding = header_of(request, b"content-encoding")
    if encoding and len(body) <= _IN_PLACE_BYTES // 4:
        body = decode_body(body, encoding, limit)
    elif encoding:
        body = await asyncio.to_thread(decode_body, body, encoding, limit)
    if (room := exchange_of(request.scope).room) is not None:
        room.grow(len(body))
    return body


async def parsed(body: bytes, parse: Callable[[], T]) -> T:
    """Return what a parser makes of a body."""
    return parse() if len(body) <= _IN_PLACE_BYTES else await asyncio.to_thread(parse)


@dataclass(frozen=True, slots=True)
class entered:  # noqa: N801  # it is used as the context manager that it is
    """Enters into the ledger what is refused as a whole: it was received, and rejected for the refusal's code."""

    call: Call
    project: Project
    protocol: str

    async def __aenter__(self) -> None:
        """Begin: there is nothing to enter yet."""

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Enter a refusal; it goes on to whoever answers it."""
        if isinstance(error, TocsinError) and not isinstance(error, NothingAcceptedError):
            code = error.refusal.code
            if code not in (Code.UNAVAILABLE, Code.INTERNAL):
                async with uncounted_while_away(self.protocol):
                    await reject(self.call, self.project, self.protocol, code, 1)


@asynccontextmanager
async def uncounted_while_away(protocol: str) -> AsyncIterator[None]:
    """Let a refusal stand that cannot be entered while the database is away: with a 503 it would be sent again."""
    try:
        yield
    except TocsinError as error:
        if error.refusal.code is not Code.UNAVAILABLE:
            raise
        log.warning("intake.refusal_not_counted", protocol=protocol, reason=error.refusal.message)


class NothingAcceptedError(TocsinError):
    """Everything in a request was rejected, and entered into the ledger."""


async def take_in(call: Call, project: Project, outcomes: Outcomes, protocol: str) -> list[Accepted]:
    """Take in what a parser made of a request; when this returns it is committed, and so is what was rejected."""
    rejected = sum([one.number for one in outcomes if isinstance(one, Rejected)])
    if rejected:
        await reject(call, project, protocol, Code.INVALID, rejected)
    arrivals = [_arrival(project, one) for one in outcomes if not isinstance(one, Rejected)]
    accepted = await call.services.intake.take_in(project, arrivals, protocol)
    call.services.metrics.reports([one.outcome for one in accepted])
    return accepted


async def reject(call: Call, project: Project, protocol: str, code: Code, number: int) -> None:
    """Enter what was received and rejected into the ledger."""
    await call.services.intake.count(project.id, {("received", protocol): number, ("rejected", code.value): number})
    call.services.metrics.rejected(number)


def _arrival(project: Project, outcome: Arrival | ErrorReport) -> Arrival:
    """Return the arrival of a report, with the severity that the project's rules give it."""
    arrival = Arrival.of(outcome) if isinstance(outcome, ErrorReport) else outcome
    if not project.severity_rules or arrival.signal is not None:
        return arrival
    report = arrival.whole()
    return Arrival.of(msgspec.structs.replace(report, severity=judged_severity(project.severity_rules, report)))


def shown(outcomes: Outcomes) -> list[RejectedDocument]:
    """Return what was rejected, for the answer."""
    return [RejectedDocument(item.index, item.reason) for item in outcomes if isinstance(item, Rejected)]


def nothing_accepted(outcomes: Outcomes) -> NothingAcceptedError:
    """Return the refusal of a request of which nothing was accepted."""
    rejected = [item for item in outcomes if isinstance(item, Rejected)]
    refusal = refuse(
        Code.INVALID,
        f"Nothing was accepted: {rejected[0].reason}" if rejected else "Nothing was accepted.",
        "Each entry of `errors` names one report by its place in the request, from 0.",
        errors=[{"field": f"[{item.index}]", "problem": item.reason} for item in rejected],
    ).refusal
    return NothingAcceptedError(refusal)


def event_ids(request: Request) -> Callable[[], str]:
    """Return what names reports that come without an id: by an Idempotency-Key and their order, or else by chance."""
    key = header_of(request, b"idempotency-key")
    if not key:
        return _new_event_id
    numbers = itertools.count()
    return lambda: hashlib.sha256(f"{key} {next(numbers)}".encode("utf-8", "replace")).hexdigest()[:32]


def _new_event_id() -> str:
    return ids.new_id().hex


async def preflight(call: Call) -> Response:
    """Tell a browser that any page may report its errors here.

    The attributes of a CloudEvent are headers of any name after `ce-`, so those that are asked for are allowed; no
    other door reads them.
    """
    asked = (name.strip() for name in (header_of(call.request, b"access-control-request-headers") or "").split(","))
    attributes = [name for name in asked if _EVENT_ATTRIBUTE.fullmatch(name)][:MAX_ATTRIBUTES]
    allowed = ", ".join([_PREFLIGHT["Access-Control-Allow-Headers"], *attributes])
    return Response(status_code=204, headers=_PREFLIGHT | {"Access-Control-Allow-Headers": allowed})
