"""Texts that can be erased: the record commits to them by salted hashes, and they themselves stand beside it.

The form is that of RFC 9901 (SD-JWT), 4.2: a *disclosure* is base64url(JSON [salt, name, value]) without padding, its
*commitment* base64url(SHA-256(disclosure)). A record's canonical bytes carry the commitments as `_sd`, sorted, so that
their order tells nothing. Without the salt nobody can confirm a guess; without the disclosure the record verifies.
What checks evidence needs this module, so it needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

COMMITMENTS = "_sd"
"""The member of a canonical document that holds its commitments: the name that RFC 9901 gives it."""
SALT_BYTES = 16
ERASED = "[erased]"
"""What is shown to people where a text was erased; programs see null."""

BESIDE = frozenset({"canonical", "checksum", "disclosures", "erased"})
"""The columns of a guarded table that are no part of what a row says."""
DISCLOSABLE: Mapping[str, tuple[str, ...]] = {
    "incidents": ("title", "description"),
    "incident_acknowledgments": ("ack_notes",),
    "incident_root_causes": ("root_cause_summary", "remediation_steps"),
    "incident_escalations": ("escalation_notes",),
    "incident_resolution": (
        "resolution_summary",
        "resolution_notes",
        "impact_assessment",
        "lessons_learned",
        "follow_up_actions",
    ),
    "incident_closures": ("lessons_learned", "follow_up_actions"),
    "incident_lifecycle": ("personal",),
}
"""Which columns of which guarded table hold what people wrote or clients sent. The database says it a second time."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_PADDING = ("", "===", "==", "=")


class DisclosureError(ValueError):
    """A disclosure that is none."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A disclosure, read: the column that it is about, and what stands there."""

    salt: str
    name: str
    value: object


def disclose(name: str, value: object, salt: bytes) -> str:
    """Make the disclosure of a value (plain JSON, not null) with a salt of SALT_BYTES that was never used before."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return _base64url(_encode([_base64url(salt), name, value]).encode())


def commitment(disclosure: str) -> str:
    """Return what a record says of a disclosure: the hash of its characters, as RFC 9901, 4.2.3 wants it."""
    return _base64url(hashlib.sha256(disclosure.encode()).digest())


def commitments(disclosures: Iterable[str]) -> list[str]:
    """Return the commitments of a record, sorted."""
    return sorted(map(commitment, disclosures))


def read(disclosure: str) -> Disclosure:
    """Read a disclosure; raise DisclosureError."""
    told = read_quickly(disclosure)
    if told is None:
        raise DisclosureError("a disclosure is base64url of [salt, name, value]")
    return Disclosure(*told)


def read_quickly(disclosure: str) -> tuple[str, str, Any] | None:
    """Return salt, name and value of a disclosure, None if it is none."""
    padded = disclosure.replace("-", "+").replace("_", "/") + _PADDING[len(disclosure) & 3]
    try:
        told = _decode(a2b_base64(padded).decode())
    except (ValueError, RecursionError):
        return None
    # A whole database is verified with this: no call that is not needed.
    if told.__class__ is list and len(told) == 3 and told[2] is not None:
        salt, name, value = told
        if salt.__class__ is str and name.__class__ is str:
            return salt, name, value
    return None


def changed(
    values: Mapping[str, object], disclosures: Sequence[str], erased: Collection[str], committed: Collection[str]
) -> list[str]:
    """Return which columns are not what a record committed to: texts by their name, `disclosures`, `erased`.

    `values` are the record's disclosable columns as plain JSON, `committed` its commitments. Each value needs its
    disclosure, and each commitment either a disclosure or a column that is said to be erased.
    """
    wrong = {name for name, value in values.items() if value is not None}
    said: dict[str, object] = {}
    for disclosure in disclosures:
        try:
            told = read(disclosure)
        except DisclosureError:
            wrong.add("disclosures")
            continue
        if commitment(disclosure) not in committed or told.name not in values or told.name in said:
            wrong.add("disclosures")
            continue
        said[told.name] = told.value
        (wrong.discard if values[told.name] == told.value else wrong.add)(told.name)
    if not set(erased) <= values.keys() - said.keys() or len(set(erased)) != len(erased):
        wrong.add("erased")
    elif len(said) + len(erased) != len(committed):
        wrong.add("disclosures")
    return sorted(wrong)


def _base64url(value: bytes) -> str:
    return b2a_base64(value, newline=False).translate(_URL_SAFE, b"=").decode()
