"""Reads requests without trusting them: bounded bodies, typed JSON, typed queries, references in paths."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from tocsin.app.timeline import IncidentRef
from tocsin.domain.plural import number_of
from tocsin.errors import Code, TocsinError, refuse

MAX_JSON_BYTES = 1_048_576
BODY_PATIENCE_SECONDS = 60.0
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Beyond it an instant in another time zone may be in the year 10000, which Python cannot hold."""

_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)", re.IGNORECASE)
_AT = re.compile(r"(?P<problem>.*?)(?: - at `(?:key in )?\$\.?(?P<field>[^`]*)`)?", re.DOTALL)
_NAMED = re.compile(r"Object (?:missing required|contains unknown) field `(?P<name>[^`]*)`")
_WRONG_KIND = re.compile(r"Expected `(?P<kinds>[^`]+)`, got `(?P<got>[^`]+)`")
_OUT_OF_BOUNDS = re.compile(
    r"Expected `(?P<kind>int|float|str|array)` (?P<length>of length )?(?P<way>[<>])= (?P<bound>\S+)"
)
_UNKNOWN_VALUE = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""What the library calls kinds of values, in words."""
_PARTS = {"str": ("character",), "array": ("entry", "entries")}
_PROBLEMS = {
    "Invalid RFC3339 encoded datetime": "must be an RFC 3339 timestamp, such as 2026-03-01T03:00:00Z",
    "Invalid RFC3339 encoded date": "must be a date, such as 2026-03-01",
    "Expected `datetime` with a timezone component": "must end with Z, or with an offset from UTC such as +01:00",
    "Invalid UUID": "must be a UUID",
}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(r"(?:INC-)?([1-9][0-9]{0,15})", re.IGNORECASE)
MAX_INCIDENT_NUMBER = 2**53 - 1

T = TypeVar("T")


def header_of(request: Request, name: bytes) -> str | None:
    """Return a header of a request, its name in lower case; the first one if there are several.

    Starlette's own way takes some five times as long, and intake asks for several headers of each request.
    """
    for known, value in request.scope["headers"]:
        if known == name:
            text: str = value.decode("latin-1")
            return text
    return None


def parameter_of(request: Request, name: str) -> str | None:
    """Return a parameter of a request's query; most requests to intake have none."""
    return request.query_params.get(name) if request.scope["query_string"] else None


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
        TocsinError: TOO_LARGE (more than `limit` bytes: no more than that is ever held), MALFORMED (it did not
            arrive within BODY_PATIENCE_SECONDS).
    """
    declared = header_of(request, b"content-length") or ""
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise _too_large(limit)
    first = _already_there(request.receive())
    try:
        if first is not None and not first.get("more_body"):
            return await _collected(request, limit, first)
        async with asyncio.timeout(BODY_PATIENCE_SECONDS):
            return await _collected(request, limit, first or await request.receive())
    except TimeoutError:
        raise _too_slow() from None


async def read_beginning(request: Request, limit: int) -> bytes:
    """Return the beginning of a body, at most `limit` bytes. The rest is read and thrown away, however much it is.

    Raises:
        TocsinError: MALFORMED (it did not arrive within BODY_PATIENCE_SECONDS).
    """
    kept = bytearray()
    try:
        async with asyncio.timeout(BODY_PATIENCE_SECONDS):
            while (message := await request.receive())["type"] == "http.request":
                kept += message.get("body", b"")[: limit - len(kept)]
                if not message.get("more_body"):
                    return bytes(kept)
    except TimeoutError:
        raise _too_slow() from None
    raise ClientDisconnect


def _too_slow() -> TocsinError:
    return refuse(
        Code.MALFORMED,
        f"The body did not arrive within {BODY_PATIENCE_SECONDS:.0f} seconds.",
        "Send it faster, or in smaller parts.",
    )


def _already_there(message: Awaitable[Message]) -> Message | None:
    """Return a message that nobody has to wait for. Most bodies come along with their head, and need no alarm clock."""
    step = message.__await__()
    try:
        next(step)
    except StopIteration as came:
        there: Message = came.value
        return there
    step.close()  # it would have to wait; asking anew loses nothing
    return None


async def _collected(request: Request, limit: int, message: Message) -> bytes:
    """Return the body that begins with a message."""
    chunks, size = [], 0
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await request.receive()
    raise ClientDisconnect


def _too_large(limit: int) -> TocsinError:
    return refuse(
        Code.TOO_LARGE, f"The body is larger than {limit:,} bytes.", "Send less in one request.", limitBytes=limit
    )


def decode_json(body: bytes, content_type: str, kind: type[T]) -> T:
    """Return a JSON body as the struct that an endpoint expects.

    An empty body is an empty object: a request that says nothing but its path needs no body.

    Raises:
        TocsinError: UNSUPPORTED_MEDIA_TYPE, MALFORMED (it is not JSON), INVALID (it is not of this kind: the first
            wrong field is named).
    """
    if body and not _JSON_TYPE.fullmatch(content_type.partition(";")[0].strip()):
        raise refuse(
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"A body of type {content_type[:100] or '(none)'!r} is not understood here.",
            "Send JSON, with `Content-Type: application/json`.",
        )
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise invalid_struct(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refuse(
            Code.MALFORMED, f"The body is not JSON: {str(error)[:200]}.", "Send one JSON object in UTF-8."
        ) from None


def decode_query(items: Iterable[tuple[str, str]], kind: type[T], lists: frozenset[str]) -> T:
    """Return a query as the struct that an endpoint expects; `lists` may be repeated, or separated by commas.

    Raises:
        TocsinError: INVALID, naming the first wrong parameter.
    """
    values: dict[str, str | list[str]] = {}
    for name, value in items:
        if name in lists:
            entry = values.setdefault(name, [])
            assert isinstance(entry, list)
            entry.extend(part.strip() for part in value.split(",") if part.strip())
        elif name in values:
            raise invalid(name, "is given more than once")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid_struct(error) from None


def invalid_struct(error: msgspec.ValidationError) -> TocsinError:
    """Return the refusal for what msgspec says, for example "Expected `str`, got `int` - at `$.notes`"."""
    said = _AT.fullmatch(str(error))
    assert said is not None, "the pattern matches every text"
    problem, at = said["problem"], said["field"] or ""
    if named := _NAMED.fullmatch(problem):
        at = f"{at}.{named['name']}" if at else named["name"]
        problem = "is missing" if "missing" in problem else "is not known here"
    else:
        problem = _in_words(problem)
    return invalid(at[:200], problem[:200])


def _in_words(problem: str) -> str:
    """Return what msgspec says is wrong with a value as what the value must be."""
    if problem in _PROBLEMS:
        return _PROBLEMS[problem]
    if found := _WRONG_KIND.fullmatch(problem):
        wanted = [_KINDS.get(kind, kind) for kind in found["kinds"].split(" | ") if kind != "null"]
        return f"must be {' or '.join(wanted)}, not {_KINDS.get(found['got'], found['got'])}"
    if found := _OUT_OF_BOUNDS.fullmatch(problem):
        bound = found["bound"]
        if found["length"]:
            bound = number_of(int(bound), *_PARTS[found["kind"]])
        return f"must {'have' if found['length'] else 'be'} at {'least' if found['way'] == '>' else 'most'} {bound}"
    if found := _UNKNOWN_VALUE.fullmatch(problem):
        return f"{found['value']} is none of the values that it can have"
    return problem.replace("`", "")


def invalid(at: str, problem: str) -> TocsinError:
    """Return the refusal for one wrong field or parameter; "" means the whole."""
    return refuse(
        Code.INVALID,
        f"{at or 'The request'}: {problem}.",
        "The fields are described at /docs.",
        errors=[{"field": at, "problem": problem}],
    )


def believable(name: str, instant: datetime | None) -> datetime | None:
    """Return an instant in UTC; raise INVALID when it is outside of EARLIEST to LATEST."""
    if instant is None:
        return None
    if not EARLIEST <= instant < LATEST:
        raise invalid(name, "must be between the years 1970 and 9998")
    return instant.astimezone(UTC)


def incident_ref(text: str) -> IncidentRef:
    """Return an incident's id or number as a path names it (`42`, `INC-42` or the UUID); raise NOT_FOUND."""
    number = _NUMBER.fullmatch(text)
    if number and int(number[1]) <= MAX_INCIDENT_NUMBER:
        return int(number[1])
    if _UUID.fullmatch(text):
        return UUID(text)
    raise refuse(
        Code.NOT_FOUND,
        f"There is no incident {text[:50]!r}.",
        "Name it by its number (42 or INC-42) or by its id.",
    )


def part_id(text: str, what: str) -> UUID:
    """Return the id of a part of something; raise NOT_FOUND."""
    if _UUID.fullmatch(text):
        return UUID(text)
    raise refuse(Code.NOT_FOUND, f"There is no {what} {text[:50]!r}.", "Its id is shown with what it is a part of.")
