"""How much of a report is sent: what the server keeps of one, and no more."""

from __future__ import annotations

import re

MAX_TYPE_CHARACTERS = 256
MAX_MESSAGE_CHARACTERS = 8_192
MAX_EXCEPTION_MESSAGE_CHARACTERS = 4_096
MAX_NAME_CHARACTERS = 200
"""Service, environment, release, server, logger, culprit, trace and user (characters each)."""
MAX_EXCEPTIONS = 10
MAX_FRAMES = 100
"""Frames of one report, all stacks together."""
MAX_FRAME_NAME_CHARACTERS = 256
MAX_SOURCE_LINE_CHARACTERS = 512
MAX_TAGS = 50
MAX_TAG_KEY_CHARACTERS = 64
MAX_TAG_VALUE_CHARACTERS = 256
MAX_FINGERPRINT_PARTS = 10
MAX_FINGERPRINT_PART_CHARACTERS = 200
MAX_CONTEXT_DEPTH = 6
MAX_CONTEXT_ENTRIES = 100
"""Entries of one container of the context."""
MAX_CONTEXT_KEY_CHARACTERS = 128
MAX_CONTEXT_TEXT_CHARACTERS = 4_096
MAX_CONTEXT_CHARACTERS = 65_536
"""All keys and values of a context together."""
MAX_INTEGER = 2**53 - 1
"""Beyond it other programs read another number than we wrote: it is sent as text."""

ELLIPSIS = "…"

# UTF-8 has no form for half a surrogate pair, and PostgreSQL none for U+0000.
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")


def cut(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, and sendable: the last one is an ellipsis if it was longer."""
    kept = text if len(text) <= limit else text[: limit - 1] + ELLIPSIS
    if kept.isascii() and "\x00" not in kept:
        return kept
    return _UNSENDABLE.sub("\ufffd", kept)


def tail(text: str, limit: int) -> str:
    """Return the end of `text` in at most `limit` characters: of a path that is what tells."""
    return cut(text if len(text) <= limit else ELLIPSIS + text[1 - limit :], limit)
