"""Schedules from a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Cli
from tests.conftest import ADMIN_EMAIL


@pytest.fixture
def primary(cli: Cli) -> str:
    """A schedule of this test alone, in which noor and the superadmin take turns."""
    if not any(user["name"] == "Noor" for user in cli.done("users", "list", "--json").json["users"]):
        cli.done("users", "add", "noor@example.org", "--name", "Noor")
    name = f"rota {len(cli.done('schedules', 'list', '--json').json['schedules'])}"
    cli.done("schedules", "add", name, "--zone", "Europe/Berlin")
    members = ("--member", "noor@example.org", "--member", ADMIN_EMAIL)
    cli.done("schedules", "layer", "add", name, "weeks", "--starts-on", "2026-01-05", *members)
    return name


def test_a_schedule_is_made_shown_and_removed(cli: Cli, primary: str) -> None:
    hours = ("--hours", "mon-fri 9:00-17:00", "--hours", "sat,sun 22:00-06:00")
    options = ("--rotation", "daily", "--every", "2", "--member", ADMIN_EMAIL, *hours)
    said = cli.done("schedules", "layer", "add", primary, "office", *options).out
    assert said == f"office is the topmost layer of {primary} now.\n"
    shown = cli.done("schedules", "show", primary, "--at", "2026-01-06T12:00:00+01:00")
    assert f"{ADMIN_EMAIL} until" not in shown.out, "office begins today, not then"
    assert "noor@example.org until 2026-01-12 08:00:00 UTC (layer weeks)" in shown.out
    assert "mon,tue,wed,thu,fri 09:00-17:00; sat,sun 22:00-06:00" in shown.out
    document = cli.done("schedules", "show", primary, "--json").json["schedule"]
    assert [layer["name"] for layer in document["layers"]] == ["weeks", "office"]
    assert document["layers"][1]["restrictions"][0] == {"weekdays": [0, 1, 2, 3, 4], "start": "09:00", "end": "17:00"}
    cli.done("schedules", "layer", "remove", primary, "office")
    assert primary in cli.done("schedules", "list").out
    cli.done("schedules", "remove", primary)
    assert cli("schedules", "show", primary).code == 1


def test_shifts_and_gaps_are_shown(cli: Cli, primary: str) -> None:
    period = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-20T00:00:00Z")
    found = cli.done("schedules", "shifts", primary, *period, "--json").json["shifts"]
    assert [(one["person"]["email"], one["startsAt"]) for one in found] == [
        ("noor@example.org", "2026-01-05T08:00:00Z"),
        (ADMIN_EMAIL, "2026-01-12T08:00:00Z"),
        ("noor@example.org", "2026-01-19T08:00:00Z"),
    ]
    assert "2026-01-12 08:00:00 UTC" in cli.done("schedules", "shifts", primary, *period).out
    assert "2026-01-05 08:00:00 UTC  1" in cli.done("schedules", "gaps", primary, *period).out
    assert cli.done("schedules", "gaps", primary).out == "Somebody is on call all the time.\n"
    assert cli("schedules", "shifts", primary, "--to", "2000-01-01").code == 1


def test_a_shift_is_taken_over_and_given_back(cli: Cli, primary: str) -> None:
    start = datetime.now(UTC) + timedelta(days=1)
    period = ("--from", start.isoformat(), "--to", (start + timedelta(days=1)).isoformat())
    made = cli.done(
        "schedules", "override", "add", primary, "noor@example.org", *period, "--as", "noor@example.org", "--json"
    )
    assert "noor@example.org" in cli.done("schedules", "show", primary).out
    refused = cli("schedules", "override", "add", primary, ADMIN_EMAIL, *period, "--as", "noor@example.org")
    assert (refused.code, "may not" in refused.err) == (1, True)
    cli.done("schedules", "override", "remove", primary, made.json["id"])
    assert cli("schedules", "override", "remove", primary, made.json["id"]).code == 1


def test_a_duty_is_held_by_whoever_is_on_call(cli: Cli, primary: str) -> None:
    said = cli.done("oncall", "assign", "on_call", "--schedule", primary)
    whoever, just_now = said.out.splitlines()
    assert whoever == f"Whoever is on call by {primary} is ON_CALL now."
    assert just_now.startswith("Just now: ")
    assert "WARNING" not in said.err
    held = next(one for one in cli.done("oncall", "show", "--json").json["duties"] if one["duty"] == "ON_CALL")
    assert held["schedule"] == primary
    assert held["email"] in (ADMIN_EMAIL, "noor@example.org")
    assert held["until"]
    assert primary in cli.done("oncall", "show").out
    refused = cli("schedules", "remove", primary)
    assert (refused.code, "duty ON_CALL" in refused.err) == (1, True)
    assert cli("oncall", "assign", "on_call").code == 2
    assert cli("oncall", "assign", "on_call", ADMIN_EMAIL, "--schedule", primary).code == 2
    cli.done("oncall", "assign", "on_call", ADMIN_EMAIL)


def test_a_duty_given_to_a_schedule_by_which_nobody_is_on_call_says_so(cli: Cli) -> None:
    cli.done("schedules", "add", "nobody's", "--zone", "Europe/Berlin")
    far = ("--starts-on", f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%d}", "--member", ADMIN_EMAIL)
    cli.done("schedules", "layer", "add", "nobody's", "weeks", *far)
    said = cli.done("oncall", "assign", "director", "--schedule", "nobody's")
    assert "nobody is on call by nobody's just now" in said.err
    assert "superadmins" in said.err
    again = cli.done("oncall", "assign", "director", "--schedule", "nobody's", "--json")
    assert again.json == {"duty": "DIRECTOR", "schedule": "nobody's", "onCall": []}
    cli.done("oncall", "assign", "director", ADMIN_EMAIL)


def test_a_calendar_goes_out_and_comes_in(cli: Cli, primary: str) -> None:
    made = cli.done("schedules", "calendar", primary, "--person", "noor@example.org")
    assert made.out.startswith("http://tocsin.test/api/schedules/")
    assert made.out.count("\n") == 1
    (feed,) = cli.done("schedules", "calendar", primary, "--list", "--json").json["feeds"]
    assert feed["person"] == "noor@example.org"
    assert made.out.partition("token=")[2].strip() not in json.dumps(feed)
    cli.done("schedules", "calendar", primary, "--revoke", feed["id"])
    assert cli.done("schedules", "calendar", primary, "--list", "--json").json["feeds"] == []
    start = datetime.now(UTC) + timedelta(days=1)
    file = cli.directory / "rota.ics"
    event = (
        f"BEGIN:VEVENT\r\nUID:1\r\nDTSTART:{start:%Y%m%dT%H%M%SZ}\r\nDURATION:PT1H\r\nSUMMARY:Noor\r\nEND:VEVENT\r\n"
    )
    file.write_text(f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{event}END:VCALENDAR\r\n", newline="")
    assert cli.done("schedules", "import", primary, str(file)).out == "1 shift was added, 0 were there already.\n"
    file.write_text("no calendar")
    assert cli("schedules", "import", primary, str(file)).code == 1
    assert cli("schedules", "import", primary, str(cli.directory / "nothing.ics")).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--hours", "someday 09:00-17:00"),
        ("--hours", "mon 9-17"),
        ("--hours", "mon 09:00-24:00"),
        ("--every", "soon"),
        ("--every", "12h"),
        ("--rotation", "custom", "--every", "2"),
        ("--starts-on", "monday"),
        ("--hand-off", "25:00"),
        ("--from", "tomorrow"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(idle_cli: Cli, arguments: tuple[str, ...]) -> None:
    assert idle_cli("schedules", "layer", "add", "primary", "weeks", "--member", "a@b.c", *arguments).code == 2
