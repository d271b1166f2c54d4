"""Erasing from a terminal: looked at first, asked for once more, and nothing of it left in the access log."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli

WHY = ("--reason", "Request of the person", "--request", "GDPR-17")


def report(cli: Cli, message: str) -> None:
    """Report an error."""
    document = {"severity": "HIGH", "type": "SignInError", "message": message}
    cli.done("report", stdin=json.dumps(document))


@pytest.mark.slow
def test_reports_are_shown_before_they_are_erased(fresh_cli: Cli) -> None:
    cli = fresh_cli
    report(cli, "carol@example.net cannot sign in")
    look = cli.done("erase", "reports", "--containing", "CAROL@example.net", *WHY, "--dry-run").out
    assert "Would be erased" in look
    assert "carol@example.net cannot sign in" in look
    assert "carol@example.net" in cli.done("incidents", "show", "1").out
    done = cli.done("erase", "reports", "--containing", "carol@example.net", *WHY, "--yes").out
    assert "INC-1: 3 texts, 1 report" in done
    assert "carol" not in done
    assert "Not vacuumed" not in done
    story = cli.done("incidents", "show", "1").out
    assert "[erased]" in story
    assert "PERSONAL_DATA_ERASED by" in story
    assert "reason: Request of the person" in story
    assert "[erased]" in cli.done("incidents", "list").out
    shown = cli.done("incidents", "show", "1", "--json").json
    assert (shown["incident"]["title"], shown["incident"]["description"], shown["error"]) == (None, None, None)
    assert "Intact" in cli.done("verify", "--db").out
    assert cli.sql("SELECT * FROM tocsin.audit_access_log WHERE target ILIKE %s", "%carol%") == []


def test_texts_of_an_incident_and_a_user_are_erased(fresh_cli: Cli) -> None:
    cli = fresh_cli
    cli.done("users", "add", "noor@example.org", "--name", "Noor")
    cli.done("incidents", "open", "--severity", "high", "--title", "Noor is unhappy", "--description", "Very")
    cli.done("incidents", "note", "1", "Noor is happy")
    erased = cli.done("erase", "incident", "1", "--texts", "title, notes", *WHY, "--yes", "--json").json
    assert erased["incidents"][0]["texts"] == 2
    assert erased["vacuumed"] is True
    erased = cli.done("erase", "user", "noor@example.org", *WHY, "--yes", "--json").json
    assert (erased["done"], erased["userId"] is not None) == (True, True)
    listed = cli.done("users", "list").out
    assert "noor" not in listed.lower()
    assert "[erased]" in listed
    assert cli.sql("SELECT * FROM tocsin.audit_access_log WHERE target ILIKE %s", "%noor%") == []
    again = cli("erase", "user", "noor@example.org", *WHY, "--yes")
    assert (again.code, "no user" in again.err) == (1, True)
    assert "Intact" in cli.done("verify", "--db").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["incident", "1", *WHY],
        ["incident", "1", "--all", "--texts", "title", *WHY],
        ["incident", "1", "--all"],
        ["reports", *WHY],
        ["reports", "--incident", "1", "--containing", "abc", *WHY],
        ["reports", "--report", "nonsense", *WHY],
        ["incident", "1", "--all", *WHY],
        ["user", "ada@example.org", *WHY],
    ],
)
def test_an_incomplete_call_erases_nothing(cli: Cli, arguments: list[str]) -> None:
    assert cli("erase", *arguments).code == 2, "without a terminal it must be said that it is meant"
