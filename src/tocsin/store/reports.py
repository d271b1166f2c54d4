"""Error reports and the failures that they are reports of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from tocsin.store.database import Tx
from tocsin.store.queries import Queries

QUERIES = Queries("reports")
DUPLICATE = "duplicate"

FailureKey = tuple[int, str]
"""A project and a fingerprint."""
EventKey = tuple[int, str]
"""A project and an event id."""


class NewReport(msgspec.Struct, omit_defaults=True, gc=False):
    """A report on its way into `audit_logs`.

    `n` is its place in the batch. `opens` says whether it may open an incident, within `window_seconds` it joins even a
    closed one; both count only while `outcome` is None. Where its document lies among those of the batch (bytes, from
    1) is filled in on the way; nowhere, if only its row is kept.
    """

    n: int
    id: UUID
    project_id: int
    event_id: str
    occurred_at: datetime
    severity: str
    error_type: str
    title: str
    fingerprint: str
    fingerprint_version: int
    fingerprint_basis: str
    opens: bool
    window_seconds: int
    protocol: str
    signal: str | None = None
    outcome: str | None = None
    incident_id: UUID | None = None
    document_start: int | None = None
    document_bytes: int | None = None


class _LatestReport(msgspec.Struct, gc=False):
    """The id of a report that was recorded, and where its document lies."""

    id: UUID
    document_start: int | None = None
    document_bytes: int | None = None


class TakenIn(msgspec.Struct, array_like=True):
    """What became of the reports at some places of a batch; without an outcome they need the careful way."""

    outcome: str | None
    incident_id: UUID | None
    places: list[int]


_TAKEN_IN = msgspec.json.Decoder(list[TakenIn])


@dataclass(frozen=True, slots=True)
class LatestIncident:
    """Where the latest incident of a failure stands."""

    project_id: int
    fingerprint: str
    incident_id: UUID
    status: str
    current_severity: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Past:
    """What was there before a batch: its failures' latest incidents, and which of its events, with their incidents."""

    latest: dict[FailureKey, LatestIncident]
    known: dict[EventKey, UUID | None]


@dataclass(frozen=True, slots=True)
class _KnownEvent:
    project_id: int
    event_id: str
    incident_id: UUID | None


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report as it was recorded; `document` is its JSON, None when only the row was kept. What was erased is None."""

    id: UUID
    project_id: int
    event_id: str
    received_at: datetime
    occurred_at: datetime
    severity: str
    error_type: str | None
    title: str | None
    fingerprint: str
    document: bytes | None
    outcome: str
    incident_id: UUID | None


@dataclass(frozen=True, slots=True)
class Gain:
    """How many occurrences an incident gained since the counters were last folded."""

    incident_id: UUID
    occurrences: int


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A report that was kept whole."""

    id: UUID
    event_id: str
    received_at: datetime
    severity: str
    title: str
    outcome: str
    document: bytes


def _json(rows: object) -> str:
    return msgspec.json.encode(rows).decode()


def _pairs(pairs: Iterable[tuple[int, str]], name: str) -> str:
    return _json([{"project_id": project_id, name: value} for project_id, value in pairs])


def _parameters(rows: Sequence[NewReport | _LatestReport], documents: Mapping[int, bytes]) -> dict[str, object]:
    start = 1
    for place, document in documents.items():
        rows[place].document_start, rows[place].document_bytes = start, len(document)
        start += len(document)
    return {"rows": _json(rows), "documents": b"".join(documents.values())}


async def take_in(tx: Tx, batch: Sequence[NewReport], documents: Mapping[int, bytes], now: datetime) -> list[TakenIn]:
    """Record and count the reports whose case is plain; say what became of them. One statement, no lock.

    `documents` are the JSON of those that are kept whole, by their places in the batch.
    """
    taken = _TAKEN_IN.decode(await tx.value(QUERIES["take_in"], {**_parameters(batch, documents), "now": now}))
    copies = {place for one in taken if one.outcome == DUPLICATE for place in one.places}
    if not copies:
        return taken
    events = {report.n: (report.project_id, report.event_id) for report in batch if report.n in copies}
    known = await known_events(tx, events.values())
    return [
        *(one for one in taken if one.outcome != DUPLICATE),
        *(TakenIn(DUPLICATE, known.get(event), [place]) for place, event in events.items()),
    ]


async def lock_failures(tx: Tx, keys: Iterable[FailureKey], now: datetime) -> dict[FailureKey, LatestIncident]:
    """Lock failures, making the new ones; return the latest incident of those that have one."""
    return (await look_back(tx, keys, (), now)).latest


async def look_back(tx: Tx, keys: Iterable[FailureKey], events: Iterable[EventKey], now: datetime) -> Past:
    """Lock failures, making the new ones; return what became of them, and of these events, before."""
    rows = _pairs(sorted(set(keys)), "fingerprint")
    await tx.run(QUERIES["lock_failures"], {"rows": rows, "now": now})
    latest = await tx.ask(QUERIES["latest_incidents"], LatestIncident, {"rows": rows})
    known = await known_events(tx, events)
    return Past({(row.project_id, row.fingerprint): row for row in await latest()}, known)


async def set_latest_incidents(tx: Tx, latest: Mapping[FailureKey, UUID], now: datetime) -> None:
    """Make incidents the latest of their failures, which must be locked."""
    rows = [
        {"project_id": project_id, "fingerprint": fingerprint, "incident_id": incident_id}
        for (project_id, fingerprint), incident_id in latest.items()
    ]
    if rows:
        await tx.run(QUERIES["set_latest_incidents"], {"rows": _json(rows), "now": now})


async def known_events(tx: Tx, keys: Iterable[EventKey]) -> dict[EventKey, UUID | None]:
    """Return which of these events were accepted before, with their incidents."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    known = await tx.rows(QUERIES["known_events"], _KnownEvent, {"rows": _pairs(wanted, "event_id")})
    return {(event.project_id, event.event_id): event.incident_id for event in known}


async def insert_many(tx: Tx, rows: Sequence[NewReport], documents: Mapping[int, bytes], now: datetime) -> None:
    """Record reports whose outcome is decided, and count them towards their incidents; `documents` as for `take_in`."""
    if rows:
        await tx.run(QUERIES["insert"], {**_parameters(rows, documents), "now": now})


async def get(tx: Tx, report_id: UUID) -> ReportRow | None:
    """Return one report."""
    return await tx.first(QUERIES["get"], ReportRow, {"id": report_id})


async def link(tx: Tx, report_id: UUID, incident_id: UUID) -> None:
    """Link a recorded report to the incident that a person opened for it."""
    await tx.run(QUERIES["link"], {"id": report_id, "incident_id": incident_id})


async def count_first_occurrences(tx: Tx, incident_id: UUID, occurrences: int, at: datetime) -> None:
    """Begin to count the occurrences of an incident that a person opened."""
    first = {"incident_id": incident_id, "occurrences": occurrences, "last_seen_at": at}
    await tx.run(QUERIES["count_first_occurrences"], first)


async def fold_occurrences(tx: Tx, *, many: int, limit: int) -> list[Gain]:
    """Fold the counters' differences; return incidents that gained `many` since the last time (up to `limit`)."""
    return await tx.rows(QUERIES["fold_occurrences"], Gain, {"many": many, "limit": limit})


async def keep_latest(tx: Tx, documents: Mapping[UUID, bytes]) -> None:
    """Keep the latest reports of failures, by their ids."""
    rows = [_LatestReport(report_id) for report_id in documents]
    await tx.run(QUERIES["keep_latest"], _parameters(rows, dict(enumerate(documents.values()))))


async def samples(tx: Tx, incident_id: UUID, limit: int) -> list[SampleRow]:
    """Return the reports of an incident that were kept whole, newest first."""
    return await tx.rows(QUERIES["samples"], SampleRow, {"incident_id": incident_id, "limit": limit})


@dataclass(frozen=True, slots=True)
class KeptReport:
    """That a report was kept whole, and when it came."""

    id: UUID
    received_at: datetime


async def kept_of_incident(tx: Tx, incident_id: UUID, limit: int) -> list[KeptReport]:
    """Return which reports of an incident were kept whole, newest first."""
    return await tx.rows(QUERIES["kept_of_incident"], KeptReport, {"incident_id": incident_id, "limit": limit})


async def kept(tx: Tx, incident_id: UUID, report_id: UUID) -> SampleRow | None:
    """Return one report of an incident that was kept whole."""
    return await tx.first(QUERIES["kept"], SampleRow, {"incident_id": incident_id, "id": report_id})


@dataclass(frozen=True, slots=True)
class _PeriodRow:
    period: int
    reports: int


async def occurrences_over_time(
    tx: Tx, incident_id: UUID, *, since: datetime, seconds: int, periods: int, most: int
) -> list[int]:
    """Return how many reports of an incident came in each period of so many seconds, up to `most` for each."""
    parameters = {"incident_id": incident_id, "since": since, "seconds": seconds, "periods": periods, "most": most}
    rows = await tx.rows(QUERIES["occurrences_over_time"], _PeriodRow, parameters)
    return [row.reports for row in sorted(rows, key=lambda row: row.period)]
