"""The guards of the record: what the database has, and what the migrations of this version make.

`migrations/guards.txt` lists everything in the schema that decides which rows may come in, change or be seen, as a hash
of its definition. It comes with the package and not from the database, so whoever changed a guard there cannot change
what it is compared with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from psycopg.types.json import Jsonb

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("guards")
MANIFEST = "guards.txt"
_HASH_DIGITS = 32
_WRITTEN_DIFFERENTLY = frozenset({"definition"})
"""Kinds that each version of PostgreSQL words in its own way: compared with the baseline, not with the manifest."""
_NOT_HELD = frozenset({"role", "membership", "event trigger", "setting"})
"""Kinds whose commands fire no event trigger, as in hardening.sql."""
_READ_ONLY = "SELECT on "
_GRAVEST = ("role", "membership", "setting", "event", "trigger", "function")


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing that guards the record, in words. `object` is its OID."""

    kind: str
    object: int
    identity: str
    definition: str

    @property
    def name(self) -> str:
        """Return how it is called: `trigger a_no_change on tocsin.incidents`."""
        return f"{self.kind} {self.identity}"


@dataclass(frozen=True, slots=True)
class Guards:
    """What guards the record here; `baseline` is empty unless the schema is hardened against its owner."""

    state: tuple[Guard, ...]
    baseline: tuple[Guard, ...]
    newest_migration: int

    @property
    def hardened(self) -> bool:
        """Is there anything of the hardening, be it whole or broken?"""
        return any(is_of_hardening(guard.name) for guard in self.state)

    @property
    def armed(self) -> bool:
        """Do the event triggers of the hardening refuse anything, or did a superuser suspend them?"""
        return any(guard.kind == "event trigger" and guard.definition.endswith(" always") for guard in self.state)

    @property
    def held(self) -> frozenset[Guard]:
        """What the event triggers compare with the baseline."""
        return frozenset(guard for guard in self.state if guard.kind not in _NOT_HELD)

    @property
    def baseline_is_current(self) -> bool:
        """Would the event triggers find nothing? Not so in a database made from a dump, where every OID is another."""
        return self.held == frozenset(self.baseline)

    @property
    def unchanged_since_hardened(self) -> bool:
        """Are the guards those of the baseline, whatever their OIDs?"""
        return _in_words(self.held) == _in_words(self.baseline)


async def read(tx: Tx) -> Guards:
    """Read the guards of an open transaction's database."""
    settings = await tx.value(QUERIES["settings"])
    await tx.run(QUERIES["plain_names"])
    state = await tx.rows(QUERIES["state"], Guard)
    hardened = await tx.value(QUERIES["is_hardened"])
    baseline = await tx.rows(QUERIES["baseline"], Guard) if hardened else []
    newest = await tx.value(QUERIES["newest_migration"])
    await tx.run(QUERIES["set_back"], {"settings": Jsonb(settings)})
    return Guards(tuple(state), tuple(baseline), newest or 0)


def manifest_of(state: Iterable[Guard]) -> str:
    """Return the text of the manifest that describes this state."""
    lines = {f"{_hash(guard)} {guard.name}\n" for guard in state if guard.kind not in _WRITTEN_DIFFERENTLY}
    return "".join(sorted(lines, key=lambda line: line[_HASH_DIGITS:]))


def hardening() -> bytes:
    """Return the statements that harden the schema against its owner, for a superuser to run in one transaction."""
    text = resources.files("tocsin.store").joinpath("migrations", "hardening.sql").read_bytes()
    return text.replace(b"%(state)s", QUERIES["state"])


@cache
def manifest() -> dict[str, str]:
    """Return what the migrations of this version make: each guard's name and the hash of its definition."""
    text = resources.files("tocsin.store").joinpath("migrations", MANIFEST).read_text("utf-8")
    return {name: digest for digest, _, name in (line.partition(" ") for line in text.splitlines())}


def faults(guards: Guards) -> list[str]:
    """Return what is missing, added or not as the migrations made it; in words, what lets most through comes first."""
    return sorted({*_against_manifest(guards), *_against_baseline(guards)}, key=_gravity)


def _gravity(fault: str) -> tuple[int, str]:
    kind = fault.partition(" ")[0]
    return (_GRAVEST.index(kind) if kind in _GRAVEST else len(_GRAVEST), fault)


def _against_manifest(guards: Guards) -> Iterator[str]:
    here = {guard.name: guard for guard in guards.state}
    hardened = guards.hardened
    for name, digest in manifest().items():
        if not hardened and is_of_hardening(name):
            continue
        if name not in here:
            yield f"{name} is missing"
        elif _hash(here[name]) != digest:
            yield f"{name} is not what the migrations made it: {_shown(here[name].definition)}"
    for name, guard in here.items():
        harmless = guard.kind in _WRITTEN_DIFFERENTLY or guard.identity.startswith(_READ_ONLY)
        if name not in manifest() and not harmless:
            yield f"{name} was added"


def _against_baseline(guards: Guards) -> Iterator[str]:
    if not guards.baseline:
        return
    then = {guard.name: guard.definition for guard in guards.baseline if guard.kind in _WRITTEN_DIFFERENTLY}
    now = {guard.name: guard.definition for guard in guards.state if guard.kind in _WRITTEN_DIFFERENTLY}
    for name in then.keys() | now.keys():
        if then.get(name) != now.get(name):
            yield f"{name} is not what it was when the schema was hardened"


def _in_words(guards: Iterable[Guard]) -> frozenset[tuple[str, str]]:
    return frozenset((guard.name, guard.definition) for guard in guards)


def is_of_hardening(name: str) -> bool:
    """Is what bears this name part of what only a superuser can install?"""
    kind, _, identity = name.partition(" ")
    return kind == "event" or "tocsin_guard" in identity


def _hash(guard: Guard) -> str:
    return hashlib.sha256(guard.definition.encode()).hexdigest()[:_HASH_DIGITS]


def _shown(definition: str) -> str:
    line = " ".join(definition.split())
    return line if len(line) <= 200 else f"{line[:200]}…"
