"""The report's forms: nothing that anybody wrote has a meaning in them, and a PDF has real text and numbered pages."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tocsin.app.report_pdf import MAX_ROWS, pdf
from tocsin.domain.post_incident import Facts, Part, PostIncidentReport, Rows, Section, Texts
from tocsin.domain.report_markdown import escaped, markdown

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def report(*parts: Part, title: str = "It broke") -> PostIncidentReport:
    """Return a report of one section."""
    return PostIncidentReport(42, title, Facts((("Status", "CLOSED"),)), (Section("Timeline", parts),))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("# head", r"\# head"),
        ("1. one", r"1\. one"),
        ("12) one", r"12\) one"),
        ("- item", r"\- item"),
        ("a | b", r"a \| b"),
        ("<b>&amp;</b>", r"\<b\>\&amp;\</b\>"),
        ("`code` ~~no~~", r"\`code\` \~\~no\~\~"),
        ("https://evil.example @ana", r"https\://evil.example \@ana"),
        ("WWW.evil.example", r"WWW\.evil.example"),
        ("back\\slash", r"back\\slash"),
        ("two\nlines\x00\u202e", "two lines"),
        ("plain words, 3.5 s (really)", "plain words, 3.5 s (really)"),
        ("2026-03-01 03:00:00 UTC, after 0:02:05", "2026-03-01 03:00:00 UTC, after 0:02:05"),
        ("tocsin export 42 --output FILE", "tocsin export 42 --output FILE"),
        ("slack_app, _so_ and __so__", r"slack_app, \_so\_ and \__so_\_"),
        (":tada: :+1: :100:", r"\:tada: \:+1: \:100:"),
        ("+ item", r"\+ item"),
        ("=====", r"\====="),
        ("-----", r"\-----"),
    ],
)
def test_marks_mean_themselves(said: str, shown: str) -> None:
    assert escaped(said) == shown


@given(st.lists(st.text("ab _*-+=#:|`~<>&![](){}1.)$@^\\\n/é"), min_size=1, max_size=4))
def test_nothing_that_anybody_writes_is_more_than_its_text(said: list[str]) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(markdown(report(Texts(tuple(said)), title=said[0])))
    within = [one.type for token in tokens for one in token.children or ()]
    assert set(within) <= {"text", "hardbreak", "softbreak", "strong_open", "strong_close"}
    assert within.count("strong_open") == 1, "the status"
    blocks = [
        token.type for token in tokens if token.type.endswith("_open") or token.type in ("hr", "fence", "html_block")
    ]
    assert set(blocks) <= {"heading_open", "paragraph_open", "bullet_list_open", "list_item_open"}
    assert [blocks.count(kind) for kind in ("heading_open", "bullet_list_open")] == [2, 1]


def test_lines_stay_lines_and_cells_stay_cells() -> None:
    text = markdown(report(Texts(("one\n    two\n\nthree",)), Rows(("A", "B"), (("x\ny", "|"),))))
    assert "one\\\ntwo\n\nthree" in text
    assert "| x y | \\| |" in text


def _streams(data: bytes) -> bytes:
    found = re.findall(rb"stream\n(.*?)\nendstream", data, re.DOTALL)
    return b"".join(zlib.decompress(one) for one in found if one[:1] == b"x")


@pytest.mark.slow
def test_a_pdf_has_text_that_can_be_searched_and_numbered_pages() -> None:
    rows = tuple((str(index), "said " * 300) for index in range(MAX_ROWS + 5))
    data = pdf(report(Texts(("Zoë Ελένη 漢字 \U0001f600 {nb} " + "x" * 10_000,)), Rows(("No.", "What"), rows)), NOW)
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\n", data)) > 3
    assert b"/ToUnicode" in data
    assert b"beginbf" in data + _streams(data)


def test_a_pdf_takes_whatever_people_write() -> None:
    odd = "\x00\x1b[31m\ud800\u202e\t\r\n**b** __u__ <b>"
    assert pdf(report(Texts((odd, "")), Facts(((odd, odd),)), Rows(("A",), ((odd,),)), title=odd), NOW).startswith(
        b"%PDF-"
    )
