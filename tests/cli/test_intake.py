"""The ledger and the samples from a terminal."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from tests.cli.conftest import Cli


def report(cli: Cli, *reports: Mapping[str, object]) -> str:
    """Report on standard input; return the number of the last incident."""
    told = cli.done("report", "--json", stdin=msgspec.json.encode(reports).decode()).json["reports"]
    return str(told[-1]["incident"]).removeprefix("INC-")


def test_the_ledger_says_what_became_of_each_report(fresh_cli: Cli) -> None:
    cli = fresh_cli
    loud = {"severity": "HIGH", "type": "Broken", "eventId": "e1"}
    report(cli, loud, loud | {"eventId": "e2"}, loud)
    answer = cli.done("intake", "--json").json
    (tally,) = answer["projects"]
    assert (tally["projectId"], tally["opened"], tally["joined"], tally["duplicate"]) == (1, 1, 1, 1)
    assert (sum(tally["received"].values()), tally["difference"], answer["minutes"]) == (3, 0, None)
    told = cli.done("intake", "--since", "2h", "--project", "1")
    header, row = told.out.splitlines()
    assert header.split() == [
        "PROJECT", "RECEIVED", "OPENED", "JOINED", "RECORDED", "DUPLICATE", "REJECTED", "DIFFERENCE", "LOST",
    ]  # fmt: skip
    assert row.split() == ["1", "3", "1", "1", "0", "1", "0", "0", "0"]
    assert "Project 1, received:" in told.err
    minutes = cli.done("intake", "--minutes", "--json").json["minutes"]
    assert sum(sum(minute["received"].values()) for minute in minutes) == 3
    assert cli.done("intake", "--minutes").out.startswith("MINUTE")
    assert cli.done("intake", "--project", "0", "--json").json["projects"] == []


@pytest.mark.parametrize("arguments", [("--since", "soon"), ("--project", "-1"), ("--project", "x")])
def test_what_cannot_be_read_is_wrong_usage(idle_cli: Cli, arguments: tuple[str, ...]) -> None:
    assert idle_cli("intake", *arguments).code == 2


def test_a_time_before_the_ledger_is_refused(cli: Cli) -> None:
    assert cli("intake", "--since", "91d").code == 1


def test_the_reports_of_an_incident_are_listed_newest_first_and_whole_as_json(cli: Cli) -> None:
    number = report(
        cli, *({"severity": "HIGH", "type": "Often", "eventId": f"o{n}", "tags": {"n": str(n)}} for n in (1, 2))
    )
    report(cli, {"severity": "HIGH", "type": "Often", "eventId": "o3", "tags": {"n": "3"}})
    found = cli.done("incidents", "reports", number, "--json").json
    assert found["occurrences"] == 3
    assert found["reports"][0]["eventId"] == "o3"
    assert {one["report"]["tags"]["n"] for one in found["reports"]} == {"1", "2", "3"}
    told = cli.done("incidents", "reports", number, "--limit", "1")
    assert len(told.out.splitlines()) == 2
    assert "1 whole report, of 3 occurrences." in told.err
    assert cli("incidents", "reports", "4711").code == 1
    assert cli("incidents", "reports", number, "--limit", "51").code == 2
