"""The audit from a terminal."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_what_was_done_is_listed_and_written_to_a_file(cli: Cli, tmp_path: Path) -> None:
    cli.done("projects", "list")
    shown = cli.done("audit", "list", "--action", "projects list", "--json").json
    assert [one["action"] for one in shown["accesses"]] == ["projects list"]
    assert "projects list" in cli.done("audit", "list").out
    assert "--cursor " in cli.done("audit", "list", "--limit", "1").err
    file = tmp_path / "accesses.csv"
    assert cli.done("audit", "export", "--output", str(file)).out.startswith("Wrote ")
    rows = list(csv.DictReader(file.read_text("utf-8").splitlines()))
    assert {"projects list", "audit list", "audit export"} <= {row["action"] for row in rows}
    assert list(tmp_path.iterdir()) == [file]


def test_entries_of_timelines_are_listed_and_written(cli: Cli) -> None:
    cli.done("incidents", "open", "--severity", "HIGH", "--title", "It broke")
    (entry,) = cli.done("audit", "list", "--of", "entries", "--kind", "reported", "--json").json["entries"]
    assert entry["number"] == 1
    assert json.loads(cli.done("audit", "export", "--of", "entries", "--format", "json").out)["cut"] is None


def test_what_does_not_fit_is_wrong_usage_and_an_unknown_user_is_refused(cli: Cli) -> None:
    assert cli("audit", "list", "--kind", "CLOSED").code == 2
    assert cli("audit", "export", "--of", "entries", "--outcome", "OK").code == 2
    assert cli("audit", "list", "--since", "yesterday").code == 2
    assert cli("audit", "list", "--user", "nobody@example.org").code == 1
    assert cli("audit", "export", "--output", "/nowhere/at/all.csv").code == 1
