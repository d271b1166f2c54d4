"""The bundle: everything that was recorded of one incident, and its proofs, as one JSON file.

docs/reference/evidence-bundle.md specifies the form. What was hashed stands in it as the text that it is, so that
`jq -j` gives its very bytes; hashes are lower-case hex, tokens Base64. Reading it decides nothing: `verify` does.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeVar

from tocsin.domain.timeline import MAX_DETAIL_BYTES, MAX_ENTRY_BYTES
from tocsin.evidence import EvidenceError
from tocsin.evidence.timestamp import MAX_TOKEN_BYTES
from tocsin.tlog.note import MAX_NOTE_BYTES

FORMAT = "tocsin-evidence/v1"
MEDIA_TYPE = "application/json"
MAX_BUNDLE_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 10_000
MAX_ANCHORS = 128
MAX_KEYS = 16
MAX_COSIGNATURES = 64
MAX_TIMESTAMPS = 16
MAX_DISCLOSURES = 16
MAX_DISCLOSURE_CHARACTERS = MAX_DETAIL_BYTES
MAX_PROOF_HASHES = 64
MAX_COSIGNATURE_CHARACTERS = 10_000
MAX_INTEGER = 2**53 - 1

_HASH = re.compile(r"[0-9a-f]{64}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoggedLeaf:
    """A leaf of the log: its place, its bytes, and its inclusion proof in the bundle's checkpoint.

    If it is an entry, also the disclosures of texts that it commits to.
    """

    index: int
    proof: tuple[bytes, ...]
    data: bytes
    disclosures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Detail:
    """What an entry names by its checksum: its bytes, and the disclosures of texts that they commit to."""

    data: bytes
    disclosures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadLeaf:
    """The incident's leaf of the head tree, and its proof there."""

    data: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Vouched:
    """A checkpoint as the log signed it (a note), and what others say of it."""

    note: str
    cosignatures: tuple[str, ...] = ()
    timestamps: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Anchor:
    """Another checkpoint of the log, and the proof that one of it and the bundle's checkpoint continues the other."""

    vouched: Vouched
    consistency: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """The evidence of one incident. What `keys` says is a claim: the verifier's policy says whom it trusts.

    Args:
        entries: the timeline, in its order.
        details: what the entries name by its checksum, in the entries' order.
        heads: the log's last leaf, which commits to the head tree; None: no proof of completeness.
        head: the incident's leaf of that tree.
    """

    origin: str
    keys: tuple[str, ...]
    incident_id: str
    number: int
    entries: tuple[LoggedLeaf, ...]
    details: tuple[Detail, ...]
    heads: LoggedLeaf | None
    head: HeadLeaf | None
    checkpoint: Vouched
    anchors: tuple[Anchor, ...] = ()


def encode(bundle: Bundle) -> bytes:
    """Return the bundle as a file, the same bytes each time. Raises EvidenceError if it is too large."""
    document = {
        "format": FORMAT,
        "origin": bundle.origin,
        "keys": list(bundle.keys),
        "incident": {"id": bundle.incident_id, "number": bundle.number},
        "entries": [_leaf_document(leaf, disclosed=True) for leaf in bundle.entries],
        "details": [
            {"canonical": detail.data.decode("utf-8"), "disclosures": list(detail.disclosures)}
            for detail in bundle.details
        ],
        "heads": _leaf_document(bundle.heads) if bundle.heads else None,
        "head": {"proof": _hex(bundle.head.proof), "canonical": bundle.head.data.decode()} if bundle.head else None,
        "checkpoint": _vouched_document(bundle.checkpoint),
        "anchors": [
            _vouched_document(anchor.vouched) | {"consistency": _hex(anchor.consistency)} for anchor in bundle.anchors
        ],
    }
    data = json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8") + b"\n"
    if len(data) > MAX_BUNDLE_BYTES:
        raise EvidenceError(f"the bundle would have {len(data)} bytes, more than {MAX_BUNDLE_BYTES}")
    return data


def _leaf_document(leaf: LoggedLeaf, *, disclosed: bool = False) -> dict[str, object]:
    document: dict[str, object] = {
        "index": leaf.index,
        "proof": _hex(leaf.proof),
        "canonical": leaf.data.decode("utf-8"),
    }
    return document | {"disclosures": list(leaf.disclosures)} if disclosed else document


def _vouched_document(vouched: Vouched) -> dict[str, object]:
    return {
        "note": vouched.note,
        "cosignatures": list(vouched.cosignatures),
        "timestamps": [base64.b64encode(token).decode("ascii") for token in vouched.timestamps],
    }


def _hex(hashes: Sequence[bytes]) -> list[str]:
    return [one.hex() for one in hashes]


def parse_bundle(data: bytes) -> Bundle:
    """Read a bundle, bounded in every part. Raises EvidenceError naming the part that is not as it must be."""
    if len(data) > MAX_BUNDLE_BYTES:
        raise EvidenceError(f"the file has more than {MAX_BUNDLE_BYTES} bytes")
    whole = load_json(data, "the file")
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise EvidenceError(f"the file is not evidence in the format {FORMAT}")
    return _bundle(_Fields(whole, "the bundle"))


def load_json(data: bytes, what: str) -> Any:
    """Read JSON that means one thing: no name twice, no floats, integers below 2**53. Raises EvidenceError."""
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_distinct,
            parse_float=_refuse_number,
            parse_int=_integer,
            parse_constant=_refuse_number,
        )
    except UnicodeDecodeError:
        raise EvidenceError(f"{what} is not UTF-8") from None
    except RecursionError:
        raise EvidenceError(f"{what} is nested too deeply") from None
    except EvidenceError as error:
        raise EvidenceError(f"{what}: {error}") from None
    except ValueError as error:
        raise EvidenceError(f"{what} is not JSON: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise EvidenceError("an object has a name twice")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise EvidenceError(f"{text[:40]} is not an integer")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise EvidenceError(f"{text[:40]} is not an integer below 2**53")
    return int(text)


@dataclass(frozen=True, slots=True)
class _Fields:
    """An object of the file, whose fields are taken one by one; `done` refuses what was not."""

    document: dict[str, Any]
    where: str

    @classmethod
    def of(cls, value: object, where: str) -> _Fields:
        if not isinstance(value, dict):
            raise EvidenceError(f"{where} is not an object")
        return cls(value, where)

    def only(self, *names: str) -> _Fields:
        """Return itself if it has these fields and no others."""
        if missing := [name for name in names if name not in self.document]:
            raise EvidenceError(f"{self.where} lacks {missing[0]}")
        if surplus := sorted(self.document.keys() - set(names)):
            raise EvidenceError(f"{self.where} has a field that is not known: {surplus[0][:40]!r}")
        return self

    def path(self, name: str) -> str:
        return f"{self.where}.{name}"

    def text(self, name: str, most: int) -> str:
        """Return a text that can be encoded, of at most so many bytes."""
        return _text(self.document[name], self.path(name), most)

    def number(self, name: str) -> int:
        value = self.document[name]
        if type(value) is not int or value < 0:
            raise EvidenceError(f"{self.path(name)} is not a number")
        return value

    def items(self, name: str, most: int, read: Callable[[object, str], T]) -> tuple[T, ...]:
        value = self.document[name]
        if not isinstance(value, list):
            raise EvidenceError(f"{self.path(name)} is not a list")
        if len(value) > most:
            raise EvidenceError(f"{self.path(name)} has {len(value)} items, more than {most}")
        return tuple(read(item, f"{self.path(name)}[{place}]") for place, item in enumerate(value))

    def hashes(self, name: str) -> tuple[bytes, ...]:
        return self.items(name, MAX_PROOF_HASHES, _read_hash)


def _text(value: object, where: str, most: int) -> str:
    if not isinstance(value, str):
        raise EvidenceError(f"{where} is not a text")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise EvidenceError(f"{where} has half a character (a lone surrogate)") from None
    if not 0 < size <= most:
        raise EvidenceError(f"{where} has {size} bytes, not 1 to {most}")
    return value


def _read_hash(value: object, where: str) -> bytes:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise EvidenceError(f"{where} is not a hash of 64 lower-case hex digits")
    return bytes.fromhex(value)


def _bundle(fields: _Fields) -> Bundle:
    fields.only(
        *("format", "origin", "keys", "incident", "entries", "details", "heads", "head", "checkpoint", "anchors")
    )
    incident = _Fields.of(fields.document["incident"], "incident").only("id", "number")
    incident_id = incident.text("id", 36)
    if not _UUID.fullmatch(incident_id):
        raise EvidenceError("incident.id is not a UUID")
    heads, head = fields.document["heads"], fields.document["head"]
    return Bundle(
        origin=fields.text("origin", 300),
        keys=fields.items("keys", MAX_KEYS, lambda value, where: _text(value, where, 1_000)),
        incident_id=incident_id,
        number=incident.number("number"),
        entries=fields.items("entries", MAX_ENTRIES, _entry),
        details=fields.items("details", MAX_ENTRIES, _detail),
        heads=None if heads is None else _leaf(_Fields.of(heads, "heads").only("index", "proof", "canonical")),
        head=None if head is None else _head(_Fields.of(head, "head").only("proof", "canonical")),
        checkpoint=_vouched(_Fields.of(fields.document["checkpoint"], "checkpoint").only(*_VOUCHED)),
        anchors=fields.items("anchors", MAX_ANCHORS, _anchor),
    )


_VOUCHED = ("note", "cosignatures", "timestamps")


def _leaf(fields: _Fields) -> LoggedLeaf:
    data = fields.text("canonical", MAX_ENTRY_BYTES).encode("utf-8")
    return LoggedLeaf(fields.number("index"), fields.hashes("proof"), data)


def _entry(value: object, where: str) -> LoggedLeaf:
    fields = _Fields.of(value, where).only("index", "proof", "canonical", "disclosures")
    return replace(_leaf(fields), disclosures=_disclosures(fields))


def _detail(value: object, where: str) -> Detail:
    fields = _Fields.of(value, where).only("canonical", "disclosures")
    return Detail(fields.text("canonical", MAX_DETAIL_BYTES).encode("utf-8"), _disclosures(fields))


def _disclosures(fields: _Fields) -> tuple[str, ...]:
    return fields.items(
        "disclosures", MAX_DISCLOSURES, lambda value, where: _text(value, where, MAX_DISCLOSURE_CHARACTERS)
    )


def _head(fields: _Fields) -> HeadLeaf:
    return HeadLeaf(fields.text("canonical", MAX_ENTRY_BYTES).encode("utf-8"), fields.hashes("proof"))


def _vouched(fields: _Fields) -> Vouched:
    return Vouched(
        fields.text("note", MAX_NOTE_BYTES),
        fields.items(
            "cosignatures", MAX_COSIGNATURES, lambda value, where: _text(value, where, MAX_COSIGNATURE_CHARACTERS)
        ),
        fields.items("timestamps", MAX_TIMESTAMPS, _token),
    )


def _token(value: object, where: str) -> bytes:
    text = _text(value, where, 4 * (MAX_TOKEN_BYTES + 2) // 3)
    try:
        token = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        token = b""
    if base64.b64encode(token).decode("ascii") != text:
        raise EvidenceError(f"{where} is not Base64")
    return token


def _anchor(value: object, where: str) -> Anchor:
    fields = _Fields.of(value, where).only(*_VOUCHED, "consistency")
    return Anchor(_vouched(fields), fields.hashes("consistency"))
