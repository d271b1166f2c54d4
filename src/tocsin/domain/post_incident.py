"""A post-incident report as parts that a page, Markdown and a PDF show alike. Texts are as people wrote them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texts:
    """Paragraphs that somebody wrote; a paragraph may have several lines."""

    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with what is so."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table; each row has a cell for each header."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Part = Texts | Facts | Rows


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and what stands below it."""

    heading: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class PostIncidentReport:
    """The whole report of one incident."""

    number: int
    title: str
    summary: Facts
    sections: tuple[Section, ...]
