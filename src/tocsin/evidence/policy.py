"""Whom a verifier trusts: a policy file in the format of c2sp.org/tlog-policy, with three lines of our own.

authority NAME BASE64     a certificate (DER) to which the time stamps of an authority must lead
timestamp required        without a valid time stamp nothing is proven
delay SECONDS             each entry must have been vouched for within so long of the time that it claims
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from tocsin.evidence import EvidenceError
from tocsin.evidence.chain import certificate
from tocsin.tlog import ProofError
from tocsin.tlog.note import COSIGNATURE, ED25519, VerifierKey

MAX_POLICY_BYTES = 1_048_576
MAX_NAMES = 256
"""Logs, witnesses, groups or authorities, of each."""
MAX_DELAY_SECONDS = 10**9
NOBODY = "none"


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these, witnesses or groups, stand for the whole."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom to trust. `quorum` names a witness or a group, or is NOBODY: then the log's own signature is enough.

    Args:
        max_delay_seconds: between an entry's own time and the first proof that it existed; None: any.
    """

    logs: tuple[VerifierKey, ...] = ()
    witnesses: Mapping[str, VerifierKey] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    quorum: str = NOBODY
    authorities: Mapping[str, x509.Certificate] = field(default_factory=dict)
    timestamp_required: bool = False
    max_delay_seconds: int | None = None

    def satisfied_by(self, cosigned: Collection[str]) -> bool:
        """Tell whether these witnesses (by their names here) are a quorum."""
        return self.quorum == NOBODY or self._stands(self.quorum, cosigned)

    def _stands(self, name: str, cosigned: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in cosigned
        return sum(self._stands(member, cosigned) for member in group.members) >= group.threshold


def parse_policy(data: bytes) -> Policy:
    """Read a policy file. Raises EvidenceError naming the line that cannot be followed."""
    if len(data) > MAX_POLICY_BYTES:
        raise EvidenceError(f"the policy has {len(data)} bytes, more than {MAX_POLICY_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise EvidenceError("the policy is not UTF-8") from None
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            reader.read(line)
        except ValueError as error:
            raise EvidenceError(f"policy, line {number}: {error}") from None
    if reader.quorum is None:
        raise EvidenceError("the policy has no quorum line; `quorum none` asks for no witness")
    return Policy(
        tuple(reader.logs),
        reader.witnesses,
        reader.groups,
        reader.quorum,
        reader.authorities,
        reader.timestamp_required,
        reader.max_delay_seconds,
    )


class _Reader:
    """A policy as far as it has been read."""

    def __init__(self) -> None:
        self.logs: list[VerifierKey] = []
        self.witnesses: dict[str, VerifierKey] = {}
        self.groups: dict[str, Group] = {}
        self.authorities: dict[str, x509.Certificate] = {}
        self.quorum: str | None = None
        self.timestamp_required = False
        self.max_delay_seconds: int | None = None
        self._members: set[str] = set()
        self._kinds: dict[str, Callable[[Sequence[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
            "authority": self._authority,
            "timestamp": self._timestamp,
            "delay": self._delay,
        }

    def read(self, line: str) -> None:
        """Take in one line. Raises EvidenceError or ProofError."""
        if any((character < " " and character != "\t") or character == "\x7f" for character in line):
            raise EvidenceError("a control character")
        words = line.replace("\t", " ").split(" ")
        kind, *said = [word for word in words if word] or [""]
        if not kind or kind.startswith("#"):
            return
        if kind not in self._kinds:
            raise EvidenceError(f"{kind[:40]!r} is none of {', '.join(self._kinds)}")
        self._kinds[kind](said)

    def _log(self, said: Sequence[str]) -> None:
        _expect(said, "log VKEY [URL]", 1, 2)
        key = _key(said[0], ED25519)
        if key.public in {known.public for known in self.logs}:
            raise EvidenceError("this log's key stands in the policy twice")
        _bounded(self.logs)
        self.logs.append(key)

    def _witness(self, said: Sequence[str]) -> None:
        _expect(said, "witness NAME VKEY [URL]", 2, 3)
        key = _key(said[1], COSIGNATURE)
        if key.public in {known.public for known in self.witnesses.values()}:
            raise EvidenceError("this witness's key stands in the policy twice: one witness must not count as two")
        self._name(said[0])
        _bounded(self.witnesses)
        self.witnesses[said[0]] = key

    def _group(self, said: Sequence[str]) -> None:
        _expect(said, "group NAME all|any|NUMBER MEMBER...", 3, 2 + MAX_NAMES)
        name, how_many, *members = said
        self._name(name)
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise EvidenceError(f"no line above defines {member[:40]!r}")
            if member in self._members:
                raise EvidenceError(f"{member[:40]!r} is a member already: nobody may count twice")
            self._members.add(member)
        threshold = {"all": len(members), "any": 1}.get(how_many) or _number(how_many, len(members))
        if threshold < 1:
            raise EvidenceError(f"a group of {len(members)} is not satisfied by {how_many}")
        _bounded(self.groups)
        self.groups[name] = Group(threshold, tuple(members))

    def _quorum(self, said: Sequence[str]) -> None:
        _expect(said, "quorum NAME", 1, 1)
        if self.quorum is not None:
            raise EvidenceError("a second quorum line")
        if said[0] != NOBODY and said[0] not in self.witnesses and said[0] not in self.groups:
            raise EvidenceError(f"no line above defines {said[0][:40]!r}")
        self.quorum = said[0]

    def _authority(self, said: Sequence[str]) -> None:
        _expect(said, "authority NAME BASE64", 2, 2)
        name, encoded = said
        if name in self.authorities:
            raise EvidenceError(f"a second authority {name[:40]!r}")
        try:
            decoded = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise EvidenceError("the authority's certificate is not Base64") from None
        _bounded(self.authorities)
        self.authorities[name] = certificate(decoded, "the authority's certificate")

    def _timestamp(self, said: Sequence[str]) -> None:
        if list(said) != ["required"]:
            raise EvidenceError("it reads `timestamp required`")
        self.timestamp_required = True

    def _delay(self, said: Sequence[str]) -> None:
        _expect(said, "delay SECONDS", 1, 1)
        if self.max_delay_seconds is not None:
            raise EvidenceError("a second delay line")
        self.max_delay_seconds = _number(said[0], MAX_DELAY_SECONDS)

    def _name(self, name: str) -> None:
        if name == NOBODY or name in self.witnesses or name in self.groups:
            raise EvidenceError(f"the name {name[:40]!r} is taken")


def _expect(said: Sequence[str], form: str, least: int, most: int) -> None:
    if not least <= len(said) <= most:
        raise EvidenceError(f"it reads `{form}`")


def _bounded(names: Collection[object]) -> None:
    if len(names) >= MAX_NAMES:
        raise EvidenceError(f"more than {MAX_NAMES} of a kind")


def _number(text: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > most:
        raise EvidenceError(f"{text[:40]!r} is not a number up to {most}")
    return int(text)


def _key(text: str, algorithm: int) -> VerifierKey:
    try:
        key = VerifierKey.parse(text)
    except ProofError as error:
        raise EvidenceError(str(error)) from None
    if key.algorithm != algorithm:
        kinds = {ED25519: "a log", COSIGNATURE: "a witness"}
        raise EvidenceError(f"the vkey of {key.name} is not that of {kinds[algorithm]}")
    return key
