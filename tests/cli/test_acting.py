"""Who acts, and that every call is recorded before it is answered."""

from __future__ import annotations

import os
import pwd

from tests.cli.conftest import Cli
from tests.conftest import ADMIN_EMAIL

SECOND = "zoe@example.org"


def opened(cli: Cli) -> str:
    """Open an incident by hand; return its number."""
    answer = cli.done("incidents", "open", "--severity", "HIGH", "--title", "It broke", "--json")
    return str(answer.json["incident"]["number"])


def accesses(cli: Cli) -> list[tuple[object, ...]]:
    """Return what the access log holds: who, what, to what, with which outcome; oldest first."""
    return cli.sql(
        "SELECT u.email, a.action, a.target, a.status, a.outcome FROM tocsin.audit_access_log a"
        " LEFT JOIN tocsin.users u ON u.id = a.user_id ORDER BY a.accessed_at, a.id"
    )


def test_the_only_superadmin_acts_without_being_named(cli: Cli) -> None:
    number = opened(cli)
    cli.done("incidents", "ack", number, "--notes", "on it")
    assert cli.done("incidents", "show", number, "--json").json["ack"]["ackByName"] == "ada"


def test_with_two_superadmins_one_must_be_named(fresh_cli: Cli) -> None:
    cli = fresh_cli
    cli.done("users", "add", SECOND, "--role", "superadmin")
    unclear = cli("incidents", "list")
    assert unclear.code == 2
    assert "--as EMAIL" in unclear.err
    assert "TOCSIN_ACTOR" in unclear.err
    cli.done("incidents", "list", "--as", SECOND.upper())
    cli.patch.setenv("TOCSIN_ACTOR", SECOND)
    cli.done("incidents", "list")
    assert accesses(cli)[-1][0] == SECOND


def test_nobody_acts_as_somebody_who_is_not_there_or_shut_out(cli: Cli) -> None:
    assert cli("incidents", "list", "--as", SECOND).code == 1
    cli.done("users", "add", SECOND)
    cli.done("users", "deactivate", SECOND)
    refused = cli("incidents", "list", "--as", SECOND, "--json")
    assert refused.code == 1
    assert refused.problem["code"] == "UNAUTHORIZED"


def test_a_role_that_may_only_read_is_refused_and_told_what_it_needs(cli: Cli) -> None:
    number = opened(cli)
    cli.done("users", "add", "third@example.org", "--role", "auditor")
    cli.done("incidents", "show", number, "--as", "third@example.org")
    refused = cli("incidents", "ack", number, "--notes", "x", "--as", "third@example.org")
    assert refused.code == 1
    assert "superadmin, responder" in refused.err
    assert cli("users", "add", "new@example.org", "--as", "third@example.org").code == 1


def test_every_access_is_recorded_the_refused_ones_too(fresh_cli: Cli) -> None:
    cli = fresh_cli
    cli.done("incidents", "list")
    cli("incidents", "show", "7")
    cli("incidents", "list", "--as", SECOND)
    cli.done("users", "add", SECOND, "--role", "superadmin")
    cli("policies", "list")
    assert accesses(cli) == [
        (ADMIN_EMAIL, "incidents list", "", 0, "OK"),
        (ADMIN_EMAIL, "incidents show", "INC-7", 1, "NOT_FOUND"),
        (None, "incidents list", "", 1, "UNAUTHORIZED"),
        (ADMIN_EMAIL, "users add", SECOND, 0, "OK"),
        (None, "policies list", "", 2, "UNAUTHORIZED"),
    ]
    ((credential, address),) = cli.sql("SELECT DISTINCT credential, client_address FROM tocsin.audit_access_log")
    assert (credential, address) == (f"cli:{pwd.getpwuid(os.getuid()).pw_name}", "cli")


def test_a_refused_step_leaves_its_access_and_nothing_else(cli: Cli) -> None:
    number = opened(cli)
    cli("incidents", "close", number, "--lessons", "l", "--follow-up", "f")
    assert accesses(cli)[-1][1:] == ("incidents close", f"INC-{number}", 1, "NOT_RESOLVED")
    assert len(cli.done("incidents", "show", number, "--json").json["timeline"]) == 1


def test_an_access_that_cannot_be_recorded_is_not_answered(cli: Cli) -> None:
    number = opened(cli)
    cli.sql("SELECT tocsin_guard.suspend()")
    cli.sql("REVOKE INSERT ON tocsin.audit_access_log FROM tocsin_app")
    unanswered = cli("incidents", "list")
    assert unanswered.code == 1
    assert unanswered.out == ""
    assert cli("incidents", "ack", number, "--notes", "on it").code == 1
    cli.sql("GRANT INSERT ON tocsin.audit_access_log TO tocsin_app")
    cli.sql("SELECT tocsin_guard.resume()")
    assert cli.done("incidents", "show", number, "--json").json["incident"]["status"] == "REPORTED", "not half of it"
