"""Projects' keys and rules from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli

RULES = [{"when": {"handled": False}, "severity": "CRITICAL"}]
MAPPING = {"fields": {"message": "alert.text"}}


def project(cli: Cli, name: str) -> str:
    """Add a project; return its number."""
    return str(cli.done("projects", "add", name, "--json").json["projectId"])


def detail(cli: Cli, number: str) -> dict[str, Any]:
    """Return a project as a program sees it."""
    shown: dict[str, Any] = cli.done("projects", "show", number, "--json").json["project"]
    return shown


def test_keys_are_listed_by_how_they_begin_rotated_and_revoked(cli: Cli) -> None:
    number = project(cli, "keyed")
    first = cli.done("projects", "keys", number, "--json").json["keys"][0]
    kept = cli.done("projects", "rotate", number, "--keep-old", "--json").json
    assert kept["revoked"] == 0
    listed = cli.done("projects", "keys", number)
    assert first["keyPrefix"] in listed.out
    assert kept["key"] not in listed.out
    said = cli.done("projects", "revoke", number, first["keyPrefix"]).out
    assert "1 valid keys are left" in said
    assert cli("projects", "revoke", number, first["keyPrefix"]).code == 1
    rotated = cli.done("projects", "rotate", number)
    assert rotated.out.count("\n") == 1
    assert rotated.out.startswith("http://")
    assert "1 old keys are revoked" in rotated.err
    last = [key for key in cli.done("projects", "keys", number, "--json").json["keys"] if key["revokedAt"] is None]
    assert [key["keyPrefix"] for key in last] == [rotated.out.removeprefix("http://")[:6]]
    gone = cli.done("projects", "revoke", number, last[0]["id"])
    assert "Nobody can report" in gone.err


def test_a_whole_key_that_is_pasted_is_not_written_into_the_access_log(cli: Cli) -> None:
    number = project(cli, "pasted")
    key = cli.done("projects", "key", number, "--json").json["key"]
    assert cli("projects", "revoke", number, key).code == 1
    ((target,),) = cli.sql("SELECT target FROM tocsin.audit_access_log WHERE action = 'projects revoke' AND status = 1"
                           " AND target LIKE %s", f"{number} %")  # fmt: skip
    assert target == f"{number} {key[:6]}"


def test_rules_are_set_shown_and_removed(cli: Cli, tmp_path: Path) -> None:
    number = project(cli, "ruled")
    assert "(default)" in cli.done("projects", "show", number).out
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    cli.done(
        "projects", "rules", number, "--dedup-window", "15m", "--threshold", "low",
        "--severity-rules", str(tmp_path / "rules.json"),
    )  # fmt: skip
    shown = detail(cli, number)
    assert (shown["dedupWindowSeconds"], shown["incidentThreshold"], shown["severityRules"]) == (900, "LOW", RULES)
    words = cli.done("projects", "show", number).out
    assert "900 s" in words
    assert 'CRITICAL when {"handled":false}' in words
    cli.done("projects", "rules", number, "--threshold", "default")
    shown = detail(cli, number)
    assert (shown["dedupWindowSeconds"], shown["incidentThreshold"], shown["severityRules"]) == (900, None, RULES)
    cli.done("projects", "rules", number, "--dedup-window", "default", "--severity-rules", "default")
    shown = detail(cli, number)
    assert (shown["dedupWindowSeconds"], shown["severityRules"]) == (None, [])


def test_rules_and_mappings_come_from_standard_input_too(cli: Cli) -> None:
    number = project(cli, "mapped")
    cli.done("projects", "rules", number, "--severity-rules", "-", stdin=json.dumps(RULES))
    cli.done("projects", "mapping", number, "-", stdin=json.dumps(MAPPING))
    shown = detail(cli, number)
    assert (shown["severityRules"], shown["fieldMapping"]) == (RULES, MAPPING)
    assert "alert.text" in cli.done("projects", "show", number).out
    cli.done("projects", "mapping", number, "default")
    assert detail(cli, number)["fieldMapping"] is None


def test_one_wrong_rule_changes_nothing(cli: Cli) -> None:
    number = project(cli, "whole")
    answer = cli("projects", "rules", number, "--threshold", "LOW", "--severity-rules", "-", "--json", stdin="[1]")
    assert (answer.code, answer.problem["code"]) == (1, "INVALID")
    assert detail(cli, number)["incidentThreshold"] is None


def test_critical_as_a_threshold_is_refused_for_high_errors_stay_loud(cli: Cli) -> None:
    refused = cli("projects", "rules", "1", "--threshold", "CRITICAL")
    assert (refused.code, "always opens an incident" in refused.err) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--threshold", "loud"),
        ("--dedup-window", "soon"),
        ("--severity-rules", "/nowhere/rules.json"),
        ("--severity-rules", "-"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(idle_cli: Cli, arguments: tuple[str, ...]) -> None:
    assert idle_cli("projects", "rules", "1", *arguments, stdin="{").code == 2


def test_a_document_that_is_too_large_is_wrong_usage(idle_cli: Cli) -> None:
    assert idle_cli("projects", "mapping", "1", "-", stdin=" " * 1_048_577).code == 2


def test_a_project_is_renamed_and_found_under_its_new_name(cli: Cli) -> None:
    number = project(cli, "before")
    assert cli.done("projects", "rename", number, "after").out.startswith(f"after: project {number}")
    assert cli("projects", "rename", number, "default").code == 1
    assert cli("projects", "show", "4711").code == 1
