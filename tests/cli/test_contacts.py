"""`tocsin users contact …` and `… rule …`."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.conftest import ADMIN_EMAIL

HOOK = "https://hooks.slack.com/services/T0/B0/SECRET"


def test_methods_are_added_shown_without_secrets_and_named_by_address_or_id(cli: Cli) -> None:
    added = cli.done("users", "contact", "add", ADMIN_EMAIL, "slack", HOOK, "--json")
    assert added.json["address"] == "https://hooks.slack.com/…"
    listed = cli.done("users", "contact", "list", ADMIN_EMAIL)
    assert "SECRET" not in added.out + listed.out
    again = cli("users", "contact", "add", ADMIN_EMAIL, "slack", HOOK)
    assert (again.code, "SECRET" in again.err) == (1, False)
    cli.done("users", "contact", "test", ADMIN_EMAIL, "slack", HOOK)
    cli.done("users", "contact", "send-code", ADMIN_EMAIL, "slack", added.json["id"])
    cli.done("users", "contact", "remove", ADMIN_EMAIL, "slack", added.json["id"])
    gone = cli("users", "contact", "test", ADMIN_EMAIL, "slack", HOOK)
    assert (gone.code, "SECRET" in gone.err) == (1, False)


def test_a_wrong_code_is_refused_in_one_line_and_counts(cli: Cli) -> None:
    for code, words in (("12345678", "not good any more"), ("123", "eight digits")):
        refused = cli("users", "contact", "verify", ADMIN_EMAIL, "email", ADMIN_EMAIL, code)
        assert (refused.code, words in refused.err) == (1, True)


def test_wrong_addresses_are_refused(cli: Cli) -> None:
    for channel, address in (("sms", "112"), ("pigeon", "coop"), ("apprise", "syslog://"), ("ntfy", "ntfy.sh/x")):
        refused = cli("users", "contact", "add", ADMIN_EMAIL, channel, address)
        assert (refused.code, "Traceback" in refused.err) == (1, False)
    assert cli("users", "contact", "list", "nobody@example.org").code == 1


def test_rules_say_what_goes_when(cli: Cli) -> None:
    cli.done("users", "contact", "add", ADMIN_EMAIL, "voice", "+4915112345678")
    cli.done("users", "rule", "add", ADMIN_EMAIL, "--after", "5m", "voice", "+4915112345678")
    cli.done("users", "rule", "add", ADMIN_EMAIL, "email", ADMIN_EMAIL)
    told = cli.done("users", "rule", "list", ADMIN_EMAIL).out
    assert f"A page goes by email to {ADMIN_EMAIL}: at once." in told
    assert "A page goes by voice to +4915112345678: after 5m." in told
    rules = cli.done("users", "rule", "list", ADMIN_EMAIL, "--json").json["rules"]
    assert [rule["afterSeconds"] for rule in rules] == [0, 300]
    for rule in rules:
        cli.done("users", "rule", "remove", rule["id"])
    assert cli("users", "rule", "remove", rules[0]["id"]).code == 1
    assert cli("users", "rule", "remove", "first").code == 2
    assert cli("users", "rule", "add", ADMIN_EMAIL, "--after", "2d", "email", ADMIN_EMAIL).code == 1
    assert cli("users", "rule", "add", ADMIN_EMAIL, "--after", "soon", "email", ADMIN_EMAIL).code == 2


def test_whoever_acts_is_named_and_others_are_left_alone(cli: Cli) -> None:
    cli.done("users", "add", "noor@example.org", "--name", "Noor", "--role", "responder")
    cli.done("users", "contact", "add", "noor@example.org", "sms", "+4915112345678", "--as", "noor@example.org")
    refused = cli("users", "contact", "add", ADMIN_EMAIL, "sms", "+4915112345678", "--as", "noor@example.org")
    assert (refused.code, "may not do this" in refused.err) == (1, True)
