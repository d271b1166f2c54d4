"""The quick readers and the full ones agree: on what an arrival says, on what is refused, and with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.intake.agreement import was_judged_quickly, whole
from tests.intake.samples import RECEIVED_AT, json_values, new_ids
from tocsin.domain.arrival import Arrival
from tocsin.domain.report import (
    MAX_EVENT_ID_CHARACTERS,
    MAX_EXCEPTION_MESSAGE_CHARACTERS,
    MAX_EXCEPTIONS,
    MAX_FINGERPRINT_PART_CHARACTERS,
    MAX_FINGERPRINT_PARTS,
    MAX_FRAME_NAME_CHARACTERS,
    MAX_FRAMES,
    MAX_INTEGER,
    MAX_MESSAGE_CHARACTERS,
    MAX_SOURCE_LINE_CHARACTERS,
    MAX_TYPE_CHARACTERS,
)
from tocsin.errors import Refusal, TocsinError
from tocsin.intake import Rejected, native, sentry_event
from tocsin.intake.decoding import MAX_DEPTH

Parser = Callable[[bytes], list[Arrival | Rejected]]


def by_native(body: bytes) -> list[Arrival | Rejected]:
    return native.parse(body, "", received_at=RECEIVED_AT, new_event_id=new_ids())


def by_lines(body: bytes) -> list[Arrival | Rejected]:
    return native.parse(body, "application/x-ndjson", received_at=RECEIVED_AT, new_event_id=new_ids())


def by_sentry(body: bytes) -> list[Arrival | Rejected]:
    return [sentry_event.read_event(body, received_at=RECEIVED_AT, new_event_id=new_ids())]


def outcome(parse: Parser, body: bytes) -> object:
    """Return all that is to be seen from outside."""
    try:
        items = parse(body)
    except TocsinError as error:
        return error.refusal
    seen = [name for name in Arrival.__struct_fields__ if name != "whole"]
    return [
        item if isinstance(item, Rejected) else [*(getattr(item, name) for name in seen), item.whole()]
        for item in items
    ]


def outcome_without_quick_readers(parse: Parser, body: bytes) -> object:
    with (
        patch.object(native, "_glimpse", lambda *_: None),
        patch.object(native, "_array", lambda *_: None),
        patch.object(sentry_event, "_glimpse", lambda *_: None),
    ):
        return outcome(parse, body)


def agree(parse: Parser, body: bytes) -> None:
    found = outcome(parse, body)
    assert found == outcome_without_quick_readers(parse, body)
    if not isinstance(found, Refusal):
        for item in parse(body):
            whole(item)


# ---- generated: mostly as it should be, so that the quick readers get far; odd here and there

odd = json_values | st.sampled_from(
    ["\0", "x\0y", "\ud800", "é" * 300, "", " ", 2**53, -1, 1.5, True, [], {}, "{{ default }}", "?", "<unknown>"]
)
words = st.sampled_from(["pay", "shop.pay", "cannot pay order 17", "f <0x7f01>", "Ünïcode", ""]) | st.text(max_size=8)


def mostly(usual: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Nine in ten are as usual."""
    return st.integers(0, 9).flatmap(lambda number: usual if number else odd)


def objects(**parts: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({}, optional={name: mostly(part) for name, part in parts.items()})


def lists(items: st.SearchStrategy[dict[str, object]], most: int) -> st.SearchStrategy[list[object]]:
    return st.lists(st.integers(0, 9).flatmap(lambda number: items if number else odd), max_size=most)


instants = st.sampled_from(
    ["2026-11-30T10:00:00Z", "2026-11-30t12:00:00+02:00", "1999-01-01T00:00:00Z", "2026-12-03T00:00:00Z", "soon"]
) | st.sampled_from([1_796_032_800, 1_796_032_800.25, 1_796_032_800_250, 3, 2**70, 1e300])
ids = st.sampled_from(
    ["FC6D8C0C-43FC-4630-AD85-0EE518F1B9D0", "fc6d8c0c43fc4630ad850ee518f1b9d0", " e ", "é", "a" * 65]
)
levels = st.sampled_from(["fatal", "error", "ERROR ", "warning", "info"])
client_fingerprints = st.lists(words, max_size=12) | words
flags = st.none() | st.booleans()

native_frames = objects(
    function=words, module=words, filename=words, line=st.integers(0, 99), sourceLine=words, inApp=flags
)
native_exceptions = objects(type=words, message=words, module=words, handled=flags, frames=lists(native_frames, 6))
native_reports = st.builds(
    lambda least, more: {**least, **more},
    st.fixed_dictionaries({"severity": levels, "message": words}),
    objects(
        eventId=st.sampled_from(["e-1", "", "two words", "a" * 65]),
        type=words,
        occurredAt=instants,
        template=words,
        fingerprint=client_fingerprints,
        exceptions=lists(native_exceptions, 4),
        platform=words,
        userId=words,
        tags=st.dictionaries(words, words, max_size=3),
        context=st.dictionaries(words, json_values, max_size=3),
        enviroment=words,
    ),
)

sentry_frames = objects(
    function=words, module=words, filename=words, lineno=st.integers(), context_line=words, in_app=flags, vars=odd
)
stacks = objects(frames=lists(sentry_frames, 6))
sentry_exceptions = objects(type=words, value=words, module=words, stacktrace=stacks, mechanism=objects(handled=flags))
threads = objects(crashed=flags, current=flags, stacktrace=stacks)
logged = objects(message=words, formatted=words, params=odd) | words


def wrapped(items: st.SearchStrategy[dict[str, object]]) -> st.SearchStrategy[object]:
    return lists(items, 3).flatmap(lambda values: st.sampled_from([{"values": values}, values]))


sentry_events = objects(
    event_id=ids,
    level=levels | words,
    timestamp=instants,
    fingerprint=client_fingerprints,
    logentry=logged,
    message=logged,
    exception=wrapped(sentry_exceptions),
    threads=wrapped(threads),
    stacktrace=stacks,
    tags=st.dictionaries(words, words, max_size=3),
    extra=odd,
    # What is only kept, and (modules) what is not.
    **{
        name: st.dictionaries(words, json_values, min_size=1, max_size=2)
        for name in ("user", "contexts", "sdk", "request", "modules")
    },
    **{
        name: st.just(name)
        for name in ("platform", "environment", "release", "server_name", "logger", "transaction", "culprit", "dist")
    },
    breadcrumbs=wrapped(objects(message=words, data=odd)),
)


@st.composite
def bodies(draw: st.DrawFn, documents: st.SearchStrategy[object]) -> bytes:
    """The documents as JSON: escaped or not, tight or not; now and then damaged."""
    document = draw(documents)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1])))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        position = draw(st.integers(0, len(body)))
        body[position : position + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from(DAMAGE))
    return bytes(body)


DAMAGE = [
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\x01",
    b"[",
    b"{",
    b"}",
    b",",
    b"1e999",
    b"NaN",
    b"\xef\xbb\xbf",
]

READERS: dict[str, tuple[Parser, st.SearchStrategy[bytes]]] = {
    "our own": (by_native, bodies(native_reports | st.lists(native_reports | odd, max_size=3))),
    "lines": (by_lines, st.lists(bodies(native_reports), max_size=3).map(b"\n".join)),
    "lines that do not say so": (by_native, st.lists(bodies(native_reports), min_size=2, max_size=3).map(b"\n".join)),
    "sentry": (by_sentry, bodies(sentry_events)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_both_readers_agree_on_whatever_comes(name: str, data: st.DataObject) -> None:
    parse, whatever = READERS[name]
    agree(parse, data.draw(whatever))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_both_readers_agree_on_much_more(name: str, data: st.DataObject) -> None:
    parse, whatever = READERS[name]
    agree(parse, data.draw(whatever))


# ---- at the edges: what just fits is judged quickly, one more is left to the full reader; both agree

LEAST = {"severity": "error", "message": "disk full"}


def native_of(**parts: object) -> bytes:
    return json.dumps({**LEAST, **parts}).encode()


def native_frame(**parts: object) -> bytes:
    return native_of(exceptions=[{"frames": [{"function": "f", **parts}]}])


def sentry_of(**parts: object) -> bytes:
    return json.dumps({"exception": {"values": [{"type": "E", **parts}]}}).encode()


def sentry_frame(**parts: object) -> bytes:
    return sentry_of(stacktrace={"frames": [{"function": "f", **parts}]})


def nested(depth: int) -> object:
    inner: object = 1
    for level in range(depth):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


EDGES: dict[str, tuple[Parser, Callable[[int], bytes], int]] = {
    "event id": (by_native, lambda n: native_of(eventId="e" * n), MAX_EVENT_ID_CHARACTERS),
    "message": (by_native, lambda n: native_of(message="é" * n), MAX_MESSAGE_CHARACTERS),
    "type": (by_native, lambda n: native_of(type="t" * n), MAX_TYPE_CHARACTERS),
    "template": (by_native, lambda n: native_of(template="t" * n), MAX_MESSAGE_CHARACTERS),
    "fingerprint": (by_native, lambda n: native_of(fingerprint=["a"] * n), MAX_FINGERPRINT_PARTS),
    "fingerprint part": (by_native, lambda n: native_of(fingerprint=["a" * n]), MAX_FINGERPRINT_PART_CHARACTERS),
    "exceptions": (by_native, lambda n: native_of(exceptions=[{"type": "E"}] * n), MAX_EXCEPTIONS),
    "exception's message": (
        by_native,
        lambda n: native_of(exceptions=[{"message": "𝄞" * n}]),
        MAX_EXCEPTION_MESSAGE_CHARACTERS,
    ),
    "frames of all": (
        by_native,
        lambda n: native_of(exceptions=[{"frames": [{"function": "f"}] * 50}, {"frames": [{}] * (n - 50)}]),
        MAX_FRAMES,
    ),
    "function": (by_native, lambda n: native_frame(function="🙂" * n), MAX_FRAME_NAME_CHARACTERS),
    "source line": (by_native, lambda n: native_frame(sourceLine="x" * n), MAX_SOURCE_LINE_CHARACTERS),
    "line number": (by_native, lambda n: native_frame(line=n), MAX_INTEGER),
    "sentry event id": (by_sentry, lambda n: json.dumps({"event_id": "e" * n}).encode(), MAX_EVENT_ID_CHARACTERS),
    "sentry exceptions": (
        by_sentry,
        lambda n: json.dumps({"exception": [{"type": "E"}] * n}).encode(),
        MAX_EXCEPTIONS,
    ),
    "sentry value": (by_sentry, lambda n: sentry_of(value="v" * n), MAX_EXCEPTION_MESSAGE_CHARACTERS),
    "sentry type": (by_sentry, lambda n: sentry_of(type="v" * n), MAX_TYPE_CHARACTERS),
    "sentry frames": (by_sentry, lambda n: sentry_of(stacktrace={"frames": [{"module": "m"}] * n}), MAX_FRAMES),
    "sentry module": (by_sentry, lambda n: sentry_frame(module="m" * n), MAX_FRAME_NAME_CHARACTERS),
    "sentry file name": (by_sentry, lambda n: sentry_frame(filename="m" * n), MAX_FRAME_NAME_CHARACTERS),
    "sentry source line": (by_sentry, lambda n: sentry_frame(context_line="m" * n), MAX_SOURCE_LINE_CHARACTERS),
    "sentry message": (by_sentry, lambda n: json.dumps({"message": "m" * n}).encode(), MAX_MESSAGE_CHARACTERS),
}


@pytest.mark.parametrize("name", EDGES)
def test_what_just_fits_is_judged_quickly_and_one_more_as_well_as_ever(name: str) -> None:
    parse, make, limit = EDGES[name]
    for number in (limit - 1, limit):
        agree(parse, make(number))
        assert all(was_judged_quickly(item) for item in parse(make(number)))
    agree(parse, make(limit + 1))
    found = outcome(parse, make(limit + 1))
    assert isinstance(found, Refusal) or not any(was_judged_quickly(item) for item in parse(make(limit + 1)))


@pytest.mark.parametrize("parse", [by_native, by_sentry])
@pytest.mark.parametrize("depth", range(MAX_DEPTH - 3, MAX_DEPTH + 3))
def test_the_depth_that_is_refused_is_the_same(parse: Parser, depth: int) -> None:
    # Beside the nest, so many containers that counting them says nothing.
    for ballast in ([], [{"a": [1]}] * 3_000):
        body = native_of(deep=nested(depth - 1), ballast=ballast)
        agree(parse, body)
        assert isinstance(outcome(parse, body), Refusal) == (depth > MAX_DEPTH)
    agree(parse, b"[" + native_of(deep=nested(depth - 2)) + b"]")


def test_what_only_looks_deep_is_judged_quickly() -> None:
    body = native_of(message="]}" * 99 + "[{" * 99, context={"a": "\n" + " " * 200})
    agree(by_native, body)
    assert all(was_judged_quickly(item) for item in by_native(body))


@pytest.mark.parametrize("part", ["eventId", "message", "template", "context", "type", "fingerprint", "exceptions"])
def test_a_character_that_cannot_be_stored_is_replaced_by_both(part: str) -> None:
    values = {"context": {"a": "x\0y"}, "fingerprint": ["x\0y"], "exceptions": [{"frames": [{"function": "x\0y"}]}]}
    agree(by_native, native_of(**{part: values.get(part, "x\0y")}))
    agree(by_native, native_of(**{part: values.get(part, "x\0y"), "ballast": "b" * 10_000}))


@pytest.mark.parametrize("made", ["é", "x\0", "a" * 65, "two words"])
def test_an_odd_id_that_is_made_for_a_report_is_bounded_by_both(made: str) -> None:
    whole(sentry_event.read_event(native_of(), received_at=RECEIVED_AT, new_event_id=lambda: made))
    for item in native.parse(native_of(), "", received_at=RECEIVED_AT, new_event_id=lambda: made):
        whole(item)


def test_an_id_is_made_once_for_each_report_that_has_none() -> None:
    batch = b"[" + b",".join([native_of(), native_of(eventId="own"), native_of(message="\0"), native_of()]) + b"]"
    items = by_native(batch)
    assert [item.event_id for item in items if isinstance(item, Arrival)] == ["new-1", "own", "new-2", "new-3"]
    assert [item.whole().event_id for item in items if isinstance(item, Arrival)] == ["new-1", "own", "new-2", "new-3"]


WRONG_ALONE: dict[str, dict[str, object]] = {
    **{name: {name: []} for name in ("platform", "service", "environment", "release", "serverName", "logger")},
    **{name: {name: {}} for name in ("culprit", "traceId", "userId", "template", "type", "eventId", "severity")},
    "context": {"context": ["a"]},
    "tags": {"tags": [["a", "b"]]},
    "a tag": {"tags": {"a": {"b": 1}}},
    "a tag that is a huge number": {"tags": {"a": 2**4_097}},
    "fingerprint": {"fingerprint": ["a", None]},
    "module": {"exceptions": [{"module": []}]},
    "handled": {"exceptions": [{"handled": "no"}]},
    "line": {"exceptions": [{"frames": [{"line": -1}]}]},
    "in app": {"exceptions": [{"frames": [{"inApp": 1}]}]},
    "no exception": {"exceptions": [None]},
    "no frame": {"exceptions": [{"frames": [None]}]},
}


@pytest.mark.parametrize("name", WRONG_ALONE)
def test_what_decides_nothing_is_refused_all_the_same_when_it_is_wrong(name: str) -> None:
    body = native_of(**WRONG_ALONE[name])
    assert isinstance(outcome(by_native, body), Refusal)
    agree(by_native, body)


STACK = {"frames": [{"function": "pay", "module": "shop"}]}
OTHER_STACK = {"frames": [{"function": "idle", "module": "shop"}]}


@pytest.mark.parametrize(
    "parts",
    [
        {"threads": [{"stacktrace": OTHER_STACK}, {"crashed": True, "stacktrace": STACK}]},
        {"threads": {"values": [{"stacktrace": OTHER_STACK}, {"current": True, "stacktrace": STACK}]}},
        {"threads": [{"current": True, "stacktrace": None}], "stacktrace": STACK},
        {"threads": [{"stacktrace": OTHER_STACK}], "stacktrace": STACK},
        {"exception": {"values": []}, "threads": None, "stacktrace": STACK},
    ],
)
def test_the_stack_of_a_message_is_found_quickly_wherever_it_stands(parts: dict[str, object]) -> None:
    (arrival,) = by_sentry(json.dumps({"message": "m", **parts}).encode())
    report = whole(arrival)
    assert was_judged_quickly(arrival)
    assert not isinstance(report, Rejected)
    assert [frame.function for frame in report.exceptions[0].frames] == ["pay"]
