"""Silences from a terminal: said in one line, listed with what they are about, ended by their id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Cli


def add(cli: Cli, *arguments: str) -> dict[str, object]:
    """Add a silence and return it."""
    made = cli.done("silences", "add", *arguments, "--json").json["silence"]
    assert isinstance(made, dict)
    return made


def test_a_silence_is_added_listed_and_ended(cli: Cli) -> None:
    answer = cli.done(
        *("silences", "add", "--service", "payments", "--severity", "low", "--severity", "MEDIUM"),
        *("--for", "2h", "--reason", "deploy"),
    )
    assert answer.out.startswith("Pages of service payments, LOW or MEDIUM are held back from ")
    assert "`tocsin silences end " in answer.err
    (made,) = cli.done("silences", "list", "--json").json["silences"]
    assert (made["service"], made["severities"], made["kind"]) == ("payments", ["LOW", "MEDIUM"], "SILENCE")
    line = cli.done("silences", "list").out.splitlines()[1]
    assert line.startswith(made["id"])
    assert "service payments, LOW or MEDIUM" in line
    assert line.endswith("deploy")
    said = cli.done("silences", "end", made["id"]).out
    assert (
        said == "The silence of service payments, LOW or MEDIUM is over; 0 open incidents that it held are looked at.\n"
    )
    assert cli.done("silences", "list", "--json").json == {"silences": []}
    assert "(ended by " in cli.done("silences", "list", "--all").out
    assert cli("silences", "end", made["id"]).code == 1


def test_one_incident_a_project_or_everything_for_a_window(cli: Cli) -> None:
    number = cli.done("incidents", "open", "--severity", "HIGH", "--title", "It broke", "--json").json["incident"][
        "number"
    ]
    one = add(cli, "--incident", f"INC-{number}", "--project", "default", "--for", "1h", "--reason", "waiting")
    assert (one["incidentNumber"], one["projectName"]) == (number, "default")
    start = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    window = add(
        cli,
        *("--everything", "--maintenance", "--from", start.isoformat(), "--reason", "new disks"),
        *("--until", (start + timedelta(hours=4)).replace(tzinfo=None).isoformat()),
    )
    assert (window["kind"], window["startsAt"]) == ("MAINTENANCE", start.isoformat().replace("+00:00", "Z"))
    shown = cli.done("silences", "list").out
    assert f"INC-{number}, project default" in shown
    assert "EVERYTHING" in shown
    for made in (one, window):
        cli.done("silences", "end", str(made["id"]))


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "--service", "x", "--for", "1h"),
        ("add", "--service", "x", "--reason", "y"),
        ("add", "--service", "x", "--reason", "y", "--for", "1h", "--until", "2026-12-01"),
        ("add", "--service", "x", "--reason", "y", "--for", "a while"),
        ("add", "--service", "x", "--reason", "y", "--until", "tomorrow"),
        ("add", "--incident", "the first", "--reason", "y", "--for", "1h"),
        ("add", "--severity", "BAD", "--reason", "y", "--for", "1h"),
        ("end", "payments"),
        ("end",),
    ],
)
def test_what_cannot_be_understood_is_wrong_usage(idle_cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = idle_cli("silences", *arguments)
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--reason", "x", "--for", "1h"), "say that you mean it: `--everything`"),
        (("--reason", "x", "--for", "1h", "--everything", "--service", "y"), "names no incident, project"),
        (("--reason", " ", "--for", "1h", "--service", "y"), "reason must not be empty"),
        (("--reason", "x", "--for", "0s", "--service", "y"), "ends after it begins"),
        (("--reason", "x", "--for", "999999d", "--service", "y"), "at most 30 days"),
        (("--reason", "x", "--until", "2020-01-01", "--service", "y"), "ends after it begins, and after now"),
        (("--reason", "x", "--from", "9999-12-31", "--for", "1h", "--service", "y"), "at most 90 days ahead"),
        (("--reason", "x", "--for", "1h", "--project", "nothing"), "There is no project nothing"),
        (("--reason", "x", "--for", "1h", "--incident", "4711"), "There is no incident INC-4711"),
    ],
)
def test_what_is_refused_says_why_in_one_line(cli: Cli, arguments: tuple[str, ...], why: str) -> None:
    answer = cli("silences", "add", *arguments)
    assert (answer.code, why in answer.err, answer.err.count("\n")) == (1, True, 1), answer.err
    ((outcome, status),) = cli.sql(
        "SELECT outcome, status FROM tocsin.audit_access_log WHERE action = 'silences add' ORDER BY id DESC LIMIT 1"
    )
    assert (outcome != "OK", status) == (True, 1)
