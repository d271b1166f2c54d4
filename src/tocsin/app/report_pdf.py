"""A post-incident report as a PDF: real text in DejaVu, which comes along, so that it looks the same everywhere.

DejaVu has the Latin, Greek, Cyrillic, Arabic, Hebrew and a few more scripts; a character that it has not (Chinese, most
emoji) is shown as `□`. fpdf2 takes plain text, no markup, so nothing that anybody wrote can be taken for some.
"""

from __future__ import annotations

import re
from datetime import datetime
from importlib.resources import files

from fpdf import FPDF, FontFace
from fpdf.fonts import TTFFont

from tocsin.domain.post_incident import Facts, Part, PostIncidentReport, Rows, Texts

_FAMILY = "DejaVu"
_FILES = {"": "DejaVuSans.ttf", "B": "DejaVuSans-Bold.ttf"}
_MISSING = "□"
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MILLIMETRES = 18
MAX_ROWS = 200
MAX_CELL_CHARACTERS = 500
"""Laying out a table takes a few milliseconds a row: a report is made within about two seconds."""


class _Document(FPDF):
    """A4 pages with the incident and the page's number at their foot."""

    def __init__(self, number: int) -> None:
        super().__init__(format="A4")
        self._number = number
        for style, name in _FILES.items():
            self.add_font(_FAMILY, style, str(files("tocsin.app").joinpath("fonts", name)))
        self.set_margin(_MILLIMETRES)
        self.set_auto_page_break(auto=True, margin=_MILLIMETRES)
        self.alias_nb_pages()

    def plain(self, text: str) -> str:
        """Return text of which the font has every character, and in which fpdf2 finds no mark of its own."""
        font = self.fonts[_FAMILY.lower()]
        assert isinstance(font, TTFFont), "it was added from a file"
        cleaned = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\t", "    ")).replace("{nb}", "{ nb}")
        return "".join(letter if letter == "\n" or ord(letter) in font.cmap else _MISSING for letter in cleaned)

    def footer(self) -> None:
        """Write the foot of a page."""
        self.set_y(-12)
        self.set_font(_FAMILY, size=8)
        self.cell(0, 5, f"INC-{self._number} · page {self.page_no()} of {{nb}}", align="C")


def pdf(report: PostIncidentReport, now: datetime) -> bytes:
    """Return the report as a PDF that was made at an instant. It computes for a while: run it in a thread."""
    document = _Document(report.number)
    document.set_creation_date(now)
    document.set_title(f"INC-{report.number}: {document.plain(report.title)}")
    document.set_producer("Tocsin")
    document.set_lang("en")
    document.add_page()
    _write(document, f"INC-{report.number}: {report.title}", size=16, style="B")
    _part(document, report.summary)
    for section in report.sections:
        document.ln(3)
        _write(document, section.heading, size=12, style="B")
        for part in section.parts:
            _part(document, part)
    return bytes(document.output())


def _part(document: _Document, part: Part) -> None:
    match part:
        case Texts(paragraphs):
            for text in paragraphs:
                _write(document, text)
        case Facts(pairs):
            for name, said in pairs:
                _write(document, f"{name}: {said}")
        case Rows(headers, rows):
            document.set_font(_FAMILY, size=8)
            with document.table(text_align="LEFT", headings_style=FontFace(emphasis="BOLD"), line_height=4) as table:
                for cells in (headers, *rows[:MAX_ROWS]):
                    table.row([_cell(document, text) for text in cells])
            if len(rows) > MAX_ROWS:
                _write(document, f"{len(rows) - MAX_ROWS:,} more rows stand in the report as Markdown.")


def _cell(document: _Document, text: str) -> str:
    more = "…" if len(text) > MAX_CELL_CHARACTERS else ""
    return document.plain(text[:MAX_CELL_CHARACTERS]).replace("\n", " ") + more


def _write(document: _Document, text: str, *, size: int = 10, style: str = "") -> None:
    document.set_font(_FAMILY, style=style, size=size)
    document.multi_cell(0, size * 0.5, document.plain(text), align="L", new_x="LMARGIN", new_y="NEXT")
