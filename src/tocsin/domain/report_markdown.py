"""A post-incident report as Markdown. What anybody wrote is text in it: no link, no heading, no HTML comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tocsin.domain.post_incident import Facts, Part, PostIncidentReport, Rows, Texts

# CommonMark 2.4: a backslash makes any ASCII punctuation mean itself. These are what it, and GitHub's tables, strikes,
# mentions, bare links and emoji, give a meaning, where they give it one: an instant, a name and a command stay readable
# in the raw text. An underscore within a word has none; `-`, `+` and `=` have theirs at the start of a line.
_MARKS = re.compile(r"[\\`*\[\]<>#~|&$@^]|(?<!\w)_|_(?!\w)|^[-+=]|:(?=[A-Za-z+/-]|100:|1234:)")
_LIST_NUMBER = re.compile(r"^(\d{1,9})([.)])")
_BARE_LINK = re.compile(r"(?i)\b(www)\.")
_SPACES = re.compile(r"\s+")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def markdown(report: PostIncidentReport) -> str:
    """Return the report as CommonMark with GitHub's tables."""
    return "\n\n".join(_blocks(report)) + "\n"


def _blocks(report: PostIncidentReport) -> Iterator[str]:
    yield f"# INC-{report.number}: {escaped(report.title)}"
    yield _facts(report.summary)
    for section in report.sections:
        yield f"## {section.heading}"
        yield from map(_part, section.parts)


def _part(part: Part) -> str:
    match part:
        case Texts(paragraphs):
            return "\n\n".join(_paragraph(text) for text in paragraphs)
        case Facts():
            return _facts(part)
        case Rows(headers, rows):
            lines = [_row(headers), _row(("---",) * len(headers), mark=False), *map(_row, rows)]
            return "\n".join(lines)


def _facts(facts: Facts) -> str:
    return "\n".join(f"- **{escaped(name)}**: {escaped(said)}" for name, said in facts.pairs)


def _row(cells: tuple[str, ...], *, mark: bool = True) -> str:
    return "| " + " | ".join(escaped(cell) if mark else cell for cell in cells) + " |"


def _paragraph(text: str) -> str:
    """Return a text whose lines stay lines."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())
    return "\n\n".join("\\\n".join(escaped(line) for line in block.split("\n") if line.strip()) for block in blocks)


def escaped(text: str) -> str:
    """Return one line in which nothing has a meaning but what it says."""
    line = _SPACES.sub(" ", _CONTROLS.sub("", text)).strip()
    return _BARE_LINK.sub(r"\1\\.", _LIST_NUMBER.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", line)))
