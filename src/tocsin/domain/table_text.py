"""Text for the cells of a table that somebody opens in a spreadsheet."""

from __future__ import annotations

_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
"""With these a spreadsheet takes a cell for a formula, and runs it (OWASP, "CSV Injection")."""


def harmless(cell: str) -> str:
    """Return the cell such that a spreadsheet shows it and does not run it: an apostrophe stands before a formula."""
    return f"'{cell}" if cell.startswith(_BEGINNINGS) else cell
