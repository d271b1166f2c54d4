"""Codes of contact methods: what is good, for how long, how often, and how soon there is another one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.verification import (
    GOOD_FOR,
    LONGEST_PAUSE,
    MAX_TRIES,
    Pending,
    Verdict,
    code_hash,
    judge,
    pause_left,
    read_code,
)

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
METHOD = UUID(int=1)
SENT = Pending(METHOD, code_hash(METHOD, "12345678"), NOW, 0)
HOUR = timedelta(hours=1)


def test_code_that_was_sent_is_right_and_any_other_wrong() -> None:
    assert judge(SENT, "12345678", NOW) is Verdict.RIGHT
    assert judge(SENT, "12345679", NOW) is Verdict.WRONG


def test_code_is_good_for_its_own_contact_method_alone() -> None:
    assert judge(replace(SENT, contact_id=UUID(int=2)), "12345678", NOW) is Verdict.WRONG


def test_code_ends_after_its_time_and_after_its_tries() -> None:
    assert judge(SENT, "12345678", NOW + GOOD_FOR) is Verdict.RIGHT
    assert judge(SENT, "12345678", NOW + GOOD_FOR + timedelta(microseconds=1)) is Verdict.STALE
    assert judge(replace(SENT, tries=MAX_TRIES - 1), "12345678", NOW) is Verdict.RIGHT
    assert judge(replace(SENT, tries=MAX_TRIES), "12345678", NOW) is Verdict.STALE


def test_where_none_was_sent_none_is_good() -> None:
    assert judge(Pending(METHOD, None, None, 0), "12345678", NOW) is Verdict.STALE
    assert judge(replace(SENT, code_hash=None), "12345678", NOW) is Verdict.STALE


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("12345678", "12345678"),
        (" 1234 5678\n", "12345678"),
        ("1234-5678", "12345678"),
        ("1234567", None),
        ("123456789", None),
        ("١٢٣٤٥٦٧٨", None),
        ("", None),
        ("1234567x", None),
    ],
)
def test_code_is_read_however_it_is_typed(typed: str, code: str | None) -> None:
    assert read_code(typed) == code


@given(st.text(max_size=30))
def test_nothing_that_is_typed_breaks_the_reader(typed: str) -> None:
    code = read_code(typed)
    assert code is None or len(code) == 8


def test_first_message_goes_at_once_and_the_next_after_a_minute() -> None:
    assert pause_left(NOW, None, NOW) == timedelta(0)
    assert pause_left(NOW, NOW, NOW + timedelta(seconds=20)) == timedelta(seconds=40)
    assert pause_left(NOW, NOW, NOW + timedelta(minutes=1)) == timedelta(0)


def test_who_keeps_asking_gets_some_thirty_messages_in_the_first_hour_and_one_an_hour_in_the_end() -> None:
    at, sent = NOW, [NOW]
    while at < NOW + 48 * HOUR:
        at += timedelta(seconds=10)
        if not pause_left(NOW, sent[-1], at):
            sent.append(at)
    assert len([one for one in sent if one <= NOW + HOUR]) <= 32
    assert len([one for one in sent if one > NOW + 24 * HOUR]) <= 25


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_nobody_waits_longer_than_an_hour(age: int, since: int) -> None:
    sent_at = NOW + timedelta(seconds=age)
    left = pause_left(NOW, sent_at, sent_at + timedelta(seconds=since))
    assert timedelta(0) <= left <= LONGEST_PAUSE
