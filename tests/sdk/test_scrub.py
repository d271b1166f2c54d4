"""Secrets do not leave the program, wherever they stand."""

from __future__ import annotations

import json
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_sdk.bounds import (
    MAX_CONTEXT_CHARACTERS,
    MAX_CONTEXT_DEPTH,
    MAX_CONTEXT_ENTRIES,
    MAX_CONTEXT_TEXT_CHARACTERS,
)
from tocsin_sdk.scrub import SCRUBBED, is_secret_name, scrub_context, scrub_source, scrub_text

NAMES = [
    "password",
    "userPassword",
    "DB_PASSWD",
    "token",
    "access-token",
    "Authorization",
    "Cookie",
    "Set-Cookie",
    "api_key",
    "X-Api-Key",
    "apikey",
    "session",
    "sessionid",
    "client_secret",
    "private_key",
    "csrfmiddlewaretoken",
]
SECRETS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=40).map(lambda text: "Q7" + text)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(name=st.sampled_from(NAMES), secret=SECRETS, others=st.dictionaries(st.text(max_size=10), JSON, max_size=3))
def test_what_goes_under_a_secret_name_never_leaves_at_any_depth(
    name: str, secret: str, others: dict[str, object]
) -> None:
    for value in (secret, [secret], {"inner": secret}, secret.encode()):
        nested = {"request": {**others, "headers": {name: value}, "list": [(name, secret)]}}
        assert secret not in json.dumps(scrub_context(nested))


@given(
    pattern=st.sampled_from(
        [
            "Authorization: Bearer {}",
            "authorization: Basic {}",
            "{{'Authorization': 'Token {}'}}",
            "curl -H 'Cookie: a=b; sid={}'",
            "failed: password={}",
            "password: '{}' is wrong",
            'token="{}"',
            '{{"api_key": "{}"}}',
            '{{\\"secret\\": \\"{}\\"}}',
            "postgresql://shop:{}@db.example.org/shop",
            "https://{}@tocsin.example.org/1",
            "GET /reset?access_token={}&user=1",
            "AWS_SECRET_ACCESS_KEY={}",
            "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n{}",
        ]
    ),
    secret=SECRETS,
    before=st.text(max_size=20),
    after=st.text(max_size=20),
)
def test_no_text_carries_a_secret_out(pattern: str, secret: str, before: str, after: str) -> None:
    text = f"{before}\n{pattern.format(secret)} {after}"
    assert secret not in scrub_text(text)
    assert SCRUBBED in scrub_text(text)
    assert scrub_text(scrub_text(text)) == scrub_text(text)


@pytest.mark.parametrize(
    "number", ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009"]
)
def test_numbers_of_cards_are_scrubbed_as_text_and_as_numbers(number: str) -> None:
    assert scrub_text(f"card {number} was refused") == f"card {SCRUBBED} was refused"
    assert scrub_context({"paid_with": number})["paid_with"] == SCRUBBED
    if number.isdecimal():
        assert scrub_context({"paid_with": int(number)})["paid_with"] == SCRUBBED


@pytest.mark.parametrize(
    "text",
    [
        "no such order 4111",
        "took 1700000000123456 ns",
        "at 2026-03-01T03:00:00Z",
        "4111111111111112 is no card",
        "see https://example.org/path?page=2",
        "connection to db.example.org:5432 failed",
        "ValueError: invalid literal for int() with base 10: 'abc'",
        "basic authentication is off",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub_text(text) == text
    assert scrub_context({"text": text}) == {"text": text}


def test_tokens_are_known_by_their_shape() -> None:
    shaped = ["eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl", "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18]
    for token in shaped:
        assert scrub_text(f"got {token}!") == f"got {SCRUBBED}!"


def test_a_line_of_source_keeps_its_names_and_loses_its_literals() -> None:
    assert scrub_source("token = request.headers['X']") == "token = request.headers['X']"
    assert "hunter2" not in scrub_source("connect(password='hunter2', user='shop')")
    assert "user='shop'" in scrub_source("connect(password='hunter2', user='shop')")


@pytest.mark.parametrize("name", ["pass", "auth", "sid", "jwt"])
def test_short_names_count_only_when_they_are_the_whole_name(name: str) -> None:
    assert is_secret_name(name)
    assert not is_secret_name(f"by{name}er")


@given(JSON)
def test_a_context_becomes_plain_json_within_its_bounds(value: object) -> None:
    cleaned = scrub_context({"value": value})
    assert json.loads(json.dumps(cleaned, allow_nan=False)) == cleaned
    json.dumps(cleaned, ensure_ascii=False).encode()


def test_a_context_without_end_is_cut_and_says_so() -> None:
    endless: dict[str, object] = {}
    endless["again"] = endless
    deep: object = scrub_context(endless)
    for _ in range(MAX_CONTEXT_DEPTH):
        assert isinstance(deep, dict)
        deep = deep["again"]
    assert deep == "…"
    assert len(scrub_context({str(number): number for number in range(1_000)})) == MAX_CONTEXT_ENTRIES + 1
    assert len(str(scrub_context({"text": "x" * 100_000})["text"])) == MAX_CONTEXT_TEXT_CHARACTERS
    much = {str(number): "x" * 4_000 for number in range(100)}
    assert len(json.dumps(scrub_context(much))) < MAX_CONTEXT_CHARACTERS * 1.2


class Hostile:
    """An object whose text is a program."""

    def __str__(self) -> str:
        raise AssertionError("nobody may ask it for its text")

    __repr__ = __str__


def test_an_object_in_a_context_shows_its_type_and_runs_no_code() -> None:
    assert scrub_context({"order": Hostile(), Hostile(): 1}) == {  # type: ignore[dict-item]
        "order": "<Hostile>",
        "<Hostile>": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        "a." * 4_096,
        "password" * 1_000,
        "password=" * 900,
        "password='" + "\\" * 8_000,
        "-----BEGIN A-----" * 480,
        "://" * 2_700,
        "4 " * 4_000,
        "bearer " * 1_100,
        "eyJ" + "a" * 8_000,
        "token_" * 1_300,
        "=" * 8_192,
        "authorization" * 600,
    ],
)
def test_no_text_makes_scrubbing_slow(text: str) -> None:
    started = time.process_time()
    scrub_text(text[:8_192])
    scrub_source(text[:512])
    assert time.process_time() - started < 0.25
