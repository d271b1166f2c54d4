"""What a superuser does to the record behind every guard's back; each attack covers its tracks as well as it can.

An attack is a function of a superuser's connection and the database's life. It answers with what whoever finds it out
must name: entries, details and incidents by their ids, and entries as the log calls them; at least one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.store.attacks.attackers import RECORD
from tests.support.by_hand import ByHand, Connection, seal
from tests.support.lives import Lived
from tocsin.domain.disclosure import BESIDE

Attack = Callable[[Connection, Lived], set[str]]
_DETAIL_OF = {
    "ACKNOWLEDGED": "incident_acknowledgments",
    "ROOT_CAUSE_RECORDED": "incident_root_causes",
    "RESOLVED": "incident_resolution",
    "CLOSED": "incident_closures",
}
_TRIGGERS = """
SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'tocsin'::regnamespace AND t.tgenabled = 'A'
"""


@contextmanager
def unguarded(superuser: Connection) -> Iterator[None]:
    """Take every guard away and put it back, in one transaction: nobody else sees them gone."""
    always = superuser.execute(_TRIGGERS).fetchall()
    tables = {"users", "sessions", "notifications", *(trigger["relname"] for trigger in always)}
    with superuser.transaction():
        superuser.execute("SELECT tocsin_guard.suspend()")
        for table in tables:
            superuser.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER ALL").format(sql.Identifier(table)))
        yield
        for table in tables:
            superuser.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER ALL").format(sql.Identifier(table)))
        for trigger in always:
            names = sql.Identifier(trigger["relname"]), sql.Identifier(trigger["tgname"])
            superuser.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(*names))
        superuser.execute("SELECT tocsin_guard.resume()")


def one(superuser: Connection, query: str, *parameters: object) -> dict[str, Any]:
    """Return the only row."""
    row = superuser.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return row


def timeline(superuser: Connection, incident_id: UUID) -> list[dict[str, Any]]:
    """Return the entries of an incident in their order."""
    query = "SELECT * FROM incident_lifecycle WHERE incident_id = %s ORDER BY sequence"
    return superuser.execute(query, [incident_id]).fetchall()


def in_log(superuser: Connection, entry: Mapping[str, Any]) -> str:
    """Return how the log calls an entry."""
    number = one(superuser, "SELECT number FROM incidents WHERE id = %s", entry["incident_id"])["number"]
    return f"INC-{number} entry {entry['sequence']}"


def rewrite(superuser: Connection, table: str, row: Mapping[str, Any], **lies: object) -> bytes:
    """Change columns of a row, its canonical bytes and its disclosures alike; return its new checksum."""
    columns = {name: value for name, value in row.items() if name not in BESIDE} | lies
    sealed = seal(table, columns)
    adapted = {n: Jsonb(columns[n]) if isinstance(columns[n], dict | list) else columns[n] for n in lies}
    written = adapted | {"canonical": sealed.canonical, "disclosures": list(sealed.disclosures)}
    changes = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder(n)) for n in written)
    statement = sql.SQL("UPDATE {} SET {} WHERE id = %(of)s").format(sql.Identifier(table), changes)
    assert superuser.execute(statement, written | {"of": row["id"]}).rowcount == 1
    return sealed.checksum


def chain_anew(superuser: Connection, incident_id: UUID) -> None:
    """Let every entry continue the one before it again, and the head the last one."""
    previous: bytes | None = None
    for entry in timeline(superuser, incident_id):
        previous = rewrite(superuser, "incident_lifecycle", entry, previous_checksum=previous)
    superuser.execute("UPDATE incident_heads SET checksum = %s WHERE incident_id = %s", [previous, incident_id])


def cut_last_entry(superuser: Connection, incident_id: UUID) -> dict[str, Any]:
    """Take the last entry away with its detail, and set the head back; return the entry."""
    *_, before, last = timeline(superuser, incident_id)
    superuser.execute("DELETE FROM incident_lifecycle WHERE id = %s", [last["id"]])
    if table := _DETAIL_OF.get(last["event_type"]):
        superuser.execute(sql.SQL("DELETE FROM {} WHERE incident_id = %s").format(sql.Identifier(table)), [incident_id])
    superuser.execute(
        "UPDATE incident_heads SET status = %s, sequence = %s, checksum = %s, last_event_at = %s,"
        " closed_at = CASE WHEN %s = 'CLOSED' THEN NULL ELSE closed_at END WHERE incident_id = %s",
        [
            before["status_after"],
            before["sequence"],
            before["checksum"],
            before["event_at"],
            last["event_type"],
            incident_id,
        ],
    )
    return last


# --- what the record shows by itself ----------------------------------------------------------------------------


def a_detail_is_edited_with_its_bytes(superuser: Connection, lived: Lived) -> set[str]:
    """The cause was another one."""
    cause = one(superuser, "SELECT * FROM incident_root_causes WHERE incident_id = %s", lived["closed"])
    with unguarded(superuser):
        rewrite(superuser, "incident_root_causes", cause, root_cause_summary="An outage at the provider")
    return {str(cause["id"])}


def an_entry_is_edited_with_its_bytes(superuser: Connection, lived: Lived) -> set[str]:
    """Somebody else acknowledged."""
    entries = timeline(superuser, lived["closed"])
    with unguarded(superuser):
        rewrite(superuser, "incident_lifecycle", entries[1], actor_role="auditor")
    return {str(entries[1]["id"]), str(entries[2]["id"])}


def a_column_is_edited_and_its_bytes_are_not(superuser: Connection, lived: Lived) -> set[str]:
    """The clumsy way."""
    with unguarded(superuser):
        superuser.execute("UPDATE incidents SET severity = 'LOW' WHERE id = %s", [lived["closed"]])
    return {str(lived["closed"])}


def a_middle_entry_is_deleted(superuser: Connection, lived: Lived) -> set[str]:
    """A note that somebody regrets."""
    entries = timeline(superuser, lived["closed"])
    with unguarded(superuser):
        superuser.execute("DELETE FROM incident_lifecycle WHERE id = %s", [entries[-2]["id"]])
    return {str(entries[-1]["id"])}


def entries_are_swapped_between_incidents(superuser: Connection, lived: Lived) -> set[str]:
    """What happened here happened there, with its bytes as if it had been so."""
    here, there = timeline(superuser, lived["closed"])[1], timeline(superuser, lived["resolved"])[1]
    elsewhere = UUID(int=0)
    with unguarded(superuser):
        rewrite(superuser, "incident_lifecycle", here, incident_id=elsewhere)
        rewrite(superuser, "incident_lifecycle", there, incident_id=lived["closed"])
        rewrite(superuser, "incident_lifecycle", here, incident_id=lived["resolved"])
    return {str(here["id"]), str(there["id"])}


def a_head_is_mended(superuser: Connection, lived: Lived) -> set[str]:
    """The list shows an incident as closed that is not."""
    with unguarded(superuser):
        superuser.execute("UPDATE incident_heads SET status = 'CLOSED' WHERE incident_id = %s", [lived["reported"]])
    return {str(lived["reported"])}


def a_step_is_skipped(superuser: Connection, lived: Lived) -> set[str]:
    """Closed without a cause: every hash is right, the order is not."""
    hand = ByHand(superuser, lived.admin)
    with unguarded(superuser):
        entry = hand.entry(lived["reported"], "CLOSED")
        superuser.execute(
            "UPDATE incident_heads SET status = 'CLOSED', sequence = sequence + 1, checksum = %s, closed_at = %s,"
            " last_event_at = %s WHERE incident_id = %s",
            [entry.checksum, entry.columns["event_at"], entry.columns["event_at"], lived["reported"]],
        )
    return {str(timeline(superuser, lived["reported"])[-1]["id"])}


SHOWN_BY_THE_RECORD: tuple[Attack, ...] = (
    a_detail_is_edited_with_its_bytes,
    an_entry_is_edited_with_its_bytes,
    a_column_is_edited_and_its_bytes_are_not,
    a_middle_entry_is_deleted,
    entries_are_swapped_between_incidents,
    a_head_is_mended,
    a_step_is_skipped,
)

# --- what takes the log: the record is consistent afterwards ------------------------------------------------------


def the_last_entry_is_deleted(superuser: Connection, lived: Lived) -> set[str]:
    """It was never closed: entry and closure are gone, the head is set back."""
    name = in_log(superuser, timeline(superuser, lived["closed"])[-1])
    with unguarded(superuser):
        cut_last_entry(superuser, lived["closed"])
    return {name}


def the_last_entry_is_edited_and_the_head_mended(superuser: Connection, lived: Lived) -> set[str]:
    """Who closed it had another role."""
    last = timeline(superuser, lived["closed"])[-1]
    with unguarded(superuser):
        checksum = rewrite(superuser, "incident_lifecycle", last, actor_role="responder")
        superuser.execute("UPDATE incident_heads SET checksum = %s WHERE incident_id = %s", [checksum, lived["closed"]])
    return {in_log(superuser, last)}


def a_whole_incident_is_removed(superuser: Connection, lived: Lived) -> set[str]:
    """Nobody ever reported it: it is gone from every table that knows an incident."""
    incident_id = lived["resolved"]
    entries = {in_log(superuser, entry) for entry in timeline(superuser, incident_id)}
    with unguarded(superuser):
        superuser.execute("UPDATE users SET last_incident_ack_id = NULL")
        for table in (
            *RECORD[1:],
            "incident_heads",
            "incident_occurrences",
            "occurrence_changes",
            "audit_logs",
            "failures",
        ):
            statement = sql.SQL("DELETE FROM {} WHERE incident_id = %s").format(sql.Identifier(table))
            superuser.execute(statement, [incident_id])
        superuser.execute("DELETE FROM notifications WHERE incident_id = %s", [incident_id])
        superuser.execute("DELETE FROM incidents WHERE id = %s", [incident_id])
    return entries


def an_incident_is_rewritten_with_every_hash(superuser: Connection, lived: Lived) -> set[str]:
    """Another cause, the entry that names it, every entry after it, the head: all as if it had been so."""
    incident_id = lived["closed"]
    cause = one(superuser, "SELECT * FROM incident_root_causes WHERE incident_id = %s", incident_id)
    entry = next(found for found in timeline(superuser, incident_id) if found["event_type"] == "ROOT_CAUSE_RECORDED")
    with unguarded(superuser):
        checksum = rewrite(superuser, "incident_root_causes", cause, root_cause_summary="An outage at the provider")
        rewrite(superuser, "incident_lifecycle", entry, detail_checksum=checksum)
        chain_anew(superuser, incident_id)
    return {in_log(superuser, entry)}


def timelines_are_swapped_with_every_hash(superuser: Connection, lived: Lived) -> set[str]:
    """The acknowledgments of two incidents change places, and everything after them is made to fit."""
    here, there = lived["closed"], lived["resolved"]
    acks = {
        incident_id: one(superuser, "SELECT * FROM incident_acknowledgments WHERE incident_id = %s", incident_id)
        for incident_id in (here, there)
    }
    with unguarded(superuser):
        for incident_id, other in ((here, there), (there, here)):
            checksum = rewrite(superuser, "incident_acknowledgments", acks[incident_id], ack_notes=f"of {other}")
            rewrite(superuser, "incident_lifecycle", timeline(superuser, incident_id)[1], detail_checksum=checksum)
            chain_anew(superuser, incident_id)
    return {in_log(superuser, timeline(superuser, incident_id)[1]) for incident_id in (here, there)}


SHOWN_BY_THE_LOG: tuple[Attack, ...] = (
    the_last_entry_is_deleted,
    the_last_entry_is_edited_and_the_head_mended,
    a_whole_incident_is_removed,
    an_incident_is_rewritten_with_every_hash,
    timelines_are_swapped_with_every_hash,
)


SPOILS_EVIDENCE = tuple(
    attack
    for attack in (*SHOWN_BY_THE_RECORD, *SHOWN_BY_THE_LOG)
    if attack not in (a_column_is_edited_and_its_bytes_are_not, a_head_is_mended, a_step_is_skipped)
)
"""A bundle is made of the bytes that are in the log: what was changed beside them or added past it is not in it."""


def the_log_forgets_its_last_leaves(superuser: Connection) -> None:
    """Cut the log back to its first leaves, and forget every checkpoint."""
    with unguarded(superuser):
        superuser.execute("DELETE FROM log_entries WHERE index >= 5")
        superuser.execute("UPDATE log_tiles SET hashes = substr(hashes, 1, 5 * 32)")
        superuser.execute("DELETE FROM log_cosignatures; DELETE FROM log_timestamps; DELETE FROM log_checkpoints")
        superuser.execute("UPDATE log_state SET size = 5")


def the_log_is_made_anew(superuser: Connection) -> None:
    """Forget the log and owe it everything again, so that it tells of the world after an attack."""
    with unguarded(superuser):
        superuser.execute(
            "TRUNCATE log_timestamps, log_cosignatures, log_checkpoints, log_head_nodes, log_tiles, log_entries,"
            " log_pending"
        )
        superuser.execute("UPDATE log_state SET size = 0, incidents = 0")
        superuser.execute(
            "INSERT INTO log_pending (entry_id, incident_id, number, sequence, leaf_hash, waiting_since)"
            " SELECT e.id, i.id, i.number, e.sequence, e.checksum, e.event_at FROM incident_lifecycle e"
            " JOIN incidents i ON i.id = e.incident_id ORDER BY i.number, e.sequence"
        )
