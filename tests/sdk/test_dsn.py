"""DSNs: what is one, and what a person is told whose is none."""

from __future__ import annotations

import pytest

from tocsin_sdk.dsn import MAX_DSN_CHARACTERS, Dsn


@pytest.mark.parametrize(
    ("text", "base_url", "project"),
    [
        ("http://key@localhost:8420/1", "http://localhost:8420", 1),
        ("https://key@tocsin.example.org/42", "https://tocsin.example.org", 42),
        ("https://key@example.org/tocsin/42", "https://example.org/tocsin", 42),
        ("http://key@[::1]:8420/1/", "http://[::1]:8420", 1),
        (" http://key@localhost/0\n", "http://localhost", 0),
    ],
)
def test_a_dsn_is_taken_apart(text: str, base_url: str, project: int) -> None:
    assert Dsn.parse(text) == Dsn(base_url, "key", project)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("localhost", "begin with http"),
        ("ftp://key@localhost/1", "begin with http"),
        ("http://localhost/1", "the key before the @"),
        ("http://key@/1", "no host"),
        ("http://key@localhost", "the project's number"),
        ("http://key@localhost/shop", "the project's number"),
        ("http://key@localhost:door/1", "host or port"),
        ("http://key@localhost/1" + "1" * MAX_DSN_CHARACTERS, "longer than"),
    ],
)
def test_what_is_no_dsn_is_refused_with_the_reason_and_the_form_of_one(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        Dsn.parse(text)
    assert "http://KEY@HOST:PORT/PROJECT" in str(refused.value)


def test_a_key_does_not_show_in_what_is_printed() -> None:
    assert "hunter2" not in repr(Dsn.parse("http://hunter2@localhost/1"))
    with pytest.raises(ValueError, match="project") as refused:
        Dsn.parse("http://hunter2@localhost/shop")
    assert "hunter2" not in str(refused.value)
