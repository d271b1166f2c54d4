"""`tocsin policies simulate` and `tocsin oncall forecast`: what people and programs are told, and what is refused."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli

EVE = ("policies", "simulate", "--incident-at", "2026-12-24T02:00", "--severity", "critical")


def test_a_simulation_is_told_in_the_words_of_why(cli: Cli) -> None:
    answer = cli(*EVE, "--zone", "Europe/Vienna", "--ack-after", "2h", "--root-cause-after", "5h")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == (
        "A simulation: nothing is written, nobody is paged. An incident CRITICAL at 2026-12-24 01:00:00 UTC"
        " follows the policy default."
    )
    assert "2026-12-24 01:00:00 UTC  INCIDENT_OPENED  the first alert" in lines
    assert "      email ada@example.org  OWED, due 2026-12-24 01:00:00 UTC" in lines
    assert "2026-12-24 03:00:00 UTC  NO_ACK_4HR  still nobody acknowledged  (not taken, and never will be)" in lines
    assert lines[-1] == "Nothing more until 2026-12-27 01:00:00 UTC."


def test_a_program_gets_the_same(cli: Cli) -> None:
    found = cli(*EVE, "--json").json
    assert (found["policy"], found["cutOff"], found["incidentAt"]) == ("default", False, "2026-12-24T02:00:00Z")
    assert [step["reason"] for step in found["steps"]] == [
        "INCIDENT_OPENED",
        "NO_ACK_1HR",
        "NO_ACK_4HR",
        "NO_ROOT_CAUSE_24HR",
    ]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (("--incident-at", "tomorrow"), 2),
        (("--incident-at", "0001-01-01T00:00", "--zone", "Europe/Vienna"), 2),
        (("--incident-at", "0001-01-01T00:00+05:00"), 2),
        (("--incident-at", "1999-01-01T00:00"), 1),
        (("--zone", "Europe/Nowhere"), 1),
        (("--ack-after", "soon"), 2),
        (("--days", "61"), 2),
        (("--root-cause-after", "1h"), 1),
        (("--policy", "none"), 1),
        (("--project", "none"), 1),
    ],
)
def test_what_cannot_be_imagined_is_refused_in_one_line(cli: Cli, said: tuple[str, ...], code: int) -> None:
    answer = cli(*EVE, *said)
    assert answer.code == code, answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_the_forecast_tells_when_nobody_is_reached_and_who_is_hard_to_reach(fresh_cli: Cli) -> None:
    cli = fresh_cli
    cli.patch.setenv("TOCSIN_SMTP_HOST", "mail.example.org")
    told = cli("oncall", "forecast").out
    assert "UNVERIFIED" in told
    assert "is reached by email, and nobody verified that it works" in told
    cli.sql("UPDATE tocsin.contact_methods SET verified_at = created_at")
    assert cli("oncall", "forecast").out.startswith("Every step of 1 policy reaches somebody until ")
    cli.sql("DELETE FROM tocsin.duties WHERE duty = 'DIRECTOR'")
    told = cli("oncall", "forecast", "--days", "30").out
    assert "duty DIRECTOR: nobody holds it" in told
    (weak,) = cli("oncall", "forecast", "--json").json["weaknesses"]
    assert (weak["reason"], weak["reached"], weak["policy"]) == ("NO_ROOT_CAUSE_24HR", "NOBODY", "default")
    assert cli("oncall", "forecast", "--days", "61").code == 2


def test_the_doctor_says_when_a_policy_has_come_to_reach_nobody(fresh_cli: Cli) -> None:
    cli = fresh_cli
    cli.patch.setenv("TOCSIN_SMTP_HOST", "127.0.0.1")
    cli.patch.setenv("TOCSIN_SMTP_PORT", "1")
    named = {one["name"]: one for one in cli("doctor", "--json").json["findings"]}
    assert named["unverified_contact"]["level"] == "warning"
    assert "policy_reaches_nobody" not in named
    cli.sql("DELETE FROM tocsin.contact_methods")
    named = {one["name"]: one for one in cli("doctor", "--json").json["findings"]}
    assert named["policy_reaches_nobody"]["level"] == "problem"
    assert "no superadmin can be reached either" in named["policy_reaches_nobody"]["message"]
