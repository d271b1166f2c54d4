"""Erasures: what can be erased, found; and what of a user the application erases itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from tocsin.domain.disclosure import ERASED
from tocsin.domain.erasure import ErasableRow
from tocsin.domain.notification import PageText
from tocsin.domain.timeline import EntryKind
from tocsin.store.database import Tx
from tocsin.store.migrate import CONNECT_TIMEOUT_SECONDS
from tocsin.store.queries import Queries

QUERIES = Queries("erasure")
MAX_REPORTS = 10_000
"""Reports that one search finds; who erases more searches again."""
MAX_ACCESSES = 100_000


@dataclass(frozen=True, slots=True)
class _TextRow:
    table: str
    checksum: bytes
    event_type: str | None
    disclosures: int
    event_id: str | None
    columns: list[str]


@dataclass(frozen=True, slots=True)
class FoundReport:
    """A report that may be erased, as much of it as people need to recognise it."""

    id: UUID
    incident_id: UUID | None
    event_id: str
    received_at: datetime
    title: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class ReportCounts:
    """How many reports of an incident are erased, and how many are whole."""

    erased: int
    whole: int


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages about an incident for one reason."""

    incident_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class _Id:
    id: UUID


async def texts_of_incident(tx: Tx, incident_id: UUID) -> list[ErasableRow]:
    """Return the rows of an incident that still hold texts."""
    found = await tx.rows(QUERIES["texts_of_incident"], _TextRow, {"incident_id": incident_id})
    return [
        ErasableRow(
            row.table,
            bytes(row.checksum),
            tuple(row.columns),
            EntryKind(row.event_type) if row.event_type else None,
            row.event_id,
            for_ever=row.disclosures == 0,
        )
        for row in found
    ]


async def take_time(tx: Tx) -> None:
    """Let this transaction read whole tables: nothing that is searched here has an index for it."""
    await tx.run(QUERIES["read_whole_tables"])
    await tx.take_time()


async def reports_by_id(tx: Tx, ids: Sequence[UUID]) -> list[FoundReport]:
    """Return these reports, unless they are erased."""
    return await tx.rows(QUERIES["reports_by_id"], FoundReport, {"ids": list(ids)})


async def count_reports_of(tx: Tx, incident_id: UUID) -> ReportCounts:
    """Return how many reports of an incident are erased, and how many are not, as far as they are committed by now."""
    (counts,) = await tx.rows(QUERIES["count_reports_of_incident"], ReportCounts, {"incident_id": incident_id})
    return counts


async def has_kept_erased(tx: Tx, incident_id: UUID) -> bool:
    """Tell whether something is left of an erased report of an incident, as the latest of its failure."""
    kept: bool = await tx.value(QUERIES["has_kept_erased"], {"incident_id": incident_id})
    return kept


async def reports_containing(tx: Tx, texts: Sequence[str], project_id: int | None = None) -> list[FoundReport]:
    """Return the oldest reports in which one of these texts stands, up to MAX_REPORTS and one more."""
    encoded = [msgspec.json.encode(text).decode()[1:-1] for text in texts]
    which = {"texts": list(texts), "encoded": encoded, "project_id": project_id, "limit": MAX_REPORTS + 1}
    return await tx.rows(QUERIES["reports_containing"], FoundReport, which)


async def pages_about(tx: Tx, incident_id: UUID) -> list[Pages]:
    """Return for which reasons there are pages about an incident, or about one that came back after it."""
    return await tx.rows(QUERIES["pages_about"], Pages, {"incident_id": incident_id})


async def rewrite_pages(tx: Tx, pages: Pages, text: PageText) -> None:
    """Let pages say something else."""
    said = {"subject": text.subject, "body": text.body, "payload": Jsonb(text.payload)}
    await tx.run(QUERIES["rewrite_pages"], said | {"incident_id": pages.incident_id, "reason": pages.reason})


async def forget_answers_about(tx: Tx, incident_id: UUID) -> None:
    """Forget remembered answers that show an incident."""
    await tx.run(QUERIES["forget_answers_about"], {"incident_id": incident_id})


async def call_off_expiry(tx: Tx, *, report_ids: Sequence[UUID] = (), incident_id: UUID | None = None) -> None:
    """Call off the expiry of the alerts that reports are of: the job repeats what they said."""
    await tx.run(QUERIES["call_off_expiry"], {"report_ids": list(report_ids), "incident_id": incident_id})


async def erase_check_in_notes(tx: Tx, text: str) -> None:
    """Empty the notes of heartbeats in which a text stands."""
    await tx.run(QUERIES["erase_check_in_notes"], {"text": text})


async def accesses_naming(tx: Tx, texts: Sequence[str]) -> list[UUID]:
    """Return the rows of the access log in whose target one of these texts stands (at most MAX_ACCESSES)."""
    found = await tx.rows(QUERIES["accesses_naming"], _Id, {"texts": list(texts), "limit": MAX_ACCESSES})
    return [row.id for row in found]


async def count_accesses_of(tx: Tx, user_id: UUID) -> int:
    """Return how many rows of the access log are a user's own."""
    counted: int = await tx.value(QUERIES["count_accesses_of"], {"user_id": user_id})
    return counted


async def owed_to(tx: Tx, user_id: UUID) -> list[UUID]:
    """Return the pages that are still owed to a user."""
    return [row.id for row in await tx.rows(QUERIES["owed_to"], _Id, {"user_id": user_id})]


async def remove_contacts(tx: Tx, user_id: UUID) -> None:
    """Remove the ways to reach a user."""
    await tx.run(QUERIES["erase_contacts"], {"user_id": user_id})


async def erase_user(tx: Tx, user_id: UUID, addresses: Sequence[str], now: datetime) -> None:
    """Erase of a user everything that the application may change: account, tokens, sessions, addresses, answers."""
    which = {"user_id": user_id}
    email = f"erased-{user_id}@erased.invalid"  # RFC 2606: nobody's address, ever
    await tx.run(QUERIES["erase_user"], which | {"email": email, "name": ERASED, "now": now})
    await tx.run(QUERIES["erase_tokens"], which | {"name": ERASED, "now": now})
    for query in (
        *("erase_sessions", "erase_second_factor", "erase_pending_sign_ins", "erase_provider_account"),
        *("erase_contacts", "erase_answers", "erase_views"),
    ):
        await tx.run(QUERIES[query], which)
    await tx.run(QUERIES["erase_addresses"], which | {"address": ERASED})
    await tx.run(QUERIES["erase_bundle_jobs"], {"addresses": list(addresses)})
    await tx.run(QUERIES["erase_job_errors"], {"texts": list(addresses), "erased": ERASED})


_VACUUM = (
    b"VACUUM tocsin.incidents, tocsin.incident_acknowledgments, tocsin.incident_root_causes,"
    b" tocsin.incident_escalations, tocsin.incident_resolution, tocsin.incident_closures, tocsin.incident_lifecycle,"
    b" tocsin.audit_logs, tocsin.latest_reports, tocsin.audit_access_log, tocsin.users, tocsin.api_tokens,"
    b" tocsin.sessions, tocsin.contact_methods, tocsin.notifications, tocsin.delivery_attempts,"
    b" tocsin.idempotency_keys, tocsin.jobs, tocsin.heartbeat_check_ins"
)


async def vacuum(conninfo: str) -> bool:
    """Vacuum every table from which something may have been erased; return False where the sign-in may not."""
    try:
        connection = await AsyncConnection.connect(conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS)
        async with connection:
            await connection.execute(b"SET ROLE tocsin_owner")
            await connection.execute(b"SET statement_timeout = 0")
            await connection.execute(_VACUUM)
    except (psycopg.errors.InsufficientPrivilege, psycopg.OperationalError):
        return False
    return True
