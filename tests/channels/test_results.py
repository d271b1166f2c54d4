"""What every outcome and message promises, whatever the channel."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.channels import MAX_ANSWER_CHARACTERS, Delivered, Message, Rejected, Retry, clean_line


@given(st.text(st.characters(), max_size=3000))
def test_answer_is_one_printable_bounded_line(said: str) -> None:
    for outcome in (Delivered(said), Retry(said, 1.0), Rejected(said)):
        assert len(outcome.answer) <= MAX_ANSWER_CHARACTERS
        assert len(outcome.answer.splitlines()) <= 1
        outcome.answer.encode("utf-8")


def test_answer_cannot_steer_a_terminal_or_turn_text_around() -> None:
    assert Delivered("250\x1b[2J ok\r\nX: y\u202egpj\x00 \u2028z").answer == "250 [2J ok X: y gpj z"


def test_answer_keeps_joined_characters() -> None:
    assert clean_line("👩\u200d🚒", 10) == "👩\u200d🚒"


@pytest.mark.parametrize(("length", "kept"), [(499, 499), (500, 500), (501, 500)])
def test_answer_is_cut_at_its_edge_and_says_so(length: int, kept: int) -> None:
    answer = Retry("x" * length).answer
    assert len(answer) == kept
    assert answer.endswith("…") == (length > 500)


def test_message_without_a_time_zone_is_a_programming_error(message: Message) -> None:
    with pytest.raises(ValueError, match="time zone"):
        replace(message, sent_at=datetime(2025, 3, 1))  # noqa: DTZ001 - what is refused here
