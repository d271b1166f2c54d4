"""A megabyte made to hurt costs a fraction of a second, whatever it is made of."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.intake.agreement import whole
from tests.intake.cost import read_cheaply
from tests.intake.samples import MEGABYTE, RECEIVED_AT, filled, new_ids
from tocsin.domain.arrival import Arrival
from tocsin.domain.report import ErrorReport, document
from tocsin.errors import TocsinError
from tocsin.intake import Rejected, native, sentry

REPORT = b'{"severity":"error","message":"x","level":"error",'
BODIES = {
    "open brackets": filled(b"["),
    "open objects": filled(b'{"a":'),
    "empty objects": filled(b"{},", b"[", b"{}]"),
    "newlines": filled(b"\n"),
    "lines": filled(b"{}\n"),
    "numbers and no number": filled(b"1,", b"[", b"NaN]"),
    "long numbers": filled(b"1" * 4_299 + b",", b"[", b"NaN]"),
    "one number": filled(b"1"),
    "wide context": filled(b"{},", REPORT + b'"context":{"a":[', b"0]}}"),
    "unknown fields": filled(b'"a":1,', REPORT, b'"b":1}'),
    "frames": filled(
        b'{"line":1},', REPORT + b'"exceptions":[{"frames":[', b'{}]}],"exception":[{"stacktrace":{"frames":[]}}]}'
    ),
    "sentry frames": filled(b'{"a":1},', REPORT + b'"exception":[{"stacktrace":{"frames":[', b"{}]}}]}"),
    "exceptions": filled(b'{"type":1},', REPORT + b'"exception":[', b"{}]}"),
    "tags": filled(b'["a","b"],', REPORT + b'"tags":[', b'["a","b"]]}'),
    "half surrogates": filled(b"\\ud800", b'{"severity":"error","message":"', b'"}'),
    "quotes": filled(b"'\\\"` ", b'{"severity":"error","message":"', b'"}'),
    "batch of frames": filled(
        b'{"severity":"error","type":"x","exceptions":[{"frames":[' + b'{"line":1},' * 85 + b"{}]}]},", b"[", b"{}]"
    ),
}


def by_native(body: bytes) -> list[Arrival | Rejected]:
    return native.parse(body, "", received_at=RECEIVED_AT, new_event_id=new_ids())


def by_store(body: bytes) -> list[Arrival | Rejected]:
    return [sentry.parse_store(body, received_at=RECEIVED_AT, new_event_id=new_ids())]


def by_envelope(body: bytes) -> list[Arrival | Rejected]:
    whole = b'{}\n{"type":"event"}\n' + body
    return sentry.parse_envelope(whole, received_at=RECEIVED_AT, new_event_id=new_ids()).arrivals


@pytest.mark.parametrize("parse", [by_native, by_store, by_envelope])
@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_megabyte_is_cheap_and_what_is_kept_of_it_is_small(
    name: str, parse: Callable[[bytes], list[Arrival | Rejected]]
) -> None:
    def read() -> list[ErrorReport | Rejected]:
        try:
            return [whole(item) for item in parse(BODIES[name])]
        except TocsinError:
            return []

    items = read_cheaply(read)
    kept = [item for item in items if isinstance(item, ErrorReport)]
    assert len(items) <= native.MAX_BATCH
    assert all(len(json.dumps(document(report))) < MEGABYTE for report in kept)
