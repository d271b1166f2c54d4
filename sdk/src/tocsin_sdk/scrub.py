"""Takes secrets out of what is about to be reported: by the name they go under, and by what they look like.

It is a net, not a proof: it prefers to scrub too much. Every pattern is bounded, so that no text makes it slow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Callable, NamedTuple, TypeVar

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
MIN_CARD_DIGITS = 13
MARGIN_CHARACTERS = 1_024
"""So far behind a limit a text is scrubbed: more than anything is long that is known only as a whole."""

T = TypeVar("T")

_NAMES = (
    "password",
    "passwd",
    "passwort",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "apikey",
    "accesskey",
    "accountkey",
    "privatekey",
    "session",
    "credential",
    "csrf",
    "xsrf",
    "signature",
)
_WHOLE_NAMES = frozenset({"auth", "pass", "sid", "pin", "cvv", "cvc", "jwt", "otp"})
_SEPARATORS = re.compile("[^a-z0-9]")

# What is searched for begins with letters of its own, in lower case: that is found fast. What was looked at once is not
# looked at again from a place within it: no text takes more than in proportion to its length.
_KEY = (
    r"passw(?:or[dt]|d)|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key"
    r"|session[_-]?id|credential"
)
_HEADER = "authorization|cookie"
_QUOTED = r"[bBfFrRuU]{0,2}(?:\"[^\"\\\n]*(?:\\.[^\"\\\n]*)*\"?|'[^'\\\n]*(?:\\.[^'\\\n]*)*'?)"
_GIVES = r"[\\\"'\]]{0,4}\s{0,8}(?::=|[:=])\s{0,8}"
# A user ends at the last @ before the path; or behind a slash, where what follows the colon is no port.
_USER = (
    r"[^\s/\"'<>:@\[]*:(?!\d{0,5}(?:[\s/?#\"'<>,;)]|\Z))[^\s\"'<>:]*(?::(?!//)[^\s\"'<>:]*)*(?=@)"
    r"|[^\s/\"'<>]{1,512}(?=@)"
)


class _Rule(NamedTuple):
    """A place in a text, looked for in lower case, and what must follow there; its first group is the secret."""

    place: re.Pattern[str]
    given: re.Pattern[str]


_URLS = _Rule(re.compile("://"), re.compile(f"({_USER})"))
_SCHEMES = _Rule(
    re.compile(
        r"(?:bearer|basic|digest|token)(?<![a-z0-9_]bearer)(?<![a-z0-9_](?:basic|token))(?<![a-z0-9_]digest)(?=\s)"
    ),
    # All but "bearer" are words of everyday, too: behind them only what is no word is a secret.
    re.compile(r"(?:(?<=[rR])|(?=\s{1,8}\S{0,200}[0-9=+/]))\s{1,8}([\w.~+/=-]{6,})"),
)
_HEADERS = _Rule(re.compile(_HEADER), re.compile(rf"{_GIVES}([^\r\n]+)"))
_KEYS = _Rule(re.compile(rf"(?:{_KEY})[\w.-]*"), re.compile(rf"{_GIVES}(?!\[scrubbed\])({_QUOTED}|[^\s,;&]+)"))
_LITERALS = _Rule(re.compile(rf"(?:{_KEY}|{_HEADER})[\w.-]*"), re.compile(rf"(?:{_GIVES}|[\"'],\s{{0,8}})({_QUOTED})"))
_OPTIONS = _Rule(
    re.compile(rf"--(?<![\w-]--)[a-z0-9-]*?(?:{_KEY})[\w-]*"),
    re.compile(rf"[\"']?,?\s{{1,8}}(?!\[scrubbed\]|-)({_QUOTED}|[^\s,;&]+)"),
)
_OF_WORDS = (_SCHEMES, _OPTIONS)
_OF_TEXT = (_URLS, _SCHEMES, _HEADERS, _KEYS, _OPTIONS)
_OF_SOURCE = (_URLS, _LITERALS, _SCHEMES)

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL)
_SHAPED = re.compile(
    r"eyJ(?<![\w-]eyJ)[\w-]{8,}(?:\.[\w-]*){1,4}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|xox[abprs]-[\w-]{10,}|sk_(?:live|test)_\w{10,}|rk_(?:live|test)_\w{10,}|AIza[\w-]{30,}"
)
_CARD = re.compile(r"[2-6](?<![\d.]\d)(?:[ -]?\d){12,18}(?![\d.])")


@lru_cache(maxsize=MAX_CACHED_NAMES)
def is_secret_name(name: str) -> bool:
    """Return whether what goes under this name is not to be reported."""
    plain = _SEPARATORS.sub("", name.lower())
    return plain in _WHOLE_NAMES or any(secret in plain for secret in _NAMES)


def scrub_text(text: str) -> str:
    """Return a text without what looks like a secret."""
    if "-----BEGIN" in text:
        text = _PEM.sub(SCRUBBED, text)
    rules = _OF_TEXT if ":" in text or "=" in text else _OF_WORDS
    return _without_shaped(_without_given(text, rules))


def scrub_source(line: str) -> str:
    """Return a line of source without secrets that are written in it; names and calls stay readable."""
    return _without_shaped(_without_given(line, _OF_SOURCE))


def scrubbed(text: str, limit: int, scrub: Callable[[str], str] = scrub_text) -> str:
    """Return a text without secrets in at most `limit` characters.

    It is cut only afterwards: half a secret is not known as one. Of a very long text what is scrubbed ends some way
    behind the limit; what stands there may be half a secret, too, and is left out however much room became free.
    """
    if len(text) <= limit + MARGIN_CHARACTERS:
        return cut(scrub(text), limit)
    return cut(scrub(text[: limit + MARGIN_CHARACTERS])[:-MARGIN_CHARACTERS][: limit - 1] + ELLIPSIS, limit)


def scrub_context(context: Mapping[str, object]) -> dict[str, object]:
    """Return a copy that is plain JSON, within the bounds of a context, and without secrets."""
    return _Cleaner().mapping(context, MAX_CONTEXT_DEPTH)


def _without_given(text: str, rules: Iterable[_Rule]) -> str:
    lowered = _lowered(text)
    for rule in rules:
        kept: list[str] = []
        end = 0
        for place in rule.place.finditer(lowered):
            found = rule.given.match(text, place.end()) if place.end() >= end else None
            if found:
                kept += (text[end : found.start(1)], SCRUBBED)
                end = found.end()
        if kept:
            text = "".join((*kept, text[end:]))
            lowered = _lowered(text)
    return text


def _lowered(text: str) -> str:
    """Return a text in lower case and as long as it was: one capital letter has a small one of two characters."""
    return text.lower() if text.isascii() else text.replace("\u0130", "i").lower()


def _without_shaped(text: str) -> str:
    return _CARD.sub(_without_card, _SHAPED.sub(SCRUBBED, text))


def _without_card(found: re.Match[str]) -> str:
    """Return nothing of a number that has a card's check digit, or begins with one that has: an expiry may follow."""
    number = found.group()
    sums = [0, 0]  # with every other digit doubled: the odd ones, the even ones
    count = 0
    for character in f"{number} ":
        if character in " -":
            if count >= MIN_CARD_DIGITS and sums[count % 2] % 10 == 0:
                return SCRUBBED
            continue
        digit = int(character)
        sums[count % 2] += digit * 2 - 9 * (digit > 4)
        sums[1 - count % 2] += digit
        count += 1
    return number


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
        kept: list[object] = []
        name: object = None
        for value in self._affordable(source):  # ("Authorization", "…") of a list; ["--password", "…"]
            kept.append(SCRUBBED if _names_secret(name) else self._value(value, depth - 1))
            name = value
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
        kept = scrubbed(text, max(1, min(limit, self._remaining)))
        self._remaining -= len(kept)
        return kept


def _names_secret(value: object) -> bool:
    is_name = isinstance(value, str) and len(value) <= MAX_CONTEXT_KEY_CHARACTERS and " " not in value
    return is_name and is_secret_name(value)


def _as_text(value: object) -> str:
    """Return a number that JSON cannot hold as text, and of anything else only its type: str() may run its code."""
    if isinstance(value, (bytes, bytearray)):
        # Four bytes are a character at most: one more than is looked at, so that it is known that there is more.
        return bytes(value[: 4 * (MAX_CONTEXT_TEXT_CHARACTERS + MARGIN_CHARACTERS) + 4]).decode("utf-8", "replace")
    if isinstance(value, int) and value.bit_length() > 4_096:
        return hex(value)  # Decimal digits take quadratic time.
    if value is None or isinstance(value, (int, float)):
        return str(value)
    return f"<{type(value).__name__}>"
