"""Keeps somebody's text from turning the direction of the words that a page says after it."""

from __future__ import annotations

import re

_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""The embeddings, overrides and isolates of the bidirectional algorithm; the marks, which names need, stay."""


def straight(value: object) -> object:
    """Return what a page shows, with a mark in the place of each character that turns the text around it.

    Somebody's text with such a character would reorder what stands beside it (Unicode TR 36, 2.5).
    """
    return type(value)(_TURNING.sub("\ufffd", value)) if isinstance(value, str) and _TURNING.search(value) else value
