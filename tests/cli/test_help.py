"""Every command teaches: what it does, an example, what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tocsin.cli.main import command_line, main


def _all(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _all(child, (*path, name))


ALL = dict(_all(command_line()))


def test_the_contract_commands_are_there() -> None:
    top = {path[0] for path in ALL if len(path) == 1}
    assert top >= {"up", "demo", "serve", "worker", "migrate", "doctor", "report", "incidents", "users", "tokens"}
    assert top >= {"projects", "oncall", "policies", "verify", "version"}
    steps = {path[1] for path in ALL if len(path) == 2 and path[0] == "incidents"}
    workflow = {"open", "ack", "investigate", "root-cause", "resolve", "close", "escalate", "severity", "note"}
    assert steps == workflow | {"list", "show", "reports", "why", "pages", "report"}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_says_what_it_does_with_an_example_and_what_comes_next(path: tuple[str, ...]) -> None:
    text = ALL[path].help or ""
    assert text.strip()
    example = text.partition("Example:")[2]
    assert " ".join(("tocsin", *path)) in example, "an example that calls this very command"
    assert "Next:" in example


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    unexplained = [parameter.name for parameter in ALL[path].params if not parameter.help]
    assert unexplained == []


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_is_printed_in_lines_that_fit(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"Usage: {' '.join(('tocsin', *path))}" in printed.out


@pytest.mark.parametrize("path", [path for path in ALL if hasattr(ALL[path], "commands")], ids=" ".join)
def test_the_list_of_commands_cuts_no_sentence(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    main([*path, "--help"])
    listed = capsys.readouterr().out.partition("\nCommands:")[2]
    assert "..." not in listed


def test_nothing_asked_for_is_wrong_usage_and_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    printed = capsys.readouterr()
    assert "Usage: tocsin" in printed.out + printed.err
