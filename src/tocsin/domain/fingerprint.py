"""Which failure is this? Reports with the same fingerprint are the same failure.

In this order: what the client says (`fingerprint`); where it happened (the stack); what was raised (exception type
and normalised message); what was logged (the template); what was said (the normalised message).

The rules are frozen: stored fingerprints must mean the same tomorrow. Whoever changes a rule raises
`FINGERPRINT_VERSION`; the golden values of the tests tell when that is due.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Protocol, TypeVar

import msgspec

FINGERPRINT_VERSION = 1

MAX_REMEMBERED = 4_096
"""Fingerprints that are remembered; each takes a few hundred bytes, however much it was computed from."""
MAX_KEY_BYTES = 256
"""What a fingerprint was computed from is kept to know it by, unless it is larger: then its digest is."""

MAX_NORMALISED_INPUT_CHARACTERS = 4_096
MAX_NORMALISED_CHARACTERS = 512
"""Long messages differ in their tails (queries, dumps); which failure it is stands at the beginning."""


class Fingerprint(msgspec.Struct, frozen=True, gc=False):
    """The identity of a failure within a project.

    `value` is a SHA-256 in 64 hex digits over the version, the basis and the parts. `basis` names the rule that
    decided: "client", "stack", "exception", "template" or "message".
    """

    version: int
    value: str
    basis: str


class Place(Protocol):
    """What decides of a frame. An absent text says as much as an empty one; only False is not the program's own."""

    @property
    def function(self) -> str | None: ...
    @property
    def module(self) -> str | None: ...
    @property
    def filename(self) -> str | None: ...
    @property
    def source_line(self) -> str | None: ...
    @property
    def in_app(self) -> bool | None: ...


class Raised(Protocol):
    """What decides of an exception."""

    @property
    def type(self) -> str | None: ...
    @property
    def message(self) -> str | None: ...
    @property
    def frames(self) -> Sequence[Place]: ...


class Evidence(Protocol):
    """What decides of a report: an `ErrorReport`, or as much of one as was read to judge it; bounded in either case."""

    @property
    def fingerprint(self) -> Sequence[str]: ...
    @property
    def error_type(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def template(self) -> str: ...
    @property
    def exceptions(self) -> Sequence[Raised]: ...


def fingerprint(report: Evidence) -> Fingerprint:
    """Tell which failure the report is about. Depends on nothing but the report."""
    if not any(map(str.strip, report.fingerprint)) or all(map(_is_default, report.fingerprint)):
        return _default(report)
    # A part that stands for the default is a list, a literal part is text: no literal can pretend to be a default.
    default = [_default(report).value]
    return _make("client", [default if _is_default(part) else part for part in report.fingerprint])


def normalise(text: str) -> str:
    """Replace what differs between two reports of one failure: ids, numbers, addresses, quoted values.

    In time linear in the text: at most MAX_NORMALISED_INPUT_CHARACTERS of it are looked at. Only a quoted value has
    spaces in it, and nothing else has quotes: whatever else varies, varies within one word.
    """
    looked_at = text[:MAX_NORMALISED_INPUT_CHARACTERS]
    if not _IN_ALL_VARIABLES.search(looked_at):
        return " ".join(looked_at.split())[:MAX_NORMALISED_CHARACTERS]
    alike = looked_at.translate(_DIGITS_BUT_ZERO if "0x" in looked_at or "0X" in looked_at else _DIGITS)
    if "'" in alike or '"' in alike or "`" in alike:
        alike = _QUOTED.sub(_VARIABLE_MARK, alike)
    words = alike.split(None, _MAX_WORDS)[:_MAX_WORDS]
    return " ".join([word if word.isalpha() else _normalised_word(word) for word in words])[:MAX_NORMALISED_CHARACTERS]


def _normalised_word(word: str) -> str:
    if len(word) <= _MAX_KNOWN_WORD_CHARACTERS:
        return _known_word(word)
    return _VARIABLE.sub(_VARIABLE_MARK, word, _MAX_MARKS)


@lru_cache(MAX_REMEMBERED)
def _known_word(word: str) -> str:
    """Return a word in which nothing varies any more. To remember it takes a tenth of the time, or less."""
    return _VARIABLE.sub(_VARIABLE_MARK, word) if _IN_ALL_VARIABLES.search(word) else word


# No digit outlives the replacement, and all are the same to the patterns but the 0 of an address: with one digit for
# all, numbers of the same length are the same word.
_DIGITS = str.maketrans("023456789", "1" * 9)
_DIGITS_BUT_ZERO = str.maketrans("23456789", "1" * 8)
# So many words, and so many marks, are longer than what is kept.
_MAX_WORDS = MAX_NORMALISED_CHARACTERS // 2 + 1
_MAX_MARKS = MAX_NORMALISED_CHARACTERS // 3 + 1
_MAX_KNOWN_WORD_CHARACTERS = 256

# No alternative can match its own text in two ways, and each starts at a boundary or stops after a bounded
# number of characters: there is nothing to backtrack over.
_QUOTED = re.compile(r"(?:'(?<!\w')[^'\n]*+'|\"(?<!\w\")[^\"\n]*+\"|`(?<!\w`)[^`\n]*+`)(?!\w)")
_VARIABLE = re.compile(
    r"""
      (?<![0-9A-Za-z]) [0-9A-Fa-f]{8} (?:-[0-9A-Fa-f]{4}){3} -[0-9A-Fa-f]{12} (?![0-9A-Za-z])  # UUIDs
    | (?<![\w.+-]) [\w.+-]{1,64}+ @ [\w-]{1,63}+ (?: \.[\w-]{1,63}+ ){1,8}+                  # e-mail addresses
    | (?<![\w.]) (?: \d{1,3}\. ){3} \d{1,3} (?![\w.]) (?: :\d{1,5}+ )?                       # IPv4, with a port
    | (?<![\w:]) (?= [A-Fa-f:]*+[0-9] ) (?: [0-9A-Fa-f]{0,4}: ){2,7}
      (?: (?: \d{1,3}\. ){3} \d{1,3} | [0-9A-Fa-f]{0,4} ) (?! [\w:] | \.\d )                # IPv6 with a digit
    | (?<![0-9A-Za-z]) 0[xX][0-9A-Fa-f]++                                                   # memory addresses
    | (?<![0-9A-Za-z]) (?= [A-Fa-f]*+[0-9] ) [0-9A-Fa-f]{8,}+ (?![0-9A-Za-z])               # digests
    | (?<![0-9A-Za-z]) (?= [A-Za-z]*+[0-9]++[A-Za-z]++[0-9] ) [0-9A-Za-z]{16,}+             # random ids
    | (?: (?<!\w)[-+] )? \d++ (?: [.,:]\d++ )*+ (?: [eE][-+]?\d++ )?                        # numbers, times
    """,
    re.VERBOSE,
)
# Whatever varies has one of these in it; a name often has none, and then the pattern would take ten times as long.
_IN_ALL_VARIABLES = re.compile(r"[-'\"`@\d]")
# One mark for all of them: what looks like a digest now may look like a number in the next report.
_VARIABLE_MARK = "<*>"

_ADDRESS = re.compile(r"0[xX][0-9A-Fa-f]++")
_PLACEHOLDER = re.compile(r"%(?:\([^()%]{0,100}\))?[-+ #0-9.*]{0,20}[A-Za-z%]|\{[^{}]{0,100}\}")
_DEFAULT = re.compile(r"\s*\{\{\s*default\s*\}\}\s*")
_NAMELESS = frozenset({"", "?", "<unknown>", "<anonymous>", "anonymous"})


def _is_default(part: str) -> bool:
    return _DEFAULT.fullmatch(part) is not None


def _default(report: Evidence) -> Fingerprint:
    if any(map(_frames, report.exceptions)):
        stacks = [(_label(exception, report), exception.frames) for exception in report.exceptions]
        mark = _MEMORY.judged(stacks, _by_stack)
        if mark is not _NO_PLACE:
            return mark
    return _MEMORY.judged((report.error_type, report.message, report.template), _by_words)


_in_ascii = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes an encoder at each call
_in_utf_8 = msgspec.json.Encoder().encode
_packed = msgspec.msgpack.Encoder().encode
_frames, _known = attrgetter("frames"), itemgetter(1)


def _make(basis: str, parts: Sequence[object]) -> Fingerprint:
    # JSON of nested lists says where each part ends: ["ab","c"] and ["a","bc"] stay two things.
    digest = hashlib.sha256(_material([FINGERPRINT_VERSION, basis, parts])).hexdigest()
    return Fingerprint(FINGERPRINT_VERSION, digest, basis)


def _material(parts: list[object]) -> bytes:
    """Return the JSON that is all ASCII. Where nothing but quotes has to be escaped, msgspec writes the same sooner."""
    try:
        material = _in_utf_8(parts)
    except UnicodeEncodeError:  # half a surrogate pair
        material = b"\x7f"
    return _in_ascii(parts).encode("ascii") if b"\x7f" in material or not material.isascii() else material


def _by_stack(stacks: Sequence[tuple[str, Sequence[Place]]]) -> Fingerprint:
    places = [(label, _places(frames)) for label, frames in stacks]
    if not any(map(_known, places)):
        return _NO_PLACE
    # A group of three equal errors is the same failure as a group of two.
    return _make("stack", [*dict.fromkeys(places)] if len(places) > 1 else places)


def _places(frames: Sequence[Place]) -> tuple[tuple[str, str, str], ...]:
    """Return where the program's own code stood. Each place once: that collapses recursion, however deep."""
    places: dict[tuple[str, str, str], None] = {}
    for frame in frames:
        if frame.in_app is not False and any(place := _place(frame)):
            places[place] = None
    return tuple(places)


def _place(frame: Place) -> tuple[str, str, str]:
    function = _name(frame.function)
    return (
        _name(frame.module) or _file_name(frame.filename or ""),
        "" if function in _NAMELESS else function,
        " ".join(frame.source_line.split()) if frame.source_line else "",
    )


def _name(text: str | None) -> str:
    if not text:
        return ""
    return _ADDRESS.sub(_VARIABLE_MARK, text.strip()) if "0" in text else text.strip()


def _file_name(path: str) -> str:
    """Return the last part of a path, in lower case: directories and bundle hashes change with each deployment."""
    bare = path.partition("?")[0].replace("\\", "/").rstrip("/")
    return normalise(bare[bare.rfind("/") + 1 :].lower())


def _label(exception: Raised, report: Evidence) -> str:
    """Return the exception's type. A message with a stack has none: what it says stands in its place."""
    return (exception.type or "").strip() or normalise(report.template or exception.message or report.message)


def _by_words(words: tuple[str, str, str]) -> Fingerprint:
    error_type, message, template = (words[0].strip(), words[1], " ".join(words[2].split()))
    if error_type:
        return _by_normalised("exception", error_type, normalise(message))
    # "%s" alone says nothing: everything that is ever logged like that would be one failure.
    if template and any(character.isalpha() for character in _PLACEHOLDER.sub("", template)):
        return _by_normalised("template", template)
    return _by_normalised("message", normalise(message))


@lru_cache(MAX_REMEMBERED)
def _by_normalised(basis: str, *words: str) -> Fingerprint:
    """Return the fingerprint of words in which nothing varies any more: what many messages have become is known."""
    return _make(basis, [*words])


T = TypeVar("T")

# What is remembered of a stack that says nothing: another rule decides then.
_NO_PLACE = Fingerprint(FINGERPRINT_VERSION, "", "")


class _Memory:
    """Remembers fingerprints by what they were computed from: a failure that repeats is computed once.

    It holds at most MAX_REMEMBERED, and the latest half of them for sure. Two dictionaries, not an ordered one:
    threads share it without a lock, and the worst that two of them can do to each other is to forget too early.
    """

    __slots__ = ("_earlier", "_recent")

    def __init__(self) -> None:
        self._recent: dict[bytes | str, Fingerprint] = {}
        self._earlier: dict[bytes | str, Fingerprint] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._earlier)

    def judged(self, ingredients: T, judge: Callable[[T], Fingerprint]) -> Fingerprint:
        """Return what `judge` makes of the ingredients. Their digest, a text, is the key where they are large."""
        try:
            packed = _packed(ingredients)
            key = packed if len(packed) <= MAX_KEY_BYTES else hashlib.sha256(packed).hexdigest()
        except (UnicodeEncodeError, OverflowError):
            # Half a surrogate pair or an endless line number, which only a report has that nobody bounded.
            return judge(ingredients)
        mark = self._recent.get(key)
        if mark is None:
            mark = self._earlier.get(key) or judge(ingredients)
            if len(self._recent) >= MAX_REMEMBERED // 2:
                self._earlier, self._recent = self._recent, {}
            self._recent[key] = mark
        return mark


_MEMORY = _Memory()
