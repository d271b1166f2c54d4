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
from tocsin.domain import disclosure
from tocsin.domain.disclosure import BESIDE, COMMITMENTS, DISCLOSABLE
from tocsin.domain.sealing import canonical_bytes, plain_texts
from tocsin.domain.timeline import CANONICAL_VERSION, leaf_hash
from tocsin.domain.workflow import TRANSITIONS
from tocsin.store import verification
from tocsin.store.database import Tx
from tocsin.store.verification import Erasures, Texts

LIFECYCLE = "incident_lifecycle"
_JSON_COLUMNS = frozenset({"metadata", "personal", "follow_up_actions"})

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
    erasures = await verification.erasures(work.tx)
    counted = Counted(await verification.count_rows(work.tx), progress)
    for table in verification.DETAIL_TABLES:
        async for texts in verification.texts(work.tx, table):
            await _check_rows(work.tx, result, table, texts, erasures)
            result.rows += len(texts.rows)
            counted.add(len(texts.rows))
    last = _Last()
    async for texts in verification.texts(work.tx, LIFECYCLE):
        await _check_rows(work.tx, result, LIFECYCLE, texts, erasures)
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


async def _check_rows(tx: Tx, result: Verification, table: str, texts: Texts, erasures: Erasures) -> None:
    """Hold rows against their canonical bytes: quickly, and those that seem to differ once more as seal() does it."""
    odd = [row[texts.id_at] for row in texts.rows if not _is_recorded(table, texts.names, row)]
    if odd:
        found = await verification.rows(tx, table, odd)
        for row in found:
            _check_row(result, table, row, erasures)


def _is_recorded(table: str, names: Sequence[str], row: Sequence[Any]) -> bool:
    """Tell whether a row certainly is what was recorded. The same bytes as RFC 8785 unless a key is not ASCII."""
    canonical, checksum = row[0], row[1]
    document = dict(zip(names, row, strict=True))
    del document["canonical"], document["checksum"]
    if table in DISCLOSABLE and not _part_with_texts(document, DISCLOSABLE[table]):
        return False
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


def _part_with_texts(document: dict[str, Any], names: Sequence[str]) -> bool:
    """Put the commitments of a row in the place of its texts; return False if it is not certain that they agree."""
    disclosures, erased = document.pop("disclosures"), document.pop("erased")
    texts = {name: document.pop(name) for name in names}
    if erased:
        return False
    document[COMMITMENTS] = disclosure.commitments(disclosures)
    for one in disclosures:
        told = disclosure.read_quickly(one)
        if told is None:
            return False
        text = texts.pop(told[1], None)
        if told[1] in _JSON_COLUMNS and text is not None:
            try:
                text = _decode(text)
            except ValueError:
                return False
        if text != told[2]:
            return False
    return all(text is None for text in texts.values())


def _check_row(result: Verification, table: str, row: Mapping[str, Any], erasures: Erasures) -> None:
    columns = {name: value for name, value in row.items() if name not in BESIDE}
    canonical, checksum = bytes(row["canonical"]), bytes(row["checksum"])
    recorded = _document(canonical)
    committed = _commitments(table, recorded)
    try:
        rebuilt = canonical_bytes(table, columns, committed)
        texts = dict.fromkeys(DISCLOSABLE.get(table, ())) | plain_texts(table, columns)
    except (ValueError, TypeError) as error:
        result.add(table, row["id"], f"it holds what is never recorded: {error}")
        return
    changed = _differences(json.loads(rebuilt), recorded) if rebuilt != canonical else []
    if committed is not None:
        changed += disclosure.changed(texts, row["disclosures"], row["erased"], committed)
    if changed or rebuilt != canonical:
        result.add(table, row["id"], f"changed since it was recorded: {', '.join(changed) or 'its canonical bytes'}")
    if leaf_hash(canonical) != checksum:
        result.add(table, row["id"], "its checksum is not that of its canonical bytes")
    _check_erasures(result, table, row, erasures)


def _document(canonical: bytes) -> dict[str, Any]:
    try:
        document = json.loads(canonical)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _commitments(table: str, recorded: dict[str, Any]) -> list[str] | None:
    """Return what a row commits to; None where texts stand in the canonical bytes, as before there were commitments."""
    said = recorded.get(COMMITMENTS)
    if table not in DISCLOSABLE or not isinstance(said, list):
        return None
    return [str(one) for one in said]


def _differences(now: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    if not recorded:
        return []
    return sorted(name for name, value in now.items() if name not in recorded or recorded[name] != value)


def _check_erasures(result: Verification, table: str, row: Mapping[str, Any], erasures: Erasures) -> None:
    incident_id = row["id"] if table == "incidents" else row["incident_id"]
    named = erasures.get((incident_id, table, bytes(row["checksum"]).hex()), frozenset())
    if silently := sorted(set(row.get("erased", ())) - named):
        result.add(table, row["id"], f"erased, and no entry of its incident says so: {', '.join(silently)}")


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
