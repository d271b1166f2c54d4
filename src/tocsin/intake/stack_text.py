"""Stacks that arrive as text become exceptions and frames: Python's tracebacks, the traces of JavaScript and of Java.

What is not understood is left out; a text in which nothing is understood gives nothing, and its caller keeps the text.
Every line is looked at once, and no pattern can match the same text in two ways: time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from tocsin.domain.report import Frame, RaisedException, both_ends

MAX_STACK_CHARACTERS = 262_144
"""Of a longer text only the beginning is read (characters)."""
MAX_STACK_LINES = 1_000
"""Of more lines the first and the last halves are read: a runaway recursion fills the middle."""
MAX_LINE_CHARACTERS = 1_024

_PYTHON_START = "Traceback (most recent call last):"
_PYTHON_FRAME = re.compile(r'  File "([^"]*+)", line (\d{1,9}+)(?:, in (.*+))?')
_SOURCE_INDENTATION = "    "
_MARKERS = frozenset("~^ ")

_AT_START = re.compile(r"\s++at (?:async )?+(?:new )?+")
_JAVA_PLACE = re.compile(r"(?:[^\s()/]*+/)*+([^\s()/]++)\(([^():]*+)(?::(\d{1,9}+))?\)")
_NAMED_CALL = re.compile(r"([^()]*+)(?<= )\(([^()]++)\)")
_POSITION = re.compile(r":(\d{1,9})(?::\d{1,9})?$")
_AT_SIGN = re.compile(r"([^\s@]*+)@(\S{1,1000}):(\d{1,9}):\d{1,9}")
_CAUSED_BY = "Caused by: "
_TYPE = re.compile(r"[\w$][\w.$]*+")

_FOREIGN_PART = re.compile(r"[/\\]site-packages[/\\]|/dist-packages/|/lib/python|/node_modules/")
_FOREIGN_STARTS = ("<frozen ", "node:", "internal/", "<anonymous>")
_FOREIGN_MODULES = ("java.", "javax.", "jakarta.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala.")


class _Section(msgspec.Struct):
    """One exception of a text, while it is read."""

    frames: list[Frame] = msgspec.field(default_factory=list)
    said: str = ""


def read_stack(text: str, error_type: str, message: str) -> tuple[RaisedException, ...]:
    """Return the chain of exceptions that a text tells of, cause first; () if no frame is recognised.

    Args:
        text: as the language prints it.
        error_type: the type of the exception that the program saw: the last of the chain. The sender knows it better
            than the text does.
        message: and what it said.
    """
    lines = both_ends(text[:MAX_STACK_CHARACTERS].splitlines(), MAX_STACK_LINES)
    if len(text) > MAX_LINE_CHARACTERS:
        lines = [line[:MAX_LINE_CHARACTERS] for line in lines]
    sections = _python_sections(lines) if _PYTHON_START in text else _sections_of_calls(lines)
    known = [section for section in sections if section.frames]
    if not known:
        return ()
    last = RaisedException(error_type, message, frames=tuple(known.pop().frames))
    return (*map(_raised, known), last)


def _raised(section: _Section) -> RaisedException:
    error_type, message = _type_and_message(section.said)
    return RaisedException(type=error_type, message=message, frames=tuple(section.frames))


def _type_and_message(said: str) -> tuple[str, str]:
    error_type, colon, message = said.partition(": ")
    return (error_type, message) if _TYPE.fullmatch(error_type.rstrip(":")) else ("", said if colon else said.strip())


def _python_sections(lines: Sequence[str]) -> list[_Section]:
    """Return the tracebacks of a text. Python prints the cause first, and in each the outermost call."""
    sections: list[_Section] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(_PYTHON_START):
            sections.append(_Section())
        elif not sections:
            continue
        elif line.startswith(" "):
            if frame := _PYTHON_FRAME.fullmatch(line):
                sections[-1].frames.append(_python_frame(frame, following))
        elif sections[-1].frames and not sections[-1].said:
            sections[-1].said = line
    return sections


def _python_frame(match: re.Match[str], following: str) -> Frame:
    filename, line, function = match.groups()
    is_source = following.startswith(_SOURCE_INDENTATION) and not _MARKERS.issuperset(following)
    source_line = following.strip() if is_source else ""
    return Frame(function or "", "", filename, int(line), source_line, _is_own(filename))


def _sections_of_calls(lines: Sequence[str]) -> list[_Section]:
    """Return the traces of JavaScript and of Java: the innermost call first, and Java's causes last."""
    sections = list(_calls_by_section(lines))
    for section in sections:
        section.frames.reverse()
    return sections[::-1]


def _calls_by_section(lines: Sequence[str]) -> Iterator[_Section]:
    section = _Section()
    for line in lines:
        if line.startswith(_CAUSED_BY):
            yield section
            section = _Section(said=line.removeprefix(_CAUSED_BY))
        elif frame := _call(line):
            section.frames.append(frame)
    yield section


def _call(line: str) -> Frame | None:
    """Return the frame of a line.

    Of JavaScript `at f (file:1:2)`, `at file:1:2` and, in Firefox and Safari, `f@file:1:2`; what has no position is
    the engine's own. Of Java `at package.Class.method(File.java:3)`.
    """
    start = _AT_START.match(line)
    if start is None:
        return _script_frame(*found.groups()) if (found := _AT_SIGN.fullmatch(line)) else None
    call = line[start.end() :]
    if java := _JAVA_PLACE.fullmatch(call):
        return _java_frame(*java.groups())
    function, place = found.groups() if (found := _NAMED_CALL.fullmatch(call)) else ("", call)
    position = _POSITION.search(place)
    return _script_frame(function, place[: position.start()], position[1]) if position else None


def _java_frame(qualified: str, filename: str, line: str | None) -> Frame:
    module, _, function = qualified.rpartition(".")
    return Frame(
        function=function,
        module=module,
        filename=filename,
        line=int(line) if line else None,
        in_app=not module.startswith(_FOREIGN_MODULES),
    )


def _script_frame(function: str, filename: str, line: str) -> Frame:
    return Frame(function=function.strip(), filename=filename, line=int(line), in_app=_is_own(filename))


def _is_own(filename: str) -> bool:
    return not filename.startswith(_FOREIGN_STARTS) and not _FOREIGN_PART.search(filename)
