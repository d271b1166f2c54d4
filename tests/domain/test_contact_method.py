"""Which addresses could ever work, and what of them is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.domain.contact_method import CHANNELS, address_problem
from tocsin.domain.notification import shown_address

GOOD = [
    ("email", "noor@example.org"),
    ("webhook", "https://hooks.example.org/x"),
    ("slack", "https://hooks.slack.com/services/T0/B0/XXXX"),
    ("slack_app", "C024BE91L"),
    ("slack_app", "U024BE7LH"),
    ("ntfy", "https://ntfy.example.org/oncall"),
    ("ntfy", "https://tk_abc@ntfy.example.org:8443/oncall"),
    ("ntfy", "https://phil:pass@ntfy.example.org/push/on_call-1"),
    ("ntfy", "https://ntfy.example.org/oncall?auth=QmVhcmVyIHRrXw"),
    ("sms", "+4915112345678"),
    ("voice", "+14155552671"),
    ("apprise", "tgram://123456789:abcdefg_hijklmnop/12315544/"),
]
BAD = [
    ("email", "noor"),
    ("webhook", "ftp://x/"),
    ("slack", "hooks.slack.com/services/T0/B0/X"),
    ("slack_app", "#general"),
    ("slack_app", "general"),
    ("ntfy", "https://ntfy.example.org/"),
    ("ntfy", "https://ntfy.example.org"),
    ("ntfy", "https://ntfy.example.org/a topic"),
    ("ntfy", "https://ntfy.example.org/topic?since=1"),
    ("ntfy", "https://ntfy.example.org/topic?auth=%00"),
    ("sms", "015112345678"),
    ("sms", "+49 151 12345678"),
    ("voice", "+0123456789"),
    ("sms", "+1234567890123456"),
    ("apprise", "exec://rm"),
    ("apprise", "tgram://a b"),
    ("fax", "+4915112345678"),
    ("webhook", "https://x/" + "y" * 2000),
]


@pytest.mark.parametrize(("channel", "address"), GOOD)
def test_address_that_can_work_is_taken(channel: str, address: str) -> None:
    assert address_problem(channel, address) is None


@pytest.mark.parametrize(("channel", "address"), BAD)
def test_address_that_cannot_work_is_refused_with_a_reason(channel: str, address: str) -> None:
    assert address_problem(channel, address)


@given(st.sampled_from(CHANNELS), st.text(max_size=100))
def test_no_address_can_break_the_check(channel: str, address: str) -> None:
    address_problem(channel, address)
    address_problem(channel, f"https://{address}")


@pytest.mark.parametrize(
    ("channel", "address", "shown"),
    [
        ("email", "noor@example.org", "noor@example.org"),
        ("webhook", "https://u:p@hooks.example.org/SECRET?k=SECRET", "https://hooks.example.org/…"),
        ("slack", "https://hooks.slack.com/services/T0/B0/SECRET", "https://hooks.slack.com/…"),
        ("ntfy", "https://SECRET@ntfy.example.org/SECRET?auth=SECRET", "https://ntfy.example.org/…"),
        ("apprise", "discord://SECRET/SECRET", "discord://…"),
        ("slack_app", "C024BE91L", "C024BE91L"),
        ("sms", "+4915112345678", "+4915112345678"),
    ],
)
def test_what_is_shown_of_an_address_holds_no_secret(channel: str, address: str, shown: str) -> None:
    assert shown_address(channel, address) == shown
