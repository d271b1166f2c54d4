"""Users, tokens, projects, duties and rules from a terminal."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli
from tests.conftest import ADMIN_EMAIL, INTAKE_KEY


def test_a_user_comes_is_reached_takes_a_duty_and_is_shut_out(cli: Cli) -> None:
    cli.done("users", "add", "noor@example.org", "--name", "Noor", "--password-stdin", stdin="a long enough one\n")
    (noor,) = [user for user in cli.done("users", "list", "--json").json["users"] if user["name"] == "Noor"]
    assert (noor["email"], noor["role"], noor["active"]) == ("noor@example.org", "responder", True)
    assert "passwordHash" not in noor
    hook = "https://hooks.example.org/tocsin"
    cli.done("users", "contact", "add", "noor@example.org", "webhook", hook)
    shown = "https://hooks.example.org/…"
    assert shown in cli.done("users", "contact", "list", "noor@example.org").out
    cli.done("oncall", "assign", "on_call", "noor@example.org")
    assert f"email noor@example.org, webhook {shown}" in cli.done("oncall", "show").out
    cli.done("users", "contact", "remove", "noor@example.org", "webhook", hook)
    last = cli("users", "contact", "remove", "noor@example.org", "email", "noor@example.org")
    assert (last.code, "ON_CALL" in last.err) == (1, True)
    needed = cli("users", "deactivate", "noor@example.org")
    assert (needed.code, "ON_CALL is held by noor@example.org, who is not active" in needed.err) == (1, True)
    cli.done("users", "role", "noor@example.org", "AUDITOR")
    cli.done("oncall", "assign", "ON_CALL", ADMIN_EMAIL)
    cli.done("users", "deactivate", "noor@example.org")
    cli.done("users", "activate", "noor@example.org")


def test_the_last_superadmin_stays(cli: Cli) -> None:
    for step in (["role", ADMIN_EMAIL, "auditor"], ["deactivate", ADMIN_EMAIL]):
        refused = cli("users", *step)
        assert (refused.code, "last superadmin" in refused.err) == (1, True)


def test_a_password_comes_from_standard_input_or_a_terminal_and_must_be_long(cli: Cli) -> None:
    cli.done("users", "password", ADMIN_EMAIL, "--password-stdin", stdin="a new long password\n")
    assert cli("users", "password", ADMIN_EMAIL, "--password-stdin", stdin="short\n").code == 1
    assert cli("users", "password", ADMIN_EMAIL, "--password-stdin").code == 1
    assert cli("users", "password", ADMIN_EMAIL, "--password-stdin", stdin=b"\xff\xfe\n").code == 2
    unasked = cli("users", "password", ADMIN_EMAIL)
    assert unasked.code == 2, "there is no terminal to ask at"
    assert "See `tocsin users password --help`." in unasked.err


def test_a_token_is_the_only_thing_on_standard_output_and_is_never_shown_again(cli: Cli) -> None:
    token = cli.done("tokens", "add", ADMIN_EMAIL, "--name", "bot", "--days", "7").out.strip()
    assert token.startswith("tcs_")
    listed = cli.done("tokens", "list", "--json")
    assert token not in listed.out
    (row,) = [row for row in listed.json["tokens"] if row["name"] == "bot"]
    cli.done("tokens", "revoke", row["id"])
    assert cli("tokens", "revoke", row["id"]).code == 1
    assert cli("tokens", "revoke", "bot").code == 2
    assert cli("tokens", "add", ADMIN_EMAIL, "--name", "bot", "--days", "0").code == 2


def test_a_project_comes_with_its_dsn_and_can_have_more_keys(cli: Cli) -> None:
    made = cli.done("projects", "add", "shop", "--json").json
    assert made["dsn"] == f"http://{made['key']}@tocsin.test/{made['projectId']}"
    line = cli.done("projects", "key", str(made["projectId"])).out
    assert line.count("\n") == 1
    assert line.startswith("http://")
    assert made["key"] not in line
    assert [
        row["keys"] for row in cli.done("projects", "list", "--json").json["projects"] if row["name"] == "shop"
    ] == [2]
    assert cli("projects", "add", "shop").code == 1
    assert cli("projects", "key", "4711").code == 1
    assert INTAKE_KEY not in cli.done("projects", "list").out


@pytest.mark.parametrize("after", ["", "soon", "1", "m", "-5m", "5m1h", "1.5h", "9999999d", "1h 30m"])
def test_a_duration_that_cannot_be_read_is_wrong_usage(idle_cli: Cli, after: str) -> None:
    assert idle_cli("policies", "set", "NO_ACK_1HR", "--duty", "ON_CALL", f"--after={after}").code == 2


def test_a_delay_out_of_bounds_is_refused_and_a_reason_without_a_clock_is_wrong_usage(cli: Cli) -> None:
    for after in ("0s", "366d", "999999d"):
        assert cli("policies", "set", "NO_ACK_1HR", "--after", after, "--duty", "ON_CALL").code == 1
    assert cli("policies", "set", "MANUAL_ESCALATION", "--after", "1h", "--duty", "ON_CALL").code == 2


def test_a_second_factor_that_is_not_there_cannot_be_taken_off(cli: Cli) -> None:
    assert cli.done("users", "totp", ADMIN_EMAIL, "--json").json == {"email": ADMIN_EMAIL, "secondFactor": None}
    assert "has no second factor" in cli.done("users", "totp", ADMIN_EMAIL).out
    assert cli("users", "totp", ADMIN_EMAIL, "--off").code == 1
    assert cli("users", "totp", "nobody@example.org").code == 1
    cli.done("users", "add", "ben@example.org", "--role", "responder")
    assert cli("users", "totp", "ben@example.org", "--off", "--as", "ben@example.org").code == 1


def test_sessions_are_listed_and_ended(cli: Cli) -> None:
    assert cli.done("users", "sessions", ADMIN_EMAIL, "--json").json == {"email": ADMIN_EMAIL, "sessions": []}
    assert cli.done("users", "sessions", ADMIN_EMAIL, "--end-all", "--json").json["ended"] == 0
    nobody = "00000000-0000-0000-0000-000000000000"
    assert cli("users", "sessions", ADMIN_EMAIL, "--end", nobody).code == 1
    assert cli("users", "sessions", ADMIN_EMAIL, "--end", nobody, "--end-all").code == 2
    assert cli("users", "sessions", ADMIN_EMAIL, "--end", "all").code == 2
    cli.done("users", "add", "cleo@example.org", "--role", "responder")
    assert cli("users", "sessions", ADMIN_EMAIL, "--as", "cleo@example.org").code == 1
    assert cli("users", "sessions", "cleo@example.org", "--as", "cleo@example.org").code == 0
