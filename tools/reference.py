"""Writes the generated reference pages: `python -m tools.reference`. A test fails when one is out of date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from tocsin.cli.main import command_line
from tocsin.errors import Code
from tocsin.settings import Settings
from tocsin.web.problems import KINDS

FOLDER = Path(__file__).parent.parent / "docs" / "reference"


def settings_page() -> str:
    """Return the page of settings."""
    lines = [
        "# Settings",
        "",
        "Environment variables, or the same names in `.env`; without prefix and in lower case in `tocsin.toml`.",
        "Both files are read from the directory where Tocsin starts. The environment wins over `.env` and TOML.",
        "All wrong values are reported together at start.",
        "",
        "For the command line alone: `TOCSIN_ACTOR` (who acts) and `TOCSIN_KEY` (the key for `tocsin report`).",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `TOCSIN_{name.upper()}` | {_default(field)} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "`/var/lib/tocsin` for root, else the user's data directory"
    return "" if field.default in (None, ()) else f"`{field.default}`"


def problems_page() -> str:
    """Return the page of problem codes."""
    lines = [
        "# Problems",
        "",
        "Errors are `application/problem+json` (RFC 9457). Match on `code`: `detail` and `hint` are for people.",
        "",
        "| code | status | title |",
        "|---|---|---|",
        *(f"| `{code.value}` | {KINDS[code].status} | {KINDS[code].title} |" for code in Code),
    ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of commands."""
    root = command_line()
    lines = [
        "# Commands",
        "",
        "Exit codes: 0 done, 1 refused or failed (one line says why and what to do), 2 wrong usage, 130 interrupted.",
        "`tocsin COMMAND --help` shows the same with every option explained.",
    ]
    for path, command in _walk("tocsin", root):
        options = ", ".join(
            f"`{'` / `'.join(item.opts)}`" for item in command.params if item.param_type_name == "option"
        )
        lines += ["", f"## {path}", "", "```", *_help_lines(command), "```"]
        if options:
            lines += ["", f"Options: {options}."]
    return "\n".join(lines) + "\n"


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield f"{path} {name}", child
        yield from _walk(f"{path} {name}", child)


def _help_lines(command: Any) -> list[str]:
    lines = (command.help or "").replace("\b", "").splitlines()
    return [line.rstrip() for index, line in enumerate(lines) if line.strip() or (index and lines[index - 1].strip())]


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "problems.md": problems_page,
    "commands.md": commands_page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
