"""Follow-up actions are read from what people send, or refused with an example of what would do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.follow_up import MAX_FOLLOW_UP_CHARACTERS, MAX_FOLLOW_UPS, FollowUpAction, parse_follow_ups
from tocsin.errors import Code, TocsinError


def test_strings_and_objects_are_both_understood() -> None:
    pool = {"title": "Pool", "owner": "ana", "dueAt": "2026-12-01"}
    parsed = parse_follow_ups([" Alert ", pool, {"title": "x", "owner": None}])
    assert parsed == (FollowUpAction("Alert"), FollowUpAction("Pool", "ana", "2026-12-01"), FollowUpAction("x"))
    assert [action.document() for action in parsed] == [
        {"title": "Alert"},
        {"title": "Pool", "owner": "ana", "dueAt": "2026-12-01"},
        {"title": "x"},
    ]
    assert parse_follow_ups([]) == ()
    assert parse_follow_ups(("Alert",)) == (FollowUpAction("Alert"),)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "Alert",
        b"Alert",
        7,
        {"title": "Alert"},
        [None],
        [7],
        [["Alert"]],
        [""],
        ["  "],
        [{}],
        [{"title": ""}],
        [{"title": None}],
        [{"title": 7}],
        [{"title": "x", "owner": ["ana"]}],
        [{"title": "x", "due": "2026-12-01"}],
        [{"title": "x", "dueAt": "tomorrow"}],
        [{"title": "x", "dueAt": "2026-02-30"}],
        [{"title": "x", "dueAt": 20261201}],
        ["two\nlines"],
        ["a\x00b"],
        ["a\ud800b"],
        ["x" * (MAX_FOLLOW_UP_CHARACTERS + 1)],
        ["x"] * (MAX_FOLLOW_UPS + 1),
    ],
)
def test_anything_else_is_invalid_and_says_what_would_do(value: object) -> None:
    with pytest.raises(TocsinError) as caught:
        parse_follow_ups(value)
    assert caught.value.refusal.code is Code.INVALID
    assert caught.value.refusal.message.startswith("followUpActions: ")
    assert "Example" in caught.value.refusal.hint


def test_the_bounds_themselves_are_allowed() -> None:
    parsed = parse_follow_ups(["x" * MAX_FOLLOW_UP_CHARACTERS] * MAX_FOLLOW_UPS)
    assert len(parsed) == MAX_FOLLOW_UPS


keys = st.text() | st.sampled_from(["title", "owner", "dueAt"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_no_json_value_does_anything_but_be_read_or_refused(value: object) -> None:
    parsed: tuple[FollowUpAction, ...] = ()
    code = Code.INVALID
    try:
        parsed = parse_follow_ups(value)
    except TocsinError as error:
        code = error.refusal.code
    assert code is Code.INVALID
    assert parse_follow_ups([action.document() for action in parsed]) == parsed
