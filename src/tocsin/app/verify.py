"""Recomputes the whole record: every checksum from the columns, every chain, every pair, and the log over all of it.

It trusts no trigger. It finds what somebody changed behind the triggers' back; what was recomputed consistently, cut
off or restored, the log finds (verify_log), as far as its signed checkpoints are known here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from tocsin.app.guards import examine_guards
from tocsin.app.verify_log import OutsideCheckpoint, verify_log
from tocsin.app.verify_result import Counted, Progress, Verification
from tocsin.app.work import Work
from tocsin.domain.timeline import CANONICAL_VERSION, leaf_hash, seal
from tocsin.domain.workflow import TRANSITIONS
from tocsin.store import verification
from tocsin.store.database import Tx
from tocsin.store.verification import Texts

LIFECYCLE = "incident_lifecycle"
_JSON_COLUMNS = frozenset({"metadata", "follow_up_actions"})

# As texts: what a tampered row says need not be a kind or a status at all.
_LEADS = {(str(kind), before, str(after)) for kind, pairs in TRANSITIONS.items() for before, after in pairs}

_encode = msgspec.json.Encoder(order="sorted").encode


def _refuse_float(_: str) -> None:
    raise ValueError("a float is never recorded")


_decode = msgspec.json.Decoder(float_hook=_refuse_float).decode


@dataclass(slots=True)
class _Last:
    """The entry before the one that is looked at: its incident, where it stands in it, and what it leads to."""

    incident: str | None = None
    sequence: int = 0
    checksum: str | None = None
    status: str | None = None


async def verify_database(
    work: Work, progress: Progress | None = None, outside: Sequence[OutsideCheckpoint] = ()
) -> Verification:
    """Check every guarded row of the database and its log, as of one instant, against checkpoints kept elsewhere."""
    await verification.snapshot(work.tx)
    result = Verification(guards=await examine_guards(work.tx))
    counted = Counted(await verification.count_rows(work.tx), progress)
    for table in verification.DETAIL_TABLES:
        async for texts in verification.texts(work.tx, table):
            await _check_rows(work.tx, result, table, texts)
            result.rows += len(texts.rows)
            counted.add(len(texts.rows))
    last = _Last()
    async for texts in verification.texts(work.tx, LIFECYCLE):
        await _check_rows(work.tx, result, LIFECYCLE, texts)
        _check_links(result, last, texts)
        result.rows += len(texts.rows)
        result.entries += len(texts.rows)
        counted.add(len(texts.rows))
    result.incidents = await verification.count_heads(work.tx)
    async for head in verification.changed_heads(work.tx):
        said = ", ".join(head.changed)
        result.add("incident_heads", head.incident_id, f"it does not say what the timeline says: {said}")
    for problem, broken in await verification.broken_pairs(work.tx):
        result.add(broken.kind, broken.id, problem)
    await verify_log(work.tx, result, counted, outside)
    return result


async def _check_rows(tx: Tx, result: Verification, table: str, texts: Texts) -> None:
    """Hold rows against their canonical bytes: quickly, and those that seem to differ once more as seal() does it."""
    odd = [row[texts.id_at] for row in texts.rows if not _is_recorded(table, texts.names, row)]
    if odd:
        found = await verification.rows(tx, table, odd)
        for row in found:
            _check_row(result, table, row)


def _is_recorded(table: str, names: Sequence[str], row: Sequence[Any]) -> bool:
    """Tell whether a row certainly is what was recorded. The same bytes as RFC 8785 unless a key is not ASCII."""
    canonical, checksum = row[0], row[1]
    document = dict(zip(names, row, strict=True))
    del document["canonical"], document["checksum"]
    for column in _JSON_COLUMNS & document.keys():
        text = document[column]
        if text is not None:
            if not text.isascii():
                return False
            try:
                document[column] = _decode(text)
            except ValueError:
                return False
    document["record"], document["v"] = table, CANONICAL_VERSION
    same: bool = _encode(document) == canonical and hashlib.sha256(b"\x00" + canonical).digest() == checksum
    return same


def _check_row(result: Verification, table: str, row: Mapping[str, Any]) -> None:
    columns = {name: value for name, value in row.items() if name not in ("canonical", "checksum")}
    canonical, checksum = bytes(row["canonical"]), bytes(row["checksum"])
    try:
        sealed = seal(table, columns)
    except (ValueError, TypeError) as error:
        result.add(table, row["id"], f"it holds what is never recorded: {error}")
        return
    if sealed.canonical != canonical:
        changed = ", ".join(_differences(sealed.canonical, canonical)) or "its canonical bytes"
        result.add(table, row["id"], f"changed since it was recorded: {changed}")
    if leaf_hash(canonical) != checksum:
        result.add(table, row["id"], "its checksum is not that of its canonical bytes")


def _differences(now: bytes, recorded: bytes) -> list[str]:
    try:
        then = json.loads(recorded)
    except ValueError:
        return []
    if not isinstance(then, dict):
        return []
    return sorted(name for name, value in json.loads(now).items() if name not in then or then[name] != value)


def _check_links(result: Verification, last: _Last, texts: Texts) -> None:
    at = {name: place for place, name in enumerate(texts.names)}
    incident, sequence, previous = at["incident_id"], at["sequence"], at["previous_checksum"]
    kind, before, after = at["event_type"], at["status_before"], at["status_after"]
    for row in texts.rows:
        if row[incident] != last.incident:
            last.incident, last.sequence, last.checksum, last.status = row[incident], 0, None, None
        problems = []
        if row[sequence] != last.sequence + 1:
            problems.append(f"entry {last.sequence + 1} of its incident is missing before it")
        else:
            if row[previous] != last.checksum:
                problems.append("it does not continue the entry before it")
            if row[before] != last.status or (row[kind], row[before], row[after]) not in _LEADS:
                problems.append(f"{row[kind]} is a step out of order")
        for problem in problems:
            result.add(LIFECYCLE, UUID(row[texts.id_at]), problem)
        last.sequence, last.checksum, last.status = row[sequence], "\\x" + row[1].hex(), row[after]
