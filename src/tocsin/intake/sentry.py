"""What Sentry's SDKs send: envelopes, and the older store requests.

Nothing that such a client sends is refused for a detail: the SDKs throw away what is refused. A part of an event that
is not what it should be is left out; the event is taken.

Source of the formats: https://develop.sentry.dev/sdk/data-model/envelopes/ and …/event-payloads/, and what the
clients named in the tests really send.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from tocsin.domain.arrival import Arrival
from tocsin.domain.report import MAX_INTEGER, cut
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake import Rejected
from tocsin.intake.decoding import parse_json
from tocsin.intake.reading import scalar_text
from tocsin.intake.sentry_event import event_id_of, read_event

MAX_ITEMS = 100
"""Events, check-ins and client reports of an envelope; the SDKs send a handful."""
MAX_ALL_ITEMS = 10_000
"""With those that are only counted: an event is not lost for its attachments."""
MAX_LOSSES = 100
"""Entries of the client reports of one envelope."""
MAX_LABEL_CHARACTERS = 64
"""An item's type, and the reason and category of a loss (characters)."""

_READ = frozenset({"event", "check_in", "client_report"})
_KEY = re.compile(r"[0-9A-Za-z_-]{1,64}")
_AUTH_PAIR = re.compile(r"\bsentry_key\s*=\s*([0-9A-Za-z_-]{1,64})(?![0-9A-Za-z_-])")
_BLANK = re.compile(rb"\s*+")
_MAX_AUTH_CHARACTERS = 2_048


@dataclass(frozen=True, slots=True)
class ClientLoss:
    """Events that the SDK itself dropped: why ("queue_overflow", …), of which category ("error", …), how many."""

    reason: str
    category: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one envelope carried.

    `event_id` is the id to answer with: the header's, else that of the first event; "" if there is neither.
    `check_ins` are the payloads of such items, unread. `others` counts the items that are acknowledged and not kept,
    by type.
    """

    event_id: str
    arrivals: list[Arrival | Rejected]
    check_ins: list[bytes]
    client_reports: list[ClientLoss]
    others: dict[str, int]


def parse_auth(header: str | None, query_key: str | None, dsn: object = None) -> str | None:
    """Return the project key that a request names, or None.

    Args:
        header: `X-Sentry-Auth: Sentry sentry_key=…, sentry_version=7`.
        query_key: `?sentry_key=…`.
        dsn: the `dsn` of the envelope's header (see `envelope_dsn`), which tunnels send instead.
    """
    pair = _AUTH_PAIR.search((header or "")[:_MAX_AUTH_CHARACTERS])
    if pair:
        return pair[1]
    if query_key and _KEY.fullmatch(query_key):
        return query_key
    return _key_of_dsn(dsn)


def _key_of_dsn(dsn: object) -> str | None:
    if not isinstance(dsn, str) or len(dsn) > _MAX_AUTH_CHARACTERS:
        return None
    try:
        key = urlsplit(dsn).username or ""
    except ValueError:
        # Not a URL at all: it names no key, which the caller refuses as it refuses an absent one.
        return None
    return key if _KEY.fullmatch(key) else None


def envelope_dsn(body: bytes) -> object:
    """Return the `dsn` of an envelope's header, as it is there; None without one.

    Raises:
        TocsinError: MALFORMED.
    """
    return _header(body.partition(b"\n")[0]).get("dsn")


def parse_envelope(body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]) -> Envelope:
    """Return what an envelope carries: a header line, then items of a header line and a payload each.

    Args:
        body: decompressed.
        received_at: stands in where the client does not say when (UTC).
        new_event_id: makes an id for an event that has none.

    Raises:
        TocsinError: MALFORMED (the envelope's own header cannot be read), TOO_LARGE (more than MAX_ITEMS, or
            MAX_ALL_ITEMS).
    """
    first, _, rest = body.partition(b"\n")
    header = _header(first)
    header_id = event_id_of(header.get("event_id"))
    arrivals: list[Arrival | Rejected] = []
    check_ins: list[bytes] = []
    losses: list[ClientLoss] = []
    others: Counter[str] = Counter()
    # The header's id belongs to one event; a second one under it would be taken for a copy of the first.
    unused_ids = iter([header_id] if header_id else [])
    for index, (kind, payload) in enumerate(_items(rest)):
        if kind == "event":
            arrivals.append(_outcome(index, payload, received_at, lambda: next(unused_ids, "") or new_event_id()))
        elif kind == "check_in":
            check_ins.append(payload)
        elif kind == "client_report":
            losses.extend(_losses(payload))
        else:
            others[kind] += 1
    ids = (arrival.event_id for arrival in arrivals if isinstance(arrival, Arrival))
    return Envelope(header_id or next(ids, ""), arrivals, check_ins, losses[:MAX_LOSSES], dict(others))


def parse_store(body: bytes, *, received_at: datetime, new_event_id: Callable[[], str]) -> Arrival:
    """Return the event of a store request: one JSON object.

    Raises:
        TocsinError: MALFORMED, or INVALID (not an object).
    """
    return read_event(body, received_at=received_at, new_event_id=new_event_id)


def _header(line: bytes) -> dict[str, object]:
    header = parse_json(line)
    if not isinstance(header, dict):
        raise refuse(Code.MALFORMED, "The envelope's header is not a JSON object.", "Send a Sentry envelope.")
    return header


def _items(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield type and payload of each item. One with an unreadable header ends it: nobody knows where it ends."""
    position = _next_line(body, 0)
    count = read = 0
    while position < len(body):
        line, position = _line(body, position)
        header = _item_header(line)
        if header is None:
            # As an event, so that what cannot be read is reported as rejected and not just counted.
            yield "event", line
            return
        kind = _label(header.get("type"))
        count, read = count + 1, read + (kind in _READ)
        if read > MAX_ITEMS or count > MAX_ALL_ITEMS:
            raise refuse(
                Code.TOO_LARGE,
                f"The envelope has more than {MAX_ITEMS} events, or {MAX_ALL_ITEMS:,} items.",
                "Send them in several envelopes.",
                limitItems=MAX_ITEMS,
            )
        payload, position = _payload(body, position, header.get("length"))
        yield kind, payload
        position = _next_line(body, position)


def _item_header(line: bytes) -> dict[str, object] | None:
    try:
        header = parse_json(line)
    except TocsinError:
        return None
    return header if isinstance(header, dict) else None


def _next_line(body: bytes, start: int) -> int:
    """Return where the next line begins that is not blank. One call, not one per line: a body may be all newlines."""
    blank = _BLANK.match(body, start)
    return blank.end() if blank else start


def _line(body: bytes, start: int) -> tuple[bytes, int]:
    end = body.find(b"\n", start)
    return (body[start:], len(body)) if end < 0 else (body[start:end], end + 1)


def _payload(body: bytes, start: int, length: object) -> tuple[bytes, int]:
    """Return an item's payload. A length that does not lead to the end of a line is wrong: the line counts then."""
    if isinstance(length, int) and 0 <= length <= len(body) - start:
        end = start + length
        if body[end : end + 1] in (b"\n", b""):
            return body[start:end], end + 1
    return _line(body, start)


def _outcome(index: int, payload: bytes, received_at: datetime, new_event_id: Callable[[], str]) -> Arrival | Rejected:
    try:
        return read_event(payload, received_at=received_at, new_event_id=new_event_id)
    except TocsinError as error:
        return Rejected(index, error.refusal.message)


def _losses(payload: bytes) -> Iterator[ClientLoss]:
    try:
        report = parse_json(payload)
    except TocsinError:
        report = None
    discarded = report.get("discarded_events") if isinstance(report, dict) else None
    for entry in (discarded if isinstance(discarded, list) else [])[:MAX_LOSSES]:
        quantity = entry.get("quantity") if isinstance(entry, dict) else None
        if isinstance(quantity, int) and not isinstance(quantity, bool) and 0 < quantity <= MAX_INTEGER:
            yield ClientLoss(_label(entry.get("reason")), _label(entry.get("category")), quantity)


def _label(value: object) -> str:
    return cut(scalar_text(value) or "unknown", MAX_LABEL_CHARACTERS)
