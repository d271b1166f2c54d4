"""The doctor finds what is wrong, and says what to do about it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import Cli
from tocsin.app.guards import GuardReport
from tocsin.app.health import Condition, Problem
from tocsin.app.inspection import Inspection
from tocsin.app.ledger import Tally
from tocsin.app.read_ledger import IntakeCondition
from tocsin.cli.checks import CHECKS, Facts, Finding, Level
from tocsin.errors import Code, Refusal
from tocsin.settings import Settings, load_settings
from tocsin.store.inspection import DutyHolder, ServerRow, TallyDifference
from tocsin.store.jobs import DeadJob, Health
from tocsin.store.log import LogCondition
from tocsin.store.outside import Standing
from tocsin.store.watchdog import Calls

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
HOLDERS = tuple(DutyHolder(duty, "ana@example.org", True, ["email"]) for duty in ("ON_CALL", "SUPERVISOR", "DIRECTOR"))
WELL = Inspection(
    server=ServerRow("18.6", NOW, "tocsin_app", is_superuser=False, can_become_owner=False),
    clock_ahead=timedelta(seconds=0.1),
    duty_holders=HOLDERS,
    tally_differences=(),
    condition=Condition(
        Health(NOW, 1, None, 0, None, 0, 0),
        LogCondition(42, 42, NOW, 0, None, NOW, None, None),
        (Standing("witness w.example", "witness", 42, NOW, None, 0, None),),
        (),
        Calls(NOW, None, None, None, 0, None),
    ),
    dead_jobs=(),
    intake=IntakeCondition(NOW - timedelta(minutes=15), (Tally(1, {"native": 2}, opened=1, joined=1),)),
    guards=GuardReport(hardened=True),
)


def settings(**given: object) -> Settings:
    return load_settings(
        _env_file=None,
        **{
            "smtp_host": "mail.example.org",
            "public_url": "https://tocsin.example.org",
            "watchdog_url": "https://watch.example.org/ping",
        }
        | given,
    )


def findings(facts: Facts) -> list[Finding]:
    return [finding for check in CHECKS for finding in check(facts)]


def levels(facts: Facts) -> Mapping[str, Level]:
    return {finding.name: finding.level for finding in findings(facts)}


HEALTHY = Facts(settings(), inspection=WELL, smtp_answer="250 hello", free_bytes=50_000_000_000)


def test_nothing_is_wrong_with_a_healthy_installation() -> None:
    assert set(levels(HEALTHY).values()) == {Level.OK}


def test_whatever_is_not_fine_says_what_to_do() -> None:
    sick = replace(
        WELL,
        server=replace(WELL.server, can_become_owner=True),
        clock_ahead=timedelta(seconds=-3),
        duty_holders=(DutyHolder("ON_CALL", "a@b", False, []), DutyHolder("DIRECTOR", "a@b", True, [])),
        tally_differences=(TallyDifference("REPORTED", "HIGH", 3, 2),),
        condition=replace(WELL.condition, problems=(Problem("no_worker", "No worker.", "Start one.", True),)),
        dead_jobs=(DeadJob("deliver", "deliver:1", 10, "boom", NOW),),
        intake=IntakeCondition(
            NOW - timedelta(minutes=15, seconds=1),
            (Tally(1, {"native": 2}, rejected={"INVALID": 1}, lost={"queue_overflow/error": 3}),),
        ),
        guards=GuardReport(False, ("trigger a_no_change on tocsin.incidents is missing",), 1),
    )
    facts = Facts(
        settings(smtp_password="p", smtp_username="u", smtp_security="none", public_url=None, database_url="x"),
        inspection=sick,
        smtp_fault="refused",
        free_bytes=100_000_000,
    )
    found = findings(facts)
    assert {finding.name: finding.level for finding in found if finding.level is not Level.OK} == {
        "database_role": Level.WARNING,
        "guards": Level.PROBLEM,
        "hardening": Level.WARNING,
        "clock": Level.WARNING,
        "disk": Level.PROBLEM,
        "no_worker": Level.PROBLEM,
        "dead_job": Level.PROBLEM,
        "tallies": Level.PROBLEM,
        "intake_ledger_compared": Level.WARNING,
        "intake_difference": Level.PROBLEM,
        "client_losses": Level.WARNING,
        "rejected_reports": Level.WARNING,
        "duty_on_call": Level.PROBLEM,
        "duty_supervisor": Level.WARNING,
        "duty_director": Level.PROBLEM,
        "smtp": Level.PROBLEM,
        "smtp_security": Level.WARNING,
        "public_url": Level.WARNING,
        "secret_key": Level.WARNING,
    }
    assert [finding.name for finding in found if finding.level is not Level.OK and not finding.hint] == []


@pytest.mark.parametrize(
    ("ahead", "level"), [(2.0, Level.OK), (2.1, Level.WARNING), (-2.0, Level.OK), (-2.1, Level.WARNING)]
)
def test_clocks_may_differ_by_two_seconds(ahead: float, level: Level) -> None:
    inspection = replace(WELL, clock_ahead=timedelta(seconds=ahead))
    assert levels(replace(HEALTHY, inspection=inspection))["clock"] is level


def test_what_a_program_drops_because_it_was_told_to_is_no_finding() -> None:
    tally = Tally(1, lost={"sample_rate/error": 9, "before_send/error": 1, "queue_overflow/transaction": 4})
    assert "client_losses" not in levels(
        replace(HEALTHY, inspection=replace(WELL, intake=IntakeCondition(NOW, (tally,))))
    )


def test_a_ledger_that_was_never_compared_matters_once_there_is_something_in_it() -> None:
    empty = replace(WELL, intake=IntakeCondition(None, ()))
    assert "intake_ledger_compared" not in levels(replace(HEALTHY, inspection=empty))
    unseen = replace(WELL, intake=replace(WELL.intake, checked_to=None))
    assert levels(replace(HEALTHY, inspection=unseen))["intake_ledger_compared"] is Level.WARNING


def test_a_duty_reached_by_mail_alone_needs_a_mail_server() -> None:
    facts = replace(HEALTHY, settings=settings(smtp_host=None), smtp_answer=None)
    assert levels(facts)["duty_on_call"] is Level.PROBLEM
    hooked = replace(WELL, duty_holders=tuple(replace(holder, channels=["webhook"]) for holder in HOLDERS))
    assert levels(replace(facts, inspection=hooked))["duty_on_call"] is Level.OK


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_password_may_travel_plainly_within_the_machine(host: str) -> None:
    plain = settings(smtp_host=host, smtp_security="none", smtp_password="p")
    assert "smtp_security" not in levels(replace(HEALTHY, settings=plain))


def test_without_a_database_the_rest_is_still_looked_at() -> None:
    facts = Facts(settings(), unreachable=Refusal(Code.UNAVAILABLE, "down", "start it"), smtp_answer="250 hello")
    assert levels(facts)["database"] is Level.PROBLEM
    assert levels(facts)["smtp"] is Level.OK


def test_the_doctor_looks_at_the_real_thing(fresh_cli: Cli) -> None:
    cli = fresh_cli
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for name, value in (("HOST", "127.0.0.1"), ("PORT", str(port)), ("SECURITY", "none")):
        cli.patch.setenv(f"TOCSIN_SMTP_{name}", value)
    answer = cli("doctor", "--json")
    assert answer.code == 1
    found = {finding["name"]: finding for finding in answer.json["findings"]}
    assert {name for name, finding in found.items() if finding["level"] == "problem"} == {"no_worker", "smtp"}
    for name in ("database", "schema", "database_role", "clock", "tallies", "duty_on_call", "settings"):
        assert found[name]["level"] == "ok", found[name]
    cli.sql("INSERT INTO tocsin.incident_tallies VALUES ('CLOSED', 'LOW', 5)")
    cli.patch.setenv("TOCSIN_DATABASE_URL", cli.superuser)
    told = cli("doctor").out
    assert "problem  The counter of CLOSED LOW incidents says 5, not 0." in told
    assert "is a superuser" in told
    assert "         → " in told


def test_that_nobody_watches_from_outside_or_hears_nothing_is_told() -> None:
    assert levels(replace(HEALTHY, settings=settings(watchdog_url=None)))["watchdog_url"] is Level.WARNING

    def with_calls(calls: Calls | None) -> Mapping[str, Level]:
        condition = replace(WELL.condition, watchdog=calls)
        return levels(replace(HEALTHY, inspection=replace(WELL, condition=condition)))

    assert with_calls(None)["watchdog_called"] is Level.WARNING
    held_back = with_calls(Calls(NOW, NOW, "2 jobs were set aside after failing.", None, 0, None))
    assert (held_back["watchdog_called"], held_back["watchdog_withheld"]) == (Level.OK, Level.WARNING)
