"""What a spreadsheet would run, it shows."""

from __future__ import annotations

import pytest

from tocsin.domain.table_text import harmless


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_a_formula_is_shown_and_not_run(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "GET /", "a=b", "1-1", "'=1"])
def test_everything_else_stays_as_it_is(cell: str) -> None:
    assert harmless(cell) == cell
