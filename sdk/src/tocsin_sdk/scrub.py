"""Takes secrets out of what is about to be reported: by the name they go under, and by what they look like.

It is a net, not a proof: it prefers to scrub too much. Every pattern is bounded, so that no text makes it slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from tocsin_sdk.bounds import (
    ELLIPSIS,
    MAX_CONTEXT_CHARACTERS,
    MAX_CONTEXT_DEPTH,
    MAX_CONTEXT_ENTRIES,
    MAX_CONTEXT_KEY_CHARACTERS,
    MAX_CONTEXT_TEXT_CHARACTERS,
    MAX_INTEGER,
    cut,
)

SCRUBBED = "[scrubbed]"
MAX_CACHED_NAMES = 1_024

T = TypeVar("T")

_NAMES = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "privatekey",
    "session",
    "credential",
    "csrf",
    "xsrf",
    "signature",
)
_WHOLE_NAMES = frozenset({"auth", "pass", "sid", "pin", "cvv", "cvc", "jwt", "otp"})
_SEPARATORS = re.compile("[^a-z0-9]")

_NAME = (
    r"[\w.-]{0,40}(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|session[_-]?id|credential)[\w.-]{0,40}"
)
_QUOTED = r"[bBfFrRuU]{0,2}(?:\"(?:[^\"\\\n]|\\.){0,4096}\"?|'(?:[^'\\\n]|\\.){0,4096}'?)"
_GIVES = r"[\\\"']{0,4}\s{0,8}(?::=|[:=])\s{0,8}"
_PAIR = re.compile(rf"(?i)\b({_NAME}{_GIVES})(?!\[scrubbed\])(?:{_QUOTED}|[^\s,;&]+)")
_LITERAL = re.compile(rf"(?i)\b({_NAME}{_GIVES}){_QUOTED}")
_HEADER = re.compile(rf"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)({_GIVES})[^\r\n]+")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL)
_USER_INFO = re.compile(r"(?<=://)[^\s/@\"'<>]{1,512}@")
_SCHEME = re.compile(r"(?i)\b((?:bearer|(?:basic|digest|token)(?=\s{1,8}\S{0,200}[0-9=+/]))\s{1,8})[\w.~+/=-]{6,}")
_SHAPED = re.compile(
    r"\b(?:eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|xox[abprs]-[\w-]{10,}|[sr]k_(?:live|test)_\w{10,}|AIza[\w-]{30,})"
)
_CARD = re.compile(r"(?<![\d.])[2-6](?:[ -]?\d){12,18}(?![\d.])")


@lru_cache(maxsize=MAX_CACHED_NAMES)
def is_secret_name(name: str) -> bool:
    """Return whether what goes under this name is not to be reported."""
    plain = _SEPARATORS.sub("", name.lower())
    return plain in _WHOLE_NAMES or any(secret in plain for secret in _NAMES)


def scrub_text(text: str) -> str:
    """Return a text without what looks like a secret."""
    if "-----BEGIN" in text:
        text = _PEM.sub(SCRUBBED, text)
    if "://" in text:
        text = _USER_INFO.sub(SCRUBBED + "@", text)
    text = _SCHEME.sub(_without_rest, text)
    if ":" in text or "=" in text:
        text = _HEADER.sub(_without_rest, text)
        text = _PAIR.sub(_without_rest, text)
    return _CARD.sub(_without_card, _SHAPED.sub(SCRUBBED, text))


def scrub_source(line: str) -> str:
    """Return a line of source without secrets that are written in it; names and calls stay readable."""
    if "://" in line:
        line = _USER_INFO.sub(SCRUBBED + "@", line)
    line = _LITERAL.sub(_without_rest, line)
    return _CARD.sub(_without_card, _SHAPED.sub(SCRUBBED, line))


def scrub_context(context: Mapping[str, object]) -> dict[str, object]:
    """Return a copy that is plain JSON, within the bounds of a context, and without secrets."""
    return _Cleaner().mapping(context, MAX_CONTEXT_DEPTH)


def _without_rest(found: re.Match[str]) -> str:
    # A function, and not a template: Python reads templates with an import, which fails while the interpreter ends.
    return str(found.group(1)) + SCRUBBED


def _without_card(found: re.Match[str]) -> str:
    digits = [int(character) for character in found.group() if character.isdecimal()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return SCRUBBED if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found.group()


class _Cleaner:
    """Copies a context; one budget of characters serves the whole of it."""

    def __init__(self) -> None:
        self._remaining = MAX_CONTEXT_CHARACTERS

    def mapping(self, source: Mapping[Any, object], depth: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for key, value in self._affordable(source.items()):
            name = self._text(key if isinstance(key, str) else _as_text(key), MAX_CONTEXT_KEY_CHARACTERS)
            kept[name] = SCRUBBED if value is not None and is_secret_name(name) else self._value(value, depth - 1)
        if len(source) > len(kept):
            kept[ELLIPSIS] = f"{len(source) - len(kept)} more"
        return kept

    def _sequence(self, source: list[object] | tuple[object, ...], depth: int) -> list[object]:
        if len(source) == 2 and isinstance(source[0], str) and is_secret_name(source[0]):
            return [self._text(source[0], MAX_CONTEXT_KEY_CHARACTERS), SCRUBBED]  # ("Authorization", "…") of a list
        kept = [self._value(value, depth - 1) for value in self._affordable(source)]
        if len(source) > len(kept):
            kept.append(f"{ELLIPSIS} {len(source) - len(kept)} more")
        return kept

    def _affordable(self, items: Iterable[T]) -> Iterable[T]:
        for item in islice(items, MAX_CONTEXT_ENTRIES):
            if self._remaining <= 0:
                return
            yield item

    def _value(self, value: object, depth: int) -> object:
        self._remaining -= 8
        if isinstance(value, (dict, list, tuple)):
            if depth <= 0:
                return ELLIPSIS
            return self.mapping(value, depth) if isinstance(value, dict) else self._sequence(value, depth)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return self._number(value)
        return self._text(value if isinstance(value, str) else _as_text(value), MAX_CONTEXT_TEXT_CHARACTERS)

    def _number(self, value: float) -> object:
        if not abs(value) <= MAX_INTEGER:  # NaN neither; an integer may be too large to become a float
            return self._text(_as_text(value), MAX_CONTEXT_TEXT_CHARACTERS)
        text = str(value)  # A card's number is one as an integer, too.
        return value if scrub_text(text) == text else SCRUBBED

    def _text(self, text: str, limit: int) -> str:
        kept = scrub_text(cut(text, max(1, min(limit, self._remaining))))
        self._remaining -= len(kept)
        return kept


def _as_text(value: object) -> str:
    """Return a number that JSON cannot hold as text, and of anything else only its type: str() may run its code."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:MAX_CONTEXT_TEXT_CHARACTERS]).decode("utf-8", "replace")
    if isinstance(value, int) and value.bit_length() > 4_096:
        return hex(value)  # Decimal digits take quadratic time.
    if value is None or isinstance(value, (int, float)):
        return str(value)
    return f"<{type(value).__name__}>"
