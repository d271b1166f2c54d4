"""Codes of an authenticator app, against the RFC's own examples; and how many may be wrong."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.second_factor import (
    MAX_FAILURES,
    WINDOW,
    failed_again,
    is_recovery_code,
    key_uri,
    normalised,
    step_of,
    waiting_time,
)

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
STEP = int(NOW.timestamp()) // 30


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    """Appendix B has eight digits; with six it is the last six (RFC 4226, 5.3)."""
    assert step_of(RFC_SECRET, code[-6:], datetime.fromtimestamp(seconds, UTC), 0) == seconds // 30


@pytest.mark.parametrize(("off", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_wrong_by_one_step(off: int, good: bool) -> None:
    code = pyotp.TOTP(RFC_SECRET).generate_otp(STEP + off)
    assert step_of(RFC_SECRET, code, NOW, 0) == (STEP + off if good else None)


@pytest.mark.parametrize(("last", "good"), [(STEP - 1, True), (STEP, False), (STEP + 1, False)])
def test_no_code_is_good_twice_and_none_after_a_later_one(last: int, good: bool) -> None:
    code = pyotp.TOTP(RFC_SECRET).generate_otp(STEP)
    assert (step_of(RFC_SECRET, code, NOW, last) is not None) == good


@given(st.text(max_size=200))
def test_anything_else_is_only_wrong(text: str) -> None:
    right = {pyotp.TOTP(RFC_SECRET).generate_otp(STEP + off) for off in (-1, 0, 1)}
    code = normalised(text)
    assert (step_of(RFC_SECRET, code, NOW, 0) is not None) == (code in right)


def test_codes_are_read_in_groups_and_in_either_case() -> None:
    assert normalised(" abcd-efgh ijkl-2345\n") == "ABCDEFGHIJKL2345"
    assert is_recovery_code("ABCDEFGHIJKL2345")
    assert not is_recovery_code("ABCDEFGHIJKL2341")
    assert not is_recovery_code("123456")


def test_too_many_wrong_codes_are_waited_out() -> None:
    failures, since = 0, None
    for second in range(MAX_FAILURES):
        assert waiting_time(failures, since, NOW) == timedelta()
        failures, since = failed_again(failures, since, NOW + timedelta(seconds=second))
    assert waiting_time(failures, since, NOW + timedelta(seconds=30)) == WINDOW - timedelta(seconds=30)
    assert waiting_time(failures, since, NOW + WINDOW) == timedelta()
    assert failed_again(failures, since, NOW + WINDOW) == (1, NOW + WINDOW)


def test_the_app_is_told_who_and_where() -> None:
    uri = pyotp.parse_uri(key_uri(RFC_SECRET, "ana@example.org", "tocsin.example.org"))
    assert isinstance(uri, pyotp.TOTP)
    assert (uri.secret, uri.name, uri.issuer) == (RFC_SECRET, "ana@example.org", "Tocsin tocsin.example.org")
