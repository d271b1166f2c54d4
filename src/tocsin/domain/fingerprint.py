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
from collections.abc import Callable
from dataclasses import dataclass

from tocsin.domain.report import ErrorReport, Frame, RaisedException

FINGERPRINT_VERSION = 1

MAX_NORMALISED_INPUT_CHARACTERS = 4_096
MAX_NORMALISED_CHARACTERS = 512
"""Long messages differ in their tails (queries, dumps); which failure it is stands at the beginning."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The identity of a failure within a project.

    `value` is a SHA-256 in 64 hex digits over the version, the basis and the parts. `basis` names the rule that
    decided: "client", "stack", "exception", "template" or "message".
    """

    version: int
    value: str
    basis: str


def fingerprint(report: ErrorReport) -> Fingerprint:
    """Tell which failure the report is about. Depends on nothing but the report."""
    if not any(part.strip() for part in report.fingerprint):
        return _default(report)
    if all(_is_default(part) for part in report.fingerprint):
        return _default(report)
    # A part that stands for the default is a list, a literal part is text: no literal can pretend to be a default.
    default = [_default(report).value]
    return _make("client", [default if _is_default(part) else part for part in report.fingerprint])


def normalise(text: str) -> str:
    """Replace what differs between two reports of one failure: ids, numbers, addresses, quoted values.

    One pass, in time linear in the text: at most MAX_NORMALISED_INPUT_CHARACTERS of it are looked at.
    """
    replaced = _VARIABLE.sub(_VARIABLE_MARK, text[:MAX_NORMALISED_INPUT_CHARACTERS])
    return " ".join(replaced.split())[:MAX_NORMALISED_CHARACTERS]


# No alternative can match its own text in two ways, and each starts at a boundary or stops after a bounded
# number of characters: there is nothing to backtrack over.
_VARIABLE = re.compile(
    r"""
      (?<!\w) (?: '[^'\n]*+' | "[^"\n]*+" | `[^`\n]*+` ) (?!\w)                            # quoted values
    | (?<![0-9A-Za-z]) [0-9A-Fa-f]{8} (?:-[0-9A-Fa-f]{4}){3} -[0-9A-Fa-f]{12} (?![0-9A-Za-z])  # UUIDs
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
# One mark for all of them: what looks like a digest now may look like a number in the next report.
_VARIABLE_MARK = "<*>"

_ADDRESS = re.compile(r"0[xX][0-9A-Fa-f]++")
_PLACEHOLDER = re.compile(r"%(?:\([^()%]{0,100}\))?[-+ #0-9.*]{0,20}[A-Za-z%]|\{[^{}]{0,100}\}")
_DEFAULT = re.compile(r"\s*\{\{\s*default\s*\}\}\s*")
_NAMELESS = frozenset({"", "?", "<unknown>", "<anonymous>", "anonymous"})


def _is_default(part: str) -> bool:
    return _DEFAULT.fullmatch(part) is not None


def _default(report: ErrorReport) -> Fingerprint:
    for basis, rule in _RULES:
        parts = rule(report)
        if parts:
            return _make(basis, parts)
    return _make("message", [normalise(report.message)])


def _make(basis: str, parts: list[object]) -> Fingerprint:
    # JSON of nested lists says where each part ends: ["ab","c"] and ["a","bc"] stay two things.
    material = json.dumps([FINGERPRINT_VERSION, basis, parts], separators=(",", ":"))
    return Fingerprint(FINGERPRINT_VERSION, hashlib.sha256(material.encode("ascii")).hexdigest(), basis)


def _by_stack(report: ErrorReport) -> list[object]:
    stacks = [(exception, _places(exception)) for exception in report.exceptions]
    if not any(places for _, places in stacks):
        return []
    # A group of three equal errors is the same failure as a group of two.
    return list(dict.fromkeys((_label(exception, report), places) for exception, places in stacks))


def _places(exception: RaisedException) -> tuple[tuple[str, str, str], ...]:
    """Return where the program's own code stood. Each place once: that collapses recursion, however deep."""
    places = (_place(frame) for frame in exception.frames if frame.in_app)
    return tuple(dict.fromkeys(place for place in places if any(place)))


def _place(frame: Frame) -> tuple[str, str, str]:
    function = _ADDRESS.sub(_VARIABLE_MARK, frame.function.strip())
    return (
        _ADDRESS.sub(_VARIABLE_MARK, frame.module.strip()) or _file_name(frame.filename),
        "" if function in _NAMELESS else function,
        " ".join(frame.source_line.split()),
    )


def _file_name(path: str) -> str:
    """Return the last part of a path, in lower case: directories and bundle hashes change with each deployment."""
    bare = path.split("?", 1)[0].replace("\\", "/").rstrip("/")
    return normalise(bare.rsplit("/", 1)[-1].lower())


def _label(exception: RaisedException, report: ErrorReport) -> str:
    """Return the exception's type. A message with a stack has none: what it says stands in its place."""
    return exception.type.strip() or normalise(report.template or exception.message or report.message)


def _by_exception(report: ErrorReport) -> list[object]:
    error_type = report.error_type.strip()
    return [error_type, normalise(report.message)] if error_type else []


def _by_template(report: ErrorReport) -> list[object]:
    template = " ".join(report.template.split())
    # "%s" alone says nothing: everything that is ever logged like that would be one failure.
    says_something = any(character.isalpha() for character in _PLACEHOLDER.sub("", template))
    return [template] if says_something else []


_RULES: tuple[tuple[str, Callable[[ErrorReport], list[object]]], ...] = (
    ("stack", _by_stack),
    ("exception", _by_exception),
    ("template", _by_template),
)
