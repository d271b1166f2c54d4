"""Policies and routes from a terminal: the grammar of steps, files in and out, refusals in one line."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.conftest import ADMIN_EMAIL
from tocsin.cli.options import WrongUsageError
from tocsin.cli.policy_steps import read_step, targets_text
from tocsin.domain.policy import StepReason
from tocsin.errors import TocsinError

STEPS = ("--step", "0:duty:ON_CALL", "--step", f"10m:user:{ADMIN_EMAIL},duty:SUPERVISOR")


@pytest.mark.parametrize(
    ("text", "reason", "seconds", "targets"),
    [
        ("0:duty:ON_CALL", "INCIDENT_OPENED", 0, ["duty:ON_CALL"]),
        ("0s:duty:on_call", "INCIDENT_OPENED", 0, ["duty:ON_CALL"]),
        ("10m:schedule:payments", "POLICY_STEP", 600, ["schedule:payments"]),
        ("1h30m:user:ana+pager@example.org", "POLICY_STEP", 5400, ["user:ana+pager@example.org"]),
        ("NO_ACK_4HR=2h:duty:SUPERVISOR", "NO_ACK_4HR", 7200, ["duty:SUPERVISOR"]),
        ("no_ack_1hr=5m:Duty:director", "NO_ACK_1HR", 300, ["duty:DIRECTOR"]),
        ("POLICY_STEP=1h:duty:DIRECTOR, user:a@b", "POLICY_STEP", 3600, ["duty:DIRECTOR", "user:a@b"]),
        ("5m:schedule:EU, nights: week=2", "POLICY_STEP", 300, ["schedule:EU, nights: week=2"]),
        ("5m:schedule:EU, nights,duty:ON_CALL", "POLICY_STEP", 300, ["schedule:EU, nights", "duty:ON_CALL"]),
        ("5m:schedule:user", "POLICY_STEP", 300, ["schedule:user"]),
    ],
)
def test_a_step_is_a_delay_and_targets(text: str, reason: str, seconds: int, targets: list[str]) -> None:
    step = read_step(text)
    assert (step.reason, step.after) == (StepReason(reason), timedelta(seconds=seconds))
    assert [str(target) for target in step.targets] == targets
    assert targets_text(step.targets) == ",".join(targets)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10m",
        "10m:",
        "10m:ana@example.org",
        "10m:pager:ana",
        "10m:duty:",
        "10m:duty:JANITOR",
        "10m:user: ",
        "soon:duty:ON_CALL",
        "-1m:duty:ON_CALL",
        "00:duty:ON_CALL",
        "=10m:duty:ON_CALL",
        "MANUAL_ESCALATION=10m:duty:ON_CALL",
        "NO_ACK_1HR=:duty:ON_CALL",
        "10m:duty:ON_CALL,",
        "10m:duty:ON_CALL,,duty:DIRECTOR",
        "10m:user:a\nb",
    ],
)
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises((WrongUsageError, TocsinError)):
        read_step(text)


def test_a_policy_is_added_shown_changed_and_removed(cli: Cli) -> None:
    made = cli.done("policies", "add", "payments", *STEPS, "--repeat", "2", "--lease", "2h", "--json").json
    assert (made["name"], made["repeat"], made["leaseSeconds"], made["unreached"]) == ("payments", 2, 7200, [])
    shown = cli.done("policies", "show", "payments").out
    assert f"user:{ADMIN_EMAIL},duty:SUPERVISOR" in shown
    assert "Further rounds while nobody answers: 2. An acknowledgment holds for: 2h." in shown
    assert "payments" in cli.done("policies", "list").out
    cli.done("policies", "change", "payments", "--lease", "none", "--rename", "pay")
    changed = cli.done("policies", "show", "pay", "--json").json
    assert (changed["leaseSeconds"], changed["repeat"], changed["steps"]) == (None, 2, made["steps"])
    assert cli.done("policies", "remove", "PAY").out == "The policy PAY is removed.\n"
    assert cli("policies", "show", "pay").code == 1


def test_what_show_prints_add_takes(cli: Cli, tmp_path: Path) -> None:
    cli.done("policies", "add", "one", *STEPS, "--repeat", "3", "--lease", "none")
    shown = cli.done("policies", "show", "one", "--json")
    cli.done("policies", "add", "two", "--file", "-", stdin=shown.out)
    assert cli.done("policies", "show", "two", "--json").json == shown.json | {"name": "two"}
    file = tmp_path / "three.json"
    file.write_text(json.dumps(shown.json | {"name": "three"}))
    cli.done("policies", "add", "--file", str(file))
    default_text = cli.done("policies", "show", "--json").out
    cli.done("policies", "change", "one", "--file", "-", "--rename", "one", stdin=default_text)
    default = cli.done("policies", "show", "--json").json
    assert cli.done("policies", "show", "one", "--json").json == default | {"name": "one"}
    for name in ("one", "two", "three"):
        cli.done("policies", "remove", name)


def test_a_file_of_toml_is_taken_too(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "search.toml"
    file.write_text(
        'name = "search"\nleaseSeconds = 0\n[[steps]]\nafterSeconds = 300\ntargets = [{ duty = "DIRECTOR" }]\n'
    )
    made = cli.done("policies", "add", "--file", str(file), "--json").json
    assert (made["leaseSeconds"], made["steps"][1]) == (
        None,
        {"reason": "POLICY_STEP", "afterSeconds": 300, "targets": [{"duty": "DIRECTOR"}]},
    )
    cli.done("policies", "remove", "search")
    file.write_text("name = ")
    assert (cli("policies", "add", "--file", str(file)).code, cli("policies", "add", "--file", "nowhere").code) == (
        2,
        2,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", "x", "--step", "10m"),
        ("add", "x", "--repeat", "21"),
        ("add", "x", "--lease", "soon"),
        ("add", "--file", "-"),
        ("change", "default"),
        ("set", "NO_ACK_1HR"),
        ("set", "POLICY_STEP", "--after", "1h"),
        ("set", "NO_ACK_1HR", "--duty", "ON_CALL", "--to", "duty:ON_CALL"),
        ("set", "NO_ACK_1HR", "--to", "somebody"),
        ("routes", "add", "default", "--severity", "BAD"),
        ("routes", "add", "default", "--position", "0"),
        ("routes", "remove", "first"),
        ("routes", "move", "1"),
    ],
)
def test_what_cannot_be_understood_is_wrong_usage(idle_cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = idle_cli("policies", *arguments, stdin="{")
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("add", "default"), "There is a policy default already"),
        (("add", "x", "--step", "5m:user:eve@example.org"), "there is no user eve@example.org"),
        (("add", "x", "--step", "5m:schedule:nights"), "there is no schedule nights"),
        (("add", "x", "--lease", "59s"), "leaseSeconds: must be 0 (for ever), or 1m to 365d"),
        (("add", "x", "--step", "NO_ACK_1HR=0:duty:ON_CALL"), "not between 1 second and 365 days"),
        (("add", "x" * 101), "one printable line"),
        (("change", "nobody", "--repeat", "1"), "There is no policy nobody"),
        (("change", "default", "--rename", "other"), "keeps its name"),
        (("remove", "default"), "The policy default stays"),
        (("set", "INCIDENT_OPENED", "--after", "5m"), "the first alert goes out at once"),
        (("routes", "add", "nobody"), "There is no policy nobody"),
        (("routes", "add", "default", "--position", "7"), "must be a place from 1 to 1"),
        (("routes", "move", "7", "1"), "There is no route 7"),
    ],
)
def test_what_is_refused_says_why_in_one_line(cli: Cli, arguments: tuple[str, ...], why: str) -> None:
    answer = cli("policies", *arguments)
    assert (answer.code, why in answer.err, answer.err.count("\n")) == (1, True, 1), answer.err


def test_a_policy_that_reaches_nobody_is_refused_with_what_to_do(cli: Cli) -> None:
    cli.done("users", "add", "mute@example.org")
    cli.done("users", "contact", "remove", "mute@example.org", "email", "mute@example.org")
    answer = cli("policies", "add", "x", "--step", "5m:user:mute@example.org")
    assert answer.code == 1
    assert "the step POLICY_STEP after 5m reaches nobody: mute@example.org, who has no contact method" in answer.err
    assert "`tocsin users contact add mute@example.org email mute@example.org`" in answer.err


def test_a_rule_takes_a_duration_and_a_duty_or_targets(cli: Cli) -> None:
    said = cli.done("policies", "set", "no_ack_1hr", "--after", "1h30m", "--duty", "supervisor").out
    assert said == "NO_ACK_1HR of default pages duty:SUPERVISOR after 1h30m.\n"
    answer = cli.done("policies", "set", "NO_ACK_1HR", "--to", f"duty:ON_CALL,user:{ADMIN_EMAIL}", "--json").json
    assert answer == {
        "policy": "default",
        "rule": {"reason": "NO_ACK_1HR", "afterSeconds": 5400, "targets": [{"duty": "ON_CALL"}, {"user": ADMIN_EMAIL}]},
    }
    assert "1h30m" in cli.done("policies", "show").out
    cli.done("policies", "add", "own")
    cli.done("policies", "set", "NO_ACK_1HR", "--after", "5m", "--policy", "own")
    assert "5m" in cli.done("policies", "show", "own").out
    cli.done("policies", "remove", "own")


_OF_ROUTES = "SELECT count(*) FROM tocsin.audit_access_log WHERE starts_with(action, 'policies routes ')"


def test_routes_are_listed_moved_and_removed(cli: Cli) -> None:
    [(before,)] = cli.sql(_OF_ROUTES)
    cli.done("policies", "add", "night")
    cli.done("policies", "routes", "add", "night", "--service", "search", "--severity", "low")
    said = cli.done("policies", "routes", "add", "night", "--service", "shop", "--position", "1").out
    assert said == "Asked at place 1: service shop, severity any follows night.\n"
    listed = cli.done("policies", "routes", "list")
    assert [line.split() for line in listed.out.splitlines()[1:]] == [
        ["1", "shop", "any", "night"],
        ["2", "search", "LOW", "night"],
        ["last", "any", "any", "default"],
    ]
    first = cli.done("policies", "routes", "list", "--json").json["routes"][0]
    cli.done("policies", "routes", "move", first["id"], "2")
    assert "the route at place 1, 2 leads to it" in cli("policies", "remove", "night").err
    cli.done("policies", "routes", "remove", "2")
    cli.done("policies", "routes", "remove", "1")
    cli.done("policies", "remove", "night")
    [(after,)] = cli.sql(_OF_ROUTES)
    assert after - before == 7, "each of the seven commands is in the access log"
