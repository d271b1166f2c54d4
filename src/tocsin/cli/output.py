"""What a call says: tables and words for people, JSON for programs; plain and quiet where no terminal is.

Titles, messages and names come from whoever sent them: they are cleaned here, so that nobody's error message can
drive somebody else's terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from uuid import UUID

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Line = str | Text
_SPACES = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# C0 and C1 controls (escape sequences begin there), and what turns the direction of text around.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_STYLES = {
    "CRITICAL": "bold red",
    "HIGH": "red",
    "MEDIUM": "yellow",
    "REPORTED": "bold yellow",
    "RESOLVED": "green",
    "CLOSED": "dim",
}


class ReaderGoneError(Exception):
    """Who read our answer has seen enough, as `head` does. No OSError: typer would call that a failure."""


class _PipeConsole(Console):
    """Says that the reader of the answer is gone; where nobody reads the notes, they are left out."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        if not self.stderr:
            raise ReaderGoneError from None


def _console(*, stderr: bool) -> Console:
    return _PipeConsole(stderr=stderr, highlight=False, markup=False, emoji=False)


@dataclass(slots=True)
class Call:
    """One call of the command line: how it answers, and in whose name it acts."""

    command: str = "tocsin"
    json: bool = False
    debug: bool = False
    actor_email: str | None = None
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    def say(self, *lines: Line) -> None:
        """Print lines on standard output. They are not broken: a command that is shown can be copied."""
        for line in lines:
            self.out.print(_cleaned(line), soft_wrap=True)

    def say_marked(self, mark: str, style: str, text: str) -> None:
        """Print a line that begins with a coloured mark."""
        self.say(Text.assemble((mark, style), " ", several_lines(text)))

    def note(self, *lines: Line) -> None:
        """Print lines that are about the answer, not part of it, on standard error."""
        for line in lines:
            self.err.print(_cleaned(line), soft_wrap=True)

    def answer(self, document: object, tell: Callable[[], None]) -> None:
        """Answer with the document (with --json), or in words."""
        if self.json:
            self.out.print(Text(as_json(document)), soft_wrap=True)
        else:
            tell()

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table: framed and coloured on a terminal, aligned columns in a pipe, whole lines in both."""
        if not self.out.is_terminal:
            self._columns([headers, *rows])
            return
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for position, header in enumerate(headers):
            shown.add_column(header, no_wrap=position == 0, overflow="fold")
        for row in rows:
            shown.add_row(*(Text(one_line(cell), style=_STYLES.get(cell, "")) for cell in row))
        self.out.print(shown)

    def _columns(self, rows: Sequence[Sequence[str]]) -> None:
        cleaned = [[one_line(cell) for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in cleaned) for column in range(len(cleaned[0]))]
        for row in cleaned:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """Give a function that shows what is being waited for; silent where standard error is no terminal."""
        if not self.err.is_terminal:
            yield _silent
            return
        with self.err.status("Starting…") as status:
            yield lambda text: status.update(one_line(text))

    @contextmanager
    def progress_bar(self, what: str) -> Iterator[Callable[[int, int], None] | None]:
        """Give a function (done, in all) that moves a bar; None where standard error is no terminal."""
        if not self.err.is_terminal:
            yield None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _silent(_text: str) -> None:
    return


def _cleaned(line: Line) -> Text:
    if isinstance(line, str):
        return Text(several_lines(line))
    return line


def one_line(text: str) -> str:
    """Return the text in one line that no terminal obeys."""
    return several_lines(_SPACES.sub(" ", text))


def several_lines(text: str) -> str:
    """Return the text, its lines kept, such that no terminal obeys it."""
    return _UNSAFE.sub("\ufffd", text.expandtabs(4).replace("\r\n", "\n"))


def styled(text: str, style: str = "") -> Text:
    """Return cleaned text in a style; severities and statuses bring their own."""
    return Text(several_lines(text), style=style or _STYLES.get(text, ""))


def as_json(document: object) -> str:
    """Return JSON in ASCII, so that no terminal and no locale can be hurt by it."""
    return json.dumps(plain_data(document), indent=2, ensure_ascii=True)


def plain_data(value: object) -> object:
    """Return a record as the API writes it: camelCase names, RFC 3339 times in UTC, bytes in hex."""
    if is_dataclass(value) and not isinstance(value, type):
        return {camel_case(one.name): plain_data(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    return value


def camel_case(name: str) -> str:
    """Return `created_at` as `createdAt`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def age(duration: timedelta) -> str:
    """Return a duration in its two largest units: `3 h 12 min`."""
    seconds = max(int(duration.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86_400
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def instant(moment: datetime) -> str:
    """Return an instant as people read it, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
