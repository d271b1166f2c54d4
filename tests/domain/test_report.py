"""Whatever a client sends, what is kept of it is bounded, storable, and says what it left out."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from tocsin.domain import report as module
from tocsin.domain.incident import Severity
from tocsin.domain.report import (
    MAX_CONTEXT_CHARACTERS,
    MAX_CONTEXT_DEPTH,
    MAX_CONTEXT_ENTRIES,
    MAX_CONTEXT_KEY_CHARACTERS,
    MAX_CONTEXT_TEXT_CHARACTERS,
    MAX_EVENT_ID_CHARACTERS,
    MAX_EXCEPTIONS,
    MAX_FRAMES,
    MAX_INTEGER,
    MAX_MESSAGE_CHARACTERS,
    MAX_REPORT_BYTES,
    MAX_TAGS,
    MAX_TITLE_CHARACTERS,
    ErrorReport,
    Frame,
    RaisedException,
    _ContextCleaner,
    _is_within_bounds,
    both_ends,
    bounded,
    cut,
    document,
)

RECEIVED_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPORT = ErrorReport("e1", Severity.HIGH, "ValueError", "no such order", RECEIVED_AT)


def keep(**changes: object) -> ErrorReport:
    return bounded(replace(REPORT, **changes), received_at=RECEIVED_AT)


def kept_context(**context: object) -> dict[str, object]:
    return keep(context=context).context


def frames(count: int) -> tuple[Frame, ...]:
    return tuple(Frame(f"f{number}") for number in range(count))


def test_a_report_within_all_bounds_is_kept_as_it_is() -> None:
    report = replace(
        REPORT,
        exceptions=(RaisedException("ValueError", "no such order", frames=frames(MAX_FRAMES)),),
        tags={f"t{number}": "v" for number in range(MAX_TAGS)},
        context={"list": [1, 2.5, None, True, "x", {"deep": []}]},
    )
    assert bounded(report, received_at=RECEIVED_AT) == report


def test_a_cut_text_is_exactly_as_long_as_allowed_and_ends_with_an_ellipsis() -> None:
    assert keep(message="m" * MAX_MESSAGE_CHARACTERS).message == "m" * MAX_MESSAGE_CHARACTERS
    assert keep(message="m" * (MAX_MESSAGE_CHARACTERS + 1)).message == "m" * (MAX_MESSAGE_CHARACTERS - 1) + "…"


def test_what_the_database_cannot_store_is_replaced_everywhere() -> None:
    bad = "a\x00b\ud800c"
    report = keep(
        error_type=bad,
        message=bad,
        fingerprint=(bad,),
        exceptions=(RaisedException(bad, bad, bad, (Frame(bad, bad, bad, None, bad),)),),
        tags={bad: bad},
        context={bad: [bad, {bad: bad}]},
    )
    text = json.dumps(document(report), ensure_ascii=False)
    assert "\\u0000" not in text
    assert "a\ufffdb\ufffdc" in text
    text.encode("utf-8")


def test_of_a_long_stack_both_ends_are_kept_and_the_rest_is_counted() -> None:
    report = keep(exceptions=(RaisedException("E", frames=frames(1_000)),))
    kept = report.exceptions[0].frames
    assert [kept[0].function, kept[-1].function, len(kept)] == ["f0", "f999", MAX_FRAMES]
    assert report.context["tocsin"] == {"leftOut": {"frames": 900}}


def test_a_short_stack_stays_whole_beside_an_endless_one() -> None:
    chain = (RaisedException("Cause", frames=frames(10)), RaisedException("Effect", frames=frames(5_000)))
    assert [len(exception.frames) for exception in keep(exceptions=chain).exceptions] == [10, MAX_FRAMES - 10]


def test_of_a_long_chain_the_cause_and_what_the_program_saw_are_kept() -> None:
    report = keep(exceptions=tuple(RaisedException(f"E{number}") for number in range(40)))
    assert [report.exceptions[0].type, report.exceptions[-1].type] == ["E0", "E39"]
    assert len(report.exceptions) == MAX_EXCEPTIONS
    assert report.context["tocsin"] == {"leftOut": {"exceptions": 30}}


@given(st.lists(st.integers()), st.integers(0, 20))
def test_both_ends_are_a_prefix_and_a_suffix(items: list[int], limit: int) -> None:
    kept = list(both_ends(items, limit))
    head = limit // 2
    assert len(kept) == min(len(items), limit)
    assert kept[:head] == items[:head]
    assert kept[head:] == items[len(items) - len(kept[head:]) :]


def test_more_tags_than_allowed_are_counted() -> None:
    report = keep(tags={f"t{number}": "v" for number in range(MAX_TAGS + 3)})
    assert len(report.tags) == MAX_TAGS
    assert report.context["tocsin"] == {"leftOut": {"tags": 3}}


@pytest.mark.parametrize(
    "occurred_at",
    [
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        RECEIVED_AT + timedelta(days=1, microseconds=1),
        datetime.max.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    ],
)
def test_an_unbelievable_clock_is_replaced_and_remembered(occurred_at: datetime) -> None:
    report = keep(occurred_at=occurred_at)
    assert report.occurred_at == RECEIVED_AT
    assert report.context["tocsin"] == {"clientClock": occurred_at.isoformat()}


@pytest.mark.parametrize("occurred_at", [datetime(2000, 1, 1, tzinfo=UTC), RECEIVED_AT + timedelta(days=1)])
def test_a_clock_at_the_edge_is_believed(occurred_at: datetime) -> None:
    assert keep(occurred_at=occurred_at).occurred_at == occurred_at


def test_two_long_event_ids_that_differ_at_the_end_stay_two() -> None:
    ids = {keep(event_id="x" * 100 + end).event_id for end in "ab"}
    assert len(ids) == 2
    assert all(len(event_id) <= MAX_EVENT_ID_CHARACTERS for event_id in ids)


def test_numbers_that_json_cannot_carry_become_text() -> None:
    values = kept_context(nan=math.nan, inf=math.inf, huge=2**53, edge=2**53 - 1, giant=10**9_999, tiny=1e-300)
    assert values["nan"] == "nan"
    assert values["inf"] == "inf"
    assert values["huge"] == "9007199254740992"
    assert values["edge"] == MAX_INTEGER
    rfc8785.dumps(values)  # type: ignore[arg-type]
    assert str(values["giant"]).startswith("0x")
    assert values["tiny"] == 1e-300


def test_an_object_in_the_context_is_named_and_never_asked_for_its_text() -> None:
    class Secret:
        def __str__(self) -> str:
            raise AssertionError("foreign code ran")

    assert kept_context(thing=Secret(), raw=b"x") == {"thing": "<Secret>", "raw": "<bytes>"}


def test_a_context_ends_at_its_depth() -> None:
    nested: object = "bottom"
    for _ in range(MAX_CONTEXT_DEPTH + 5):
        nested = [nested]
    text = json.dumps(kept_context(nested=nested), ensure_ascii=False)
    assert text == '{"nested": ' + "[" * (MAX_CONTEXT_DEPTH - 1) + '"…"' + "]" * (MAX_CONTEXT_DEPTH - 1) + "}"


def test_a_wide_context_says_how_much_more_there_was() -> None:
    context = kept_context(wide=list(range(MAX_CONTEXT_ENTRIES + 7)), **{f"k{n}": n for n in range(200)})
    assert context["wide"] == [*range(MAX_CONTEXT_ENTRIES), "… 7 more"]
    assert context["…"] == "101 more"


def test_a_large_context_ends_at_its_budget() -> None:
    context = kept_context(**{f"k{number}": ["x" * 4_000] * 50 for number in range(50)})
    size = len(json.dumps(context))
    assert MAX_CONTEXT_CHARACTERS / 2 < size < MAX_CONTEXT_CHARACTERS * 1.2
    assert "…" in context


def test_our_own_note_does_not_fall_to_the_clients_context() -> None:
    report = keep(context={f"k{n}": "x" * 5_000 for n in range(300)}, occurred_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert report.context["tocsin"] == {"clientClock": "1970-01-01T00:00:00+00:00"}


def test_the_largest_possible_report_fits_the_limit_of_a_report() -> None:
    text = "x" * 100_000
    frame = Frame(text, text, text, 1, text)
    report = keep(
        **{name: text for name, value in asdict(REPORT).items() if isinstance(value, str) and name != "severity"},
        exceptions=(RaisedException(text, text, text, (frame,) * 500, False),) * 50,
        fingerprint=(text,) * 100,
        tags={f"{number}{text}": text for number in range(1_000)},
        context={f"{number}{text}": text for number in range(1_000)},
    )
    assert len(json.dumps(document(report)).encode()) < MAX_REPORT_BYTES / 2


def test_the_document_leaves_out_what_is_absent_and_keeps_what_is_false() -> None:
    frame = Frame("pay", line=0, in_app=False)
    report = keep(exceptions=(RaisedException("ValueError", frames=(frame,), handled=False),))
    assert document(report) == {
        "eventId": "e1",
        "severity": "HIGH",
        "type": "ValueError",
        "message": "no such order",
        "occurredAt": "2026-03-01T12:00:00.000000Z",
        "exceptions": [
            {
                "type": "ValueError",
                "handled": False,
                "frames": [{"function": "pay", "line": 0, "inApp": False}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("error_type", "message", "title"),
    [
        ("ValueError", "no such order", "ValueError: no such order"),
        ("ValueError", "", "ValueError"),
        ("", "disk full", "disk full"),
        ("", "", "<unlabeled event>"),
        (" ", "\n\t", "<unlabeled event>"),
        ("ValueError", "\n\n first\r\nsecond", "ValueError: first"),
        ("Two\nlines", "one\u2028two", "Two lines: one"),
    ],
)
def test_a_title_is_one_line_and_never_empty(error_type: str, message: str, title: str) -> None:
    assert replace(REPORT, error_type=error_type, message=message).title == title


@given(st.text(), st.text())
def test_a_title_fits_its_column(error_type: str, message: str) -> None:
    title = keep(error_type=error_type * 50, message=message * 50).title
    assert 1 <= len(title) <= MAX_TITLE_CHARACTERS
    assert len(title.splitlines()) == 1


@given(st.text(st.characters()), st.integers(1, 20))
def test_cutting_twice_is_cutting_once(text: str, limit: int) -> None:
    once = cut(text, limit)
    assert len(once) <= limit
    assert cut(once, limit) == once
    once.encode("utf-8")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([2**53 - 1, 2**53, -(2**53), 2.0**53, 1e21])
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(), max_size=5) | st.integers(), inner, max_size=5)
    ),
    max_leaves=40,
)


@given(st.dictionaries(st.text(st.characters(), max_size=5), anything, max_size=8))
def test_any_context_becomes_canonical_json(context: dict[str, object]) -> None:
    stored = document(keep(context=context))
    assert json.loads(rfc8785.dumps(stored)) == stored  # type: ignore[arg-type]


odd_texts = st.sampled_from(["", "x", "\x00", "\ud800", "\\u0000", "é😀"])
near_the_bounds = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**54), 2**54) | st.floats() | odd_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_texts, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(odd_texts, near_the_bounds, max_size=6),
    st.integers(0, MAX_CONTEXT_DEPTH + 1),
    st.integers(MAX_CONTEXT_TEXT_CHARACTERS - 1, MAX_CONTEXT_TEXT_CHARACTERS + 1),
    st.integers(MAX_CONTEXT_KEY_CHARACTERS - 1, MAX_CONTEXT_KEY_CHARACTERS + 1),
    st.integers(MAX_CONTEXT_ENTRIES - 1, MAX_CONTEXT_ENTRIES + 1),
)
def test_a_context_that_stays_as_it_is_would_come_out_the_same(
    context: dict[str, object], depth: int, text: int, key: int, entries: int
) -> None:
    nested: object = "x" * text
    for _ in range(depth):
        nested = {"k" * key: nested}
    wide = [1] * entries
    others: list[dict[str, object]] = [{"nested": nested}, {"wide": wide}, {"wide": dict(enumerate(wide))}]
    for one in (context, context | {"more": nested}, *others):
        if _is_within_bounds(one):
            assert _ContextCleaner().mapping(one, MAX_CONTEXT_DEPTH) == one


def test_a_context_stays_as_it_is_up_to_its_budget() -> None:
    full: dict[str, object] = {str(n): "x" * 4_000 for n in range(10, 26)}
    left = MAX_CONTEXT_CHARACTERS - sum(8 + len(name) + 4_000 for name in full)
    for length, fits in ((left - 12, True), (left - 11, False)):
        context = full | {"last": "x" * length}
        assert _is_within_bounds(context) is fits
        assert (_ContextCleaner().mapping(context, MAX_CONTEXT_DEPTH) == context) is fits


def test_every_limit_is_a_positive_number() -> None:
    limits = {name: value for name, value in vars(module).items() if name.startswith("MAX_")}
    assert all(isinstance(value, timedelta) or value > 0 for value in limits.values())


edge_texts = st.sampled_from(["", "a", "é", "\x00", "x" * 64, "x" * 65, "x" * 200, "x" * 201, "x" * 256, "x" * 8_193])
instants = st.sampled_from(
    [
        RECEIVED_AT,
        RECEIVED_AT.replace(tzinfo=None),
        RECEIVED_AT.astimezone(timezone(timedelta(hours=2))),
        RECEIVED_AT + timedelta(days=2),
        datetime(1970, 1, 1, tzinfo=UTC),
    ]
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(["error_type", "message", "template", "service", "user_id"], edge_texts),
            "event_id": edge_texts.filter(bool),
            "occurred_at": instants,
            "expires_at": st.none() | instants,
            "fingerprint": st.lists(edge_texts, max_size=11).map(tuple),
            "tags": st.dictionaries(edge_texts, edge_texts, max_size=3)
            | st.integers(49, 52).map(lambda number: {f"t{one}": "v" for one in range(number)}),
            "context": st.dictionaries(edge_texts | st.just("tocsin"), edge_texts | st.lists(edge_texts), max_size=3),
        },
    )
)
def test_a_report_that_stays_as_it_is_would_come_out_the_same(changes: dict[str, object]) -> None:
    quick = keep(**changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_fits", lambda *_: False)
        assert keep(**changes) == quick


def test_a_list_that_stands_in_a_context_many_times_costs_each_time_and_is_copied_once() -> None:
    wide = ["x" * 100] * (MAX_CONTEXT_ENTRIES + 1)
    context = kept_context(**{f"k{number}": wide for number in range(20)})
    whole = [one for one in context.values() if isinstance(one, list) and len(one) == MAX_CONTEXT_ENTRIES + 1]
    assert len(whole) > 2
    assert all(one is whole[0] for one in whole)
    assert len(json.dumps(context)) < MAX_CONTEXT_CHARACTERS + 1_000
