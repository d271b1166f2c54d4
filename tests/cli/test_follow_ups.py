"""Follow-up actions from a terminal: listed, marked done, reopened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def closed(cli: Cli, *promises: str) -> str:
    """Open an incident and close it with these promises; return its number."""
    made = cli.done("incidents", "open", "--severity", "HIGH", "--title", "It broke", "--json").json
    number = str(made["incident"]["number"])
    cli.done("incidents", "ack", number, "--notes", "on it")
    cli.done("incidents", "root-cause", number, "--summary", "a pool", "--category", "UNKNOWN", "--remediation", "more")
    cli.done("incidents", "resolve", number, "--summary", "more")
    follow_ups = [part for promise in promises for part in ("--follow-up", promise)]
    cli.done("incidents", "close", number, "--lessons", "measure", *follow_ups)
    return number


def test_promises_are_listed_done_and_reopened(cli: Cli) -> None:
    number = closed(cli, "Alert on depth|ana|2020-01-01", "Document it")
    lines = cli.done("follow-ups", "list", "--incident", number).out.splitlines()
    assert lines[1].split() == [f"INC-{number}", "1", "OVERDUE", "2020-01-01", "ana", "Alert", "on", "depth"]
    (late,) = cli.done("follow-ups", "list", "--overdue", "--owner", "Ana", "--json").json["followUps"]
    assert (late["title"], late["overdue"], late["state"]) == ("Alert on depth", True, "OPEN")
    assert cli.done("follow-ups", "done", number, "1", "--note", "at 1,000").out == f"INC-{number}, action 1: done.\n"
    again = cli("follow-ups", "done", f"INC-{number}", "1")
    assert (again.code, again.err.count("\n")) == (1, 1)
    assert "has done action 1" in again.err
    (done,) = [
        one
        for one in cli.done("follow-ups", "list", "--done", "--json").json["followUps"]
        if one["incidentNumber"] == int(number)
    ]
    assert (done["note"], done["overdue"]) == ("at 1,000", False)
    assert "open again" in cli.done("follow-ups", "reopen", number, "1").out
    assert cli("follow-ups", "done", number, "9").code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--done", "--overdue"),
        ("list", "--incident", "1", "--mine"),
        ("list", "--limit", "201"),
        ("done", "1", "51"),
        ("done", "first", "1"),
        ("reopen", "1"),
    ],
)
def test_what_cannot_be_understood_is_wrong_usage(idle_cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = idle_cli("follow-ups", *arguments)
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err


@pytest.mark.slow
def test_stats_tell_that_nothing_is_counted_without_a_worker(cli: Cli) -> None:
    closed(cli, "Alert")
    assert "Nothing is counted yet" in cli.done("stats").err
    found = cli.done("stats", "--weeks", "4", "--json").json
    assert (found["countedAt"], len(found["weeks"])) == (None, 4)
    assert cli("stats", "--weeks", "53").code == 2


@pytest.mark.slow
def test_a_report_is_written_as_markdown_and_as_a_pdf(cli: Cli, tmp_path: Path) -> None:
    number = closed(cli, "Alert *now*|ana|2020-01-01")
    text = cli.done("incidents", "report", number).out
    assert text.startswith(f"# INC-{number}: It broke\n")
    assert "| 1 | Alert \\*now\\* | ana | 2020-01-01 | overdue |" in text
    assert cli.done("incidents", "report", number, "--json").json["markdown"].startswith("# INC-")
    file = tmp_path / "report.pdf"
    assert "bytes to" in cli.done("incidents", "report", number, "--format", "pdf", "--output", str(file)).out
    assert file.read_bytes().startswith(b"%PDF-")
    missing = cli("incidents", "report", number, "--output", str(tmp_path / "no" / "where"))
    assert (missing.code, missing.err.count("\n")) == (1, 1)
    assert cli("incidents", "report", "999999").code == 1
    assert cli("incidents", "report", number, "--format", "docx").code == 2
