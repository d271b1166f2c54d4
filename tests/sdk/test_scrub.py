"""Secrets do not leave the program, wherever they stand."""

from __future__ import annotations

import json
import runpy
import string
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_sdk.bounds import (
    MAX_CONTEXT_CHARACTERS,
    MAX_CONTEXT_DEPTH,
    MAX_CONTEXT_ENTRIES,
    MAX_CONTEXT_TEXT_CHARACTERS,
    MAX_EXCEPTION_MESSAGE_CHARACTERS,
    MAX_MESSAGE_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_SOURCE_LINE_CHARACTERS,
    MAX_TAG_VALUE_CHARACTERS,
)
from tocsin_sdk.integrations.requests import MAX_QUERY_CHARACTERS, request_details
from tocsin_sdk.report import Details, of_exception, of_message
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
            "postgresql://shop:p4/@{}@db.example.org/shop",
            "amqp://shop:p@ss/{}@mq.example.org:5672/,amqp://shop:{}@mq2.example.org",
            "redis://:{}/1@cache.example.org/0?x=http://a.example.org:80/",
            "os.environ['DB_PASSWORD'] = '{}'",
            "AccountName=shop;AccountKey={}==;EndpointSuffix=core.windows.net",
            "Passwort: {}",
            "mysql --db-password {} shop",
            "Command '['mysql', '--password', '{}']' returned non-zero exit status 1.",
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
    text = f"{before}\n{pattern.format(secret, secret)} {after}"
    assert secret not in scrub_text(text)
    assert SCRUBBED in scrub_text(text)
    assert scrub_text(scrub_text(text)) == scrub_text(text)


WHOLE = "Q7secretQ7secretQ7secretQ7secret"
CARD = "4111 1111 1111 1111"


@given(
    pattern=st.sampled_from(["postgres://shop:{}@db.example.org/shop", "Basic {}=", "api_key='{}'", "Cookie: a={}"]),
    behind=st.integers(-10, 80),
    shrinking=st.booleans(),
    more=st.sampled_from(["", "x" * 500, "x" * 5_000]),
)
def test_what_is_cut_at_a_bound_is_scrubbed_before(pattern: str, behind: int, shrinking: bool, more: str) -> None:
    for limit, told in BOUNDED:
        before = "password=" + "y" * (limit // 2) + " " if shrinking else ""
        text = f"{before}{'x' * (limit - behind - len(before))} {pattern.format(WHOLE)} {more}"
        assert "Q7s" not in told(text)
        assert "4111" not in told(f"{before}{'x' * (limit - behind - len(before))} {CARD} {more}")
        assert len(told(text)) <= limit
        assert told(text).endswith("…") or len(scrub_text(text)) <= limit


BOUNDED: list[tuple[int, Callable[[str], str]]] = [
    (MAX_MESSAGE_CHARACTERS, lambda text: str(of_message(text)["message"])),
    (MAX_MESSAGE_CHARACTERS, lambda text: str(of_message("x", text)["template"])),
    (MAX_EXCEPTION_MESSAGE_CHARACTERS, lambda text: str(of_exception(OSError(text), handled=True)["message"])),
    (MAX_TAG_VALUE_CHARACTERS, lambda text: str(Details(tags={"a": text}).fields()["tags"]["a"])),
    (MAX_NAME_CHARACTERS, lambda text: str(Details(user_id=text).fields()["userId"])),
    (MAX_CONTEXT_TEXT_CHARACTERS, lambda text: str(scrub_context({"a": text})["a"])),
    (MAX_CONTEXT_TEXT_CHARACTERS, lambda text: str(scrub_context({"a": text.encode()})["a"])),
]


def test_of_a_query_that_is_too_long_no_half_value_stays() -> None:
    query = "a=" + "x" * (MAX_QUERY_CHARACTERS - 20) + "&card=4111111111111111&page=2"
    request = request_details("GET", "/", query).fields()["context"]["request"]
    assert request["query"] == query.partition("&")[0] + "&…"


@pytest.mark.parametrize(
    "number", ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009"]
)
def test_numbers_of_cards_are_scrubbed_as_text_and_as_numbers(number: str) -> None:
    assert scrub_text(f"card {number} was refused") == f"card {SCRUBBED} was refused"
    assert scrub_context({"paid_with": number})["paid_with"] == SCRUBBED
    if number.isdecimal():
        assert scrub_context({"paid_with": int(number)})["paid_with"] == SCRUBBED


def test_the_number_of_a_card_is_known_before_its_expiry() -> None:
    assert "1111" not in scrub_text("4111 1111 1111 1111 12/28")


def test_what_follows_a_secret_name_in_a_list_is_scrubbed() -> None:
    arguments = ["mysql", "--password", "Q7", "--host", "db"]
    assert scrub_context({"argv": arguments})["argv"] == ["mysql", "--password", SCRUBBED, "--host", "db"]
    assert scrub_context({"rows": [["password", "Q7", "x"]]})["rows"] == [["password", SCRUBBED, "x"]]
    assert scrub_context({"said": ["the token is old", "so what"]})["said"] == ["the token is old", "so what"]


@pytest.mark.parametrize(
    "text",
    [
        "no such order 4111",
        "took 1700000000123456 ns",
        "at 2026-03-01T03:00:00Z",
        "4111111111111112 is no card",
        "see https://example.org/path?page=2",
        "see https://cdn.example.org/react@18/umd and http://localhost:8080/@ada",
        "see http://[::1]:8080/ada@example.org",
        "connection to db.example.org:5432 failed",
        "ValueError: invalid literal for int() with base 10: 'abc'",
        "basic authentication is off",
        "--token --verbose is wrong",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub_text(text) == text
    assert scrub_context({"text": text}) == {"text": text}


def test_tokens_are_known_by_their_shape() -> None:
    shaped = [
        "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 18,
    ]
    for token in shaped:
        assert scrub_text(f"got {token}!") == f"got {SCRUBBED}!"


def test_a_line_of_source_keeps_its_names_and_loses_its_literals() -> None:
    assert scrub_source("token = request.headers['X']") == "token = request.headers['X']"
    assert "hunter2" not in scrub_source("connect(password='hunter2', user='shop')")
    assert "user='shop'" in scrub_source("connect(password='hunter2', user='shop')")


@pytest.mark.parametrize(
    "line",
    [
        'headers = {"Authorization": "Bearer Q7secret-0123"}',
        "headers = {'Cookie': 'sid=Q7secret'}",
        'headers["Authorization"] = "Q7secret"',
        'request.add_header("Cookie", "sid=Q7secret")',
        'connect("postgres://shop:Q7/secret@db/shop")',
        'os.environ["DB_PASSWORD"] = f"Q7secret{more}"',
    ],
)
def test_a_line_of_source_shows_no_header_and_no_password(line: str) -> None:
    assert "secret" not in scrub_source(line)


def test_a_line_of_source_is_scrubbed_before_it_is_cut(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(f'error = "{"x" * 460}", "postgres://shop:{WHOLE}@db.example.org/shop", 1 / 0')
    with pytest.raises(ZeroDivisionError) as raised:
        runpy.run_path(str(script))
    line = of_exception(raised.value, handled=True)["exceptions"][-1]["frames"][-1]["sourceLine"]
    assert "Q7s" not in line
    assert len(line) <= MAX_SOURCE_LINE_CHARACTERS


@pytest.mark.parametrize("character", [chr(code) for code in range(sys.maxunicode) if len(chr(code).lower()) != 1])
def test_a_letter_that_gets_longer_in_lower_case_moves_nothing(character: str) -> None:
    assert (
        scrub_text(f"{character}é password=Q7secret, {character}") == f"{character}é password={SCRUBBED}, {character}"
    )


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


HOSTILE = [
    "a.",
    "a.:",
    "._" * 20 + "secretx",
    "secret" + "._" * 20,
    "password",
    "password=",
    "password='" + "\\" * 5_000,
    "pwd=x ",
    "token_",
    "authorization",
    "authorization\\\"' ",
    "-----BEGIN A-----",
    "://",
    "://a:b",
    "://a:b/",
    "://a:b" + ":/" * 5_000,
    "://a:b" + "@/" * 5_000 + " ",
    "4 ",
    "4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4.",
    "4444 4444 4444 4444 ",
    "bearer ",
    "basic aaaaaaaaaaaa ",
    "eyJaaaaaaaa-",
    "eyJaaaaaaaa.aaaaaaaa",
    "user-agent-",
    "--",
    "--token ",
    "=",
    " ",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("scrub", [scrub_text, scrub_source])
def test_no_text_makes_scrubbing_slow(piece: str, scrub: Callable[[str], str]) -> None:
    text = (piece * 65_536)[:65_530] + "@ :="
    # It takes at most 15 ms on a quiet machine; what is not in proportion to the length takes seconds.
    assert min(_seconds(scrub, text) for _ in range(3)) < 0.1


def _seconds(scrub: Callable[[str], str], text: str) -> float:
    started = time.process_time()
    scrub(text)
    return time.process_time() - started
