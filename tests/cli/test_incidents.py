"""The workflow from a terminal."""

from __future__ import annotations

import msgspec
import pytest

from tests.cli.conftest import Cli
from tests.conftest import ADMIN_EMAIL

STACK = {
    "severity": "HIGH",
    "type": "ValueError",
    "message": "no such order",
    "service": "shop",
    "fingerprint": ["orders"],
    "exceptions": [
        {
            "type": "KeyError",
            "message": "'1017'",
            "frames": [{"function": "lookup", "filename": "store.py", "line": 3}],
        },
        {
            "type": "ValueError",
            "message": "no such order",
            "frames": [
                {"function": "run", "filename": "framework.py", "line": 900, "inApp": False},
                {"function": "checkout", "filename": "api.py", "line": 17, "inApp": True},
                {"function": "find", "filename": "orders.py", "line": 42, "sourceLine": "orders[id]", "inApp": True},
                {"function": "loads", "filename": "json.py", "line": 5, "inApp": False},
            ],
        },
    ],
}


def opened(cli: Cli, title: str = "It broke", severity: str = "HIGH") -> str:
    """Open an incident by hand; return its number."""
    answer = cli.done("incidents", "open", "--severity", severity, "--title", title, "--json")
    return str(answer.json["incident"]["number"])


def reported(cli: Cli, **report: object) -> str:
    """Report an error on standard input; return the number of its incident."""
    (told,) = cli.done("report", "--json", stdin=msgspec.json.encode(report).decode()).json["reports"]
    return str(told["incident"]).removeprefix("INC-")


def worked(cli: Cli, number: str) -> None:
    """Take an incident to RESOLVED."""
    cli.done("incidents", "ack", number, "--notes", "on it")
    cli.done(
        "incidents", "root-cause", number, "--summary", "why", "--category", "configuration", "--remediation", "fix"
    )
    cli.done("incidents", "resolve", number, "--summary", "over")


def test_an_incident_lives_its_whole_life_and_each_answer_names_the_next_step(cli: Cli) -> None:
    said = cli.done("incidents", "open", "--severity", "high", "--title", "Carts are empty").out
    number = said.split()[0].removeprefix("INC-")
    assert f"INC-{number} is REPORTED, HIGH: Carts are empty" in said
    assert f'Next  tocsin incidents ack {number} --notes "' in said
    said = cli.done("incidents", "ack", number, "--notes", "Looking at the database").out
    assert "is ACKNOWLEDGED" in said
    assert f"Next  tocsin incidents root-cause {number} --summary" in said
    cause = ("--summary", "The pool was too small", "--category", "CONFIGURATION", "--remediation", "Raised it")
    said = cli.done("incidents", "root-cause", f"INC-{number}", *cause).out
    assert "is INVESTIGATING" in said
    assert f"Next  tocsin incidents resolve {number} --summary" in said
    said = cli.done("incidents", "resolve", number, "--summary", "Restarted", "--lessons", "Watch the pool").out
    assert "is RESOLVED" in said
    assert f"Next  tocsin incidents close {number} --follow-up" in said, "what was learned is known already"
    said = cli.done("incidents", "close", number, "--follow-up", "Alert on its use|ana|2026-12-01").out
    assert "is CLOSED" in said
    story = cli.done("incidents", "show", number).out
    for part in (
        "Looking at the database",
        "The pool was too small",
        "Watch the pool",
        "Alert on its use (ana)",
        "CLOSED",
    ):
        assert part in story


@pytest.mark.slow
def test_a_resolve_with_lessons_and_follow_ups_closes_at_once(cli: Cli) -> None:
    number = opened(cli)
    cli.done("incidents", "ack", number, "--notes", "on it")
    cli.done("incidents", "root-cause", number, "--summary", "w", "--category", "UNKNOWN", "--remediation", "f")
    whole = ("--lessons", "learned", "--follow-up", "one", "--follow-up", "two|ana")
    closed = cli.done("incidents", "resolve", number, "--summary", "over", *whole, "--json").json
    assert closed["incident"]["status"] == "CLOSED"
    detail = cli.done("incidents", "show", number, "--json").json
    assert detail["resolution"]["followUpActions"] == [{"title": "one"}, {"title": "two", "owner": "ana"}]


def test_a_step_out_of_order_is_refused_in_one_line_that_says_what_to_do(cli: Cli) -> None:
    number = opened(cli)
    refused = cli("incidents", "resolve", number, "--summary", "it went away")
    assert refused.code == 1
    assert refused.out == ""
    assert refused.err == (
        f"tocsin: Cannot resolve INC-{number}: nobody has acknowledged it."
        f" Acknowledge it first: `tocsin incidents ack {number}`.\n"
    )


def test_a_refusal_in_json_carries_the_code_and_what_belongs_to_it(cli: Cli) -> None:
    number = opened(cli)
    cli.done("incidents", "ack", number, "--notes", "on it")
    refused = cli("incidents", "ack", number, "--notes", "me too", "--json")
    assert refused.code == 1
    assert refused.out == ""
    assert refused.problem["code"] == "ALREADY_ACKNOWLEDGED"
    assert refused.problem["acknowledgedBy"]["name"] == "ada"


def test_closing_without_lessons_says_with_which_options_to_give_them(cli: Cli) -> None:
    number = opened(cli)
    worked(cli, number)
    refused = cli("incidents", "close", number)
    assert refused.code == 1
    assert "--lessons" in refused.err
    assert "--follow-up" in refused.err


@pytest.mark.parametrize("missing", [["ack", "1"], ["note", "1"], ["resolve", "1"], ["root-cause", "1"]])
def test_a_text_that_is_missing_in_a_pipe_is_wrong_usage(idle_cli: Cli, missing: list[str]) -> None:
    answer = idle_cli("incidents", *missing)
    assert answer.code == 2
    assert "no terminal to ask at" in answer.err


def test_an_incident_is_named_as_people_name_it(cli: Cli) -> None:
    number = opened(cli)
    incident_id = cli.done("incidents", "show", number, "--json").json["incident"]["id"]
    for reference in (f"INC-{number}", f"inc-{number}", f"#{number}", incident_id, incident_id.upper()):
        assert cli.done("incidents", "show", reference, "--json").json["incident"]["id"] == incident_id


@pytest.mark.parametrize("reference", ["first", "-1", "9" * 19, "9" * 30, "", "INC-", "٤٢"])
def test_what_names_no_incident_is_wrong_usage(idle_cli: Cli, reference: str) -> None:
    assert idle_cli("incidents", "show", "--", reference).code == 2


def test_an_incident_that_is_not_there_is_a_refusal(cli: Cli) -> None:
    for reference in ("770077", str(2**63 - 1), "019a0000-0000-7000-8000-000000000000"):
        refused = cli("incidents", "show", reference)
        assert refused.code == 1
        assert "`tocsin incidents list`" in refused.err


@pytest.mark.slow
def test_the_list_filters_and_goes_on_with_its_cursor(fresh_cli: Cli) -> None:
    cli = fresh_cli
    for severity in ("HIGH", "CRITICAL", "MEDIUM"):
        opened(cli, f"{severity} thing", severity)
    first = cli.done("incidents", "list", "--limit", "2", "--json").json
    assert [row["number"] for row in first["incidents"]] == [3, 2]
    assert first["pagination"]["total"] == 3
    rest = cli.done("incidents", "list", "--cursor", str(first["pagination"]["next"]), "--json").json
    assert [row["number"] for row in rest["incidents"]] == [1]
    assert rest["pagination"]["next"] is None
    severe = cli.done("incidents", "list", "--severity", "high", "--severity", "CRITICAL", "--json").json
    assert [row["number"] for row in severe["incidents"]] == [2, 1]
    worked(cli, "1")
    cli.done("incidents", "close", "1", "--lessons", "l", "--follow-up", "f")
    assert len(cli.done("incidents", "list", "--open", "--json").json["incidents"]) == 2
    closed = cli.done("incidents", "list", "--status", "closed", "--json").json
    assert [row["number"] for row in closed["incidents"]] == [1]
    assert cli.done("incidents", "list", "--status", "closed", "--open", "--json").json["incidents"] == []


@pytest.mark.parametrize("wrong", [["--limit", "0"], ["--limit", "201"], ["--cursor", "9" * 30], ["--status", "OPEN"]])
def test_a_list_that_cannot_be_meant_is_wrong_usage(idle_cli: Cli, wrong: list[str]) -> None:
    assert idle_cli("incidents", "list", *wrong).code == 2


def test_the_list_in_a_pipe_is_plain_columns_with_whole_titles(cli: Cli) -> None:
    title = "T" * 190
    number = opened(cli, title)
    header, row = cli.done("incidents", "list", "--limit", "1").out.splitlines()
    assert header.split() == ["INCIDENT", "SEVERITY", "STATUS", "AGE", "SEEN", "WHO", "TITLE"]
    assert row.split()[0] == f"INC-{number}"
    assert row.endswith(title)
    assert "\x1b" not in header + row


def test_the_story_shows_the_first_stack_with_the_applications_own_frames_first(cli: Cli) -> None:
    number = reported(cli, **STACK)
    story = cli.done("incidents", "show", number).out
    places = [line.strip().split()[0] for line in story.splitlines() if " in " in line and ".py" in line]
    assert places == ["orders.py:42", "api.py:17", "json.py:5", "framework.py:900", "store.py:3"]
    assert "caused by KeyError: '1017'" in story
    assert "in service shop" in story
    assert f"by email {ADMIN_EMAIL}: PENDING, not tried yet" in story


def test_a_failure_that_came_back_shows_what_was_learned_last_time(cli: Cli) -> None:
    cli.patch.setenv("TOCSIN_DEDUP_WINDOW", "0")
    failure = {"severity": "HIGH", "type": "Slow", "message": "orders take 9 s"}
    first = reported(cli, **failure)
    worked(cli, first)
    cli.done("incidents", "close", first, "--lessons", "Index the orders", "--follow-up", "Add the index|noor")
    second = reported(cli, **failure)
    story = cli.done("incidents", "show", second).out
    assert f"what was learned last time (INC-{first})" in story
    assert "lesson: Index the orders" in story
    assert "to do: Add the index (noor)" in story
    shown = cli.done("incidents", "show", second, "--json").json
    assert shown["previous"]["resolution"]["lessonsLearned"] == "Index the orders"


def test_what_a_client_sent_cannot_drive_the_terminal(cli: Cli) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[red]\u202etxet\x9b31m"
    number = reported(cli, severity="HIGH", type="Evil", message=evil)
    for arguments in (["list"], ["show", number], ["list", "--json"], ["show", number, "--json"]):
        said = cli.done("incidents", *arguments).out
        assert not set(said) & set("\x1b\x07\x9b\u202e"), arguments
    assert "[red]" in cli.done("incidents", "list").out, "and nothing of it is taken for markup"


def test_escalating_by_hand_pages_the_named_person(cli: Cli) -> None:
    number = opened(cli)
    cli.done("users", "add", "noor@example.org", "--name", "Noor")
    said = cli.done(
        "incidents", "escalate", number, "--to", "noor@example.org", "--reason", "knows billing", "--json"
    ).json
    detail = cli.done("incidents", "show", number, "--json").json
    assert [row["id"] for row in detail["escalations"]] == [said["escalationId"]]
    assert "MANUAL_ESCALATION to Noor" in cli.done("incidents", "show", number).out
    refused = cli("incidents", "escalate", number, "--to", "nobody@example.org", "--reason", "x")
    assert (refused.code, "no active user" in refused.err) == (1, True)


def test_severity_note_and_investigation_are_told_in_the_timeline(cli: Cli) -> None:
    number = opened(cli)
    cli.done("incidents", "severity", number, "critical", "--reason", "Payments fail too")
    cli.done("incidents", "ack", number, "--notes", "on it")
    cli.done("incidents", "investigate", number)
    cli.done("incidents", "note", number, "The vendor confirms")
    story = cli.done("incidents", "show", number).out
    assert "SEVERITY_CHANGED by ada  (reason: Payments fail too; from: HIGH; to: CRITICAL)" in story
    assert "INVESTIGATION_STARTED" in story
    assert "text: The vendor confirms" in story
    assert "opened as HIGH, now CRITICAL" in story


def test_the_root_cause_may_say_when_it_was_verified(cli: Cli) -> None:
    number = opened(cli)
    cli.done("incidents", "ack", number, "--notes", "on it")
    cause = ("--summary", "w", "--category", "UNKNOWN", "--remediation", "f", "--verified-at")
    assert cli("incidents", "root-cause", number, *cause, "yesterday").code == 2
    made = cli.done("incidents", "root-cause", number, *cause, "2026-03-01T04:00:00+01:00", "--json").json
    recorded = cli.done("incidents", "show", number, "--json").json["rootCause"]
    assert recorded["id"] == made["rootCauseId"]
    assert recorded["verifiedAt"] == "2026-03-01T03:00:00Z"


def test_a_follow_up_that_cannot_be_read_changes_nothing(cli: Cli) -> None:
    number = opened(cli)
    worked(cli, number)
    for follow_up, code in (("a|b|c|d", 2), ("", 1), ("a||soon", 1)):
        assert cli("incidents", "close", number, "--lessons", "l", "--follow-up", follow_up).code == code
    assert cli.done("incidents", "show", number, "--json").json["incident"]["status"] == "RESOLVED"


def test_a_recorded_report_can_be_made_an_incident_by_hand(cli: Cli) -> None:
    told = cli.done("report", "--severity", "LOW", "--message", "odd", "--json").json["reports"][0]
    assert (told["outcome"], told["incident"]) == ("recorded", None)
    ((error_id,),) = cli.sql("SELECT id FROM tocsin.audit_logs WHERE event_id = %s", told["eventId"])
    given = ("incidents", "open", "--severity", "HIGH", "--title", "Odd indeed", "--error", str(error_id))
    number = cli.done(*given, "--json").json["incident"]["number"]
    refused = cli(*given)
    assert (refused.code, f"INC-{number}" in refused.err) == (1, True)


def test_pages_of_an_incident_and_of_a_person_are_shown(cli: Cli) -> None:
    number = opened(cli)
    shown = cli.done("incidents", "pages", number).out
    assert "INCIDENT_OPENED" in shown
    assert "PENDING" in shown
    (page,) = cli.done("incidents", "pages", number, "--json").json["notifications"]
    assert (page["incidentNumber"], page["address"], page["attempts"]) == (int(number), ADMIN_EMAIL, [])
    for more in ((), ("--user", ADMIN_EMAIL), ("--state", "pending"), ("--since", "1h"), ("--since", "2020-01-01")):
        assert cli.done("oncall", "pages", "--json", "--limit", "1", *more).json["notifications"] == [page], more
    assert cli.done("oncall", "pages", "--json", "--state", "FAILED").json["notifications"] == []
    assert "--cursor" in cli.done("oncall", "pages", "--since", "999999d", "--limit", "1").err or number == "1"
    assert cli("oncall", "pages", "--since", "soon").code == 2
    assert cli("oncall", "pages", "--user", "nobody@example.org").code == 1
    assert cli("incidents", "pages", "99").code == 1
