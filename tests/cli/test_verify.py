"""`tocsin verify --db` finds what was changed behind the triggers' back, and says what it proves."""

from __future__ import annotations

from tests.cli.conftest import Cli


def test_an_intact_record_is_called_so_and_a_changed_row_is_named(fresh_cli: Cli) -> None:
    cli = fresh_cli
    cli.done("report", "--severity", "HIGH", "--message", "it broke")
    cli.done("incidents", "ack", "1", "--notes", "on it")
    intact = cli.done("verify", "--db")
    assert "Intact" in intact.out
    assert "Not proven:" in intact.out
    assert "rights) are what the migrations made" in intact.out
    assert "not hardened" not in intact.out
    assert intact.err == "", "no progress in a pipe"
    assert cli.done("verify", "--db", "--json").json["intact"] is True
    cli.sql(
        "SELECT tocsin_guard.suspend(); ALTER TABLE tocsin.incident_acknowledgments DISABLE TRIGGER ALL;"
        " UPDATE tocsin.incident_acknowledgments SET ack_notes = 'I was asleep'"
    )
    found = cli("verify", "--db")
    assert found.code == 1
    assert "incident_acknowledgments" in found.out
    assert "ack_notes" in found.out
    assert "trigger a_no_change on tocsin.incident_acknowledgments is not what the migrations made it" in found.out
    document = cli("verify", "--db", "--json").json
    assert (document["intact"], document["findings"][0]["table"]) == (False, "incident_acknowledgments")


def test_verify_asks_what_to_verify(idle_cli: Cli) -> None:
    answer = idle_cli("verify")
    assert (answer.code, "--db" in answer.err) == (2, True)
