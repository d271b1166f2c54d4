"""The one place that says why something was not done, and with which exit code."""

from __future__ import annotations

import os
import pty
import select
import subprocess

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import tocsin
from tests.cli.conftest import COMMAND, Cli, environment
from tocsin.app import read_incidents
from tocsin.app.projects import dsn


def test_the_version_is_printed(idle_cli: Cli) -> None:
    assert idle_cli("--version").out == f"tocsin {tocsin.__version__}\n"
    assert idle_cli("version").out == f"tocsin {tocsin.__version__}\n"
    assert idle_cli("version", "--json").json == {"version": tocsin.__version__}


@pytest.mark.parametrize(
    "wrong", [["incidents", "lst"], ["nothing"], ["incidents", "show"], ["up", "--port", "x"], ["--bad"]]
)
def test_wrong_usage_is_two_with_one_line_that_names_the_help(idle_cli: Cli, wrong: list[str]) -> None:
    answer = idle_cli(*wrong)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "--help`" in answer.err


@pytest.mark.parametrize(
    ("value", "said"), [("x", "must be a whole number"), ("0", "must be at least 1"), ("999999", "must be at most 200")]
)
def test_an_option_that_is_wrong_says_what_it_must_be(idle_cli: Cli, value: str, said: str) -> None:
    answer = idle_cli("incidents", "list", "--limit", value)
    assert (answer.code, answer.err) == (
        2,
        f"tocsin: Invalid value for '--limit': {said}. See `tocsin incidents list --help`.\n",
    )


def test_wrong_usage_is_told_in_json_where_json_was_asked_for(idle_cli: Cli) -> None:
    answer = idle_cli("incidents", "list", "--limit", "none", "--json")
    assert (answer.code, answer.problem["code"]) == (2, "USAGE")


def test_an_argument_that_is_no_text_is_wrong_usage(idle_cli: Cli) -> None:
    assert idle_cli("incidents", "note", "1", "\udcff").code == 2


def test_a_database_that_cannot_be_reached_is_told_in_one_line(idle_cli: Cli) -> None:
    for arguments in (["incidents", "list"], ["migrate", "--check"], ["verify", "--db"]):
        answer = idle_cli(*arguments)
        assert (answer.code, answer.out) == (1, ""), arguments
        assert answer.err.startswith("tocsin: The database cannot be used: "), arguments
        assert answer.err.count("\n") == 1, arguments


def test_an_unreadable_database_url_is_refused_without_repeating_its_password(idle_cli: Cli) -> None:
    idle_cli.patch.setenv("TOCSIN_DATABASE_URL", "postgres//user:hunter2@host")
    answer = idle_cli("incidents", "list")
    assert (answer.code, "hunter2" in answer.err, "postgresql://" in answer.err) == (1, False, True)


def test_wrong_settings_are_told_together(idle_cli: Cli) -> None:
    idle_cli.patch.setenv("TOCSIN_PORT", "x")
    idle_cli.patch.setenv("TOCSIN_SECRET_KEY", "short")
    answer = idle_cli("incidents", "list")
    assert answer.code == 1
    assert "TOCSIN_PORT" in answer.err
    assert "TOCSIN_SECRET_KEY" in answer.err
    assert idle_cli("doctor", "--json").json["findings"][0]["level"] == "problem"


def test_an_embedded_database_that_was_never_made_is_not_made_by_looking(idle_cli: Cli) -> None:
    idle_cli.patch.delenv("TOCSIN_DATABASE_URL")
    data = idle_cli.directory / "data"
    idle_cli.patch.setenv("TOCSIN_DATA_DIR", str(data))
    answer = idle_cli("incidents", "list")
    assert answer.code == 1
    assert "`tocsin up`" in answer.err
    assert "`tocsin migrate`" in answer.err
    assert idle_cli("migrate", "--check").code == 1
    assert not data.exists()


def test_what_nobody_foresaw_is_one_line_and_a_traceback_only_when_asked_for(cli: Cli) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("bug")

    cli.patch.setattr(read_incidents, "list_incidents", broken)
    answer = cli("incidents", "list")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert "ZeroDivisionError: bug" in answer.err
    assert "tocsin --debug" in answer.err
    assert cli("incidents", "list", "--json").problem["code"] == "INTERNAL"
    assert "Traceback" in cli("--debug", "incidents", "list").err


def test_migrate_says_what_is_missing_and_applies_it_once(cli: Cli) -> None:
    assert cli.done("migrate", "--check").out == "The schema is current.\n"
    assert cli.done("migrate", "--json").json == {"applied": []}


@pytest.mark.slow
def test_what_an_administrator_is_handed_hardens_the_schema(fresh_cli: Cli) -> None:
    fresh_cli.sql(
        "SELECT tocsin_guard.suspend(); DROP EVENT TRIGGER tocsin_difference; DROP EVENT TRIGGER tocsin_rewrite;"
        " DROP EVENT TRIGGER tocsin_index; DROP SCHEMA tocsin_guard CASCADE"
    )
    assert "The schema is not hardened" in fresh_cli("doctor").out
    assert "The schema is not hardened" in fresh_cli.done("verify", "--db").out
    printed = fresh_cli.done("migrate", "--print-hardening").out
    assert fresh_cli.done("migrate", "--print-hardening", "--json").json == {"hardening": printed}
    for _ in range(2):
        with psycopg.connect(fresh_cli.superuser, autocommit=True) as connection:
            connection.execute(printed.encode())
        assert "the schema is hardened" in fresh_cli("doctor").out
    assert "not hardened" not in fresh_cli.done("verify", "--db").out


@pytest.mark.slow
def test_a_schema_that_is_behind_stops_everything_but_migrate(fresh_cli: Cli) -> None:
    fresh_cli.sql("SELECT tocsin_guard.suspend()")
    fresh_cli.sql("DROP SCHEMA tocsin CASCADE")
    for arguments in (["incidents", "list"], ["report", "--severity", "HIGH", "--message", "x"], ["verify", "--db"]):
        refused = fresh_cli(*arguments)
        assert (refused.code, "`tocsin migrate`" in refused.err) == (1, True), arguments
    behind = fresh_cli("migrate", "--check", "--json")
    assert (behind.code, behind.json["current"]) == (1, False)
    assert fresh_cli.done("migrate").out.startswith("applied 0001_core\n")
    assert fresh_cli.done("migrate", "--check").code == 0
    nobody = fresh_cli("incidents", "list")
    assert (nobody.code, "no user yet" in nobody.err) == (1, True)


def test_a_sign_in_that_inherits_nothing_is_enough_and_one_without_the_role_is_told_what_it_needs(cli: Cli) -> None:
    cli.sql("CREATE ROLE cli_sign_in LOGIN NOINHERIT; GRANT tocsin_app TO cli_sign_in")
    try:
        cli.patch.setenv("TOCSIN_DATABASE_URL", make_conninfo(cli.superuser, user="cli_sign_in"))
        cli.done("incidents", "list")
        cli.sql("REVOKE tocsin_app FROM cli_sign_in")
        refused = cli("incidents", "list")
        assert (refused.code, "GRANT tocsin_app" in refused.err) == (1, True)
    finally:
        cli.sql("DROP ROLE cli_sign_in")


@pytest.mark.slow
def test_in_a_process_of_its_own_the_answer_is_json_and_nothing_else(cli: Cli) -> None:
    answer = cli.process("incidents", "list", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert "incidents" in answer.json
    refused = cli.process("incidents", "ack", "990", "--notes", "x", "--json")
    assert (refused.code, refused.out, refused.problem["code"]) == (1, "", "NOT_FOUND")


@pytest.mark.slow
def test_a_reader_who_has_seen_enough_is_no_failure(cli: Cli) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        for arguments in (["version"], ["incidents", "list"], ["incidents", "list", "--json"]):
            cli.done("incidents", "open", "--severity", "HIGH", "--title", "It broke")
            ended = subprocess.run(
                [*COMMAND, *arguments],
                env=environment(cli.variables),
                cwd=cli.directory,
                stdout=write,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                timeout=60,
                check=False,
            )
            assert (ended.returncode, ended.stderr) == (0, b"")
    finally:
        os.close(write)


def _at_terminal(cli: Cli, arguments: list[str], answers: bytes, **variables: str) -> tuple[int, str]:
    """Call it at a terminal and type; return the exit code and what stood on the screen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment({**cli.variables, "TERM": "xterm-256color", "COLUMNS": "120", **variables}),
        cwd=cli.directory,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as child:
        os.close(theirs)
        os.write(ours, answers)
        screen = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal is gone: the program has ended
                break
            screen += part
        code = child.wait(60)
    os.close(ours)
    return code, screen.decode()


@pytest.mark.slow
def test_at_a_terminal_a_missing_text_is_asked_for(cli: Cli) -> None:
    number = str(
        cli.done("incidents", "open", "--severity", "HIGH", "--title", "Q", "--json").json["incident"]["number"]
    )
    code, screen = _at_terminal(cli, ["incidents", "ack", number], b"typed at three in the morning\n")
    assert code == 0, screen
    assert "What are you doing about it" in screen
    assert cli.done("incidents", "show", number, "--json").json["ack"]["ackNotes"] == "typed at three in the morning"


@pytest.mark.slow
def test_colours_are_for_terminals_that_want_them(cli: Cli) -> None:
    cli.done("incidents", "open", "--severity", "CRITICAL", "--title", "Red")
    code, screen = _at_terminal(cli, ["incidents", "list"], b"")
    assert (code, "\x1b[" in screen) == (0, True)
    assert "31m" in screen
    code, screen = _at_terminal(cli, ["incidents", "list"], b"", NO_COLOR="1")
    assert (code, "31m" in screen) == (0, False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8420", "http://KEY@127.0.0.1:8420/1"),
        ("https://example.org/tocsin/", "https://KEY@example.org/tocsin/1"),
        ("http://[::1]:8420", "http://KEY@[::1]:8420/1"),
    ],
)
def test_the_dsn_is_the_url_with_key_and_project(url: str, expected: str) -> None:
    assert dsn(url, "KEY", 1) == expected
