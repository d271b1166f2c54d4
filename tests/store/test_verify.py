"""A superuser changes what was recorded behind the triggers' back: `verify` names the very row, and what differs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from tests.store.attacks.attackers import RECORD, another
from tests.store.conftest import LivedDatabase
from tests.support.by_hand import Connection, connected, insert, row_of, seal
from tests.support.clock import FakeClock
from tests.support.lives import application
from tests.support.servers import Server
from tocsin import ids
from tocsin.app.verify import verify_database
from tocsin.app.verify_result import Finding, Verification
from tocsin.app.work import App
from tocsin.domain.disclosure import BESIDE
from tocsin.store import verification
from tocsin.store.database import Tx

pytestmark = pytest.mark.anyio


@pytest.fixture
async def checked(own_copy: LivedDatabase) -> AsyncIterator[App]:
    """The application on a database that will be damaged."""
    async with application(own_copy.server, own_copy.name, FakeClock()) as app:
        yield app


@pytest.fixture
def superuser(own_copy: LivedDatabase) -> Iterator[Connection]:
    """A superuser, whom nothing stops any more."""
    with connected(own_copy.server, own_copy.name) as connection:
        yield connection


async def verified(app: App) -> Verification:
    """Verify the whole database."""
    async with app.work(streaming=True) as work:
        return await verify_database(work)


def problems(result: Verification, table: str, row_id: UUID) -> str:
    """Return what was found out about a row."""
    return "; ".join(found.problem for found in result.findings if (found.table, found.row_id) == (table, row_id))


async def test_a_whole_life_verifies(checked: App) -> None:
    seen: list[tuple[int, int]] = []
    async with checked.work(streaming=True) as work:
        result = await verify_database(work, lambda done, total: seen.append((done, total)))
    assert result.findings == []
    assert result.incidents == 8
    assert result.rows > 40
    assert seen == [(result.rows, result.rows)]


async def test_what_was_recorded_needs_no_second_look(checked: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick comparison knows every column: with one that is missing, every row would be looked at twice."""

    async def second_look(*_: object) -> None:
        raise AssertionError("a row seemed to differ")

    monkeypatch.setattr(verification, "rows", second_look)
    assert (await verified(checked)).findings == []


async def test_an_empty_database_verifies(server: Server, database_name: str) -> None:
    async with application(server, database_name, FakeClock()) as app:
        result = await verified(app)
    assert (result.rows, result.incidents, result.findings) == (0, 0, [])


async def test_work_that_goes_on_meanwhile_is_no_finding(
    checked: App, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = verification.count_rows

    async def counted_while_others_work(tx: Tx) -> int:
        rows = await count(tx)
        superuser.execute("UPDATE incident_heads SET sequence = 99")
        return rows

    monkeypatch.setattr(verification, "count_rows", counted_while_others_work)
    assert (await verified(checked)).findings == []
    assert (await verified(checked)).findings_in_all == 8, "the next run sees it"


def column_types(connection: Connection, table: str) -> dict[str, str]:
    """Return the type of each column of a table that is not generated."""
    rows = connection.execute(
        "SELECT attname, typname FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND attgenerated = ''",
        [table],
    ).fetchall()
    return {row["attname"]: row["typname"] for row in rows}


def change(connection: Connection, table: str, row_id: UUID, column: str, value: object) -> None:
    """Change one column of one row."""
    name = sql.Identifier(table)
    key = sql.Identifier("incident_id" if table == "incident_heads" else "id")
    statement = sql.SQL("UPDATE {} SET {} = %s WHERE {} = %s").format(name, sql.Identifier(column), key)
    is_array = column in ("disclosures", "erased", "fired_steps")
    parameter = json.dumps(value) if isinstance(value, dict | list) and not is_array else value
    assert connection.execute(statement, [parameter, row_id]).rowcount == 1


@pytest.mark.slow
@pytest.mark.parametrize("table", RECORD)
async def test_a_changed_column_is_named_with_its_row(
    own_copy: LivedDatabase, checked: App, superuser: Connection, table: str
) -> None:
    query = sql.SQL("SELECT * FROM {} ORDER BY id LIMIT 1").format(sql.Identifier(table))
    row = superuser.execute(query).fetchone()
    assert row is not None
    for column, type_name in column_types(superuser, table).items():
        value: object = b"{}" if column == "canonical" else another(row[column], type_name)
        row_id = value if column == "id" else row["id"]
        assert isinstance(row_id, UUID)
        change(superuser, table, row["id"], column, value)
        found = problems(await verified(checked), table, row_id)
        assert "changed since it was recorded" in found, column
        if column != "canonical":
            assert column in found.split("recorded: ")[1].split("; ")[0].split(", ")
        change(superuser, table, row_id, column, row[column])
    assert (await verified(checked)).findings == [], "each change was taken back"


@pytest.mark.parametrize("table", RECORD)
async def test_a_changed_checksum_is_named_with_its_row(checked: App, superuser: Connection, table: str) -> None:
    name = sql.Identifier(table)
    superuser.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN checksum DROP EXPRESSION").format(name))
    row = superuser.execute(sql.SQL("SELECT id FROM {} LIMIT 1").format(name)).fetchone()
    assert row is not None
    change(superuser, table, row["id"], "checksum", b"\x00" * 32)
    assert "its checksum is not that of its canonical bytes" in problems(await verified(checked), table, row["id"])


@pytest.mark.parametrize("table", RECORD)
async def test_a_row_rewritten_with_its_bytes_breaks_what_names_it(
    checked: App, superuser: Connection, table: str
) -> None:
    """Column and bytes agree again, the checksum with them; the entry that named it, or came after it, does not."""
    last = "(SELECT id FROM incident_heads h JOIN incident_lifecycle l ON l.checksum = h.checksum)"
    condition = f"WHERE id NOT IN {last}" if table == "incident_lifecycle" else ""
    query = sql.SQL("SELECT * FROM {table} {condition} ORDER BY id LIMIT 1")
    row = superuser.execute(query.format(table=sql.Identifier(table), condition=sql.SQL(condition))).fetchone()
    assert row is not None
    columns = {name: value for name, value in row.items() if name not in BESIDE}
    text = next(name for name, kind in column_types(superuser, table).items() if kind in ("text", "instant"))
    lie = another(columns[text], column_types(superuser, table)[text])
    sealed = seal(table, columns | {text: lie})
    change(superuser, table, row["id"], text, lie)
    change(superuser, table, row["id"], "canonical", sealed.canonical)
    if sealed.disclosures:
        change(superuser, table, row["id"], "disclosures", list(sealed.disclosures))
    result = await verified(checked)
    assert result.findings
    if table == "incident_lifecycle":
        after = superuser.execute(
            "SELECT id FROM incident_lifecycle WHERE incident_id = %s AND sequence = %s",
            [row["incident_id"], row["sequence"] + 1],
        ).fetchone()
        assert after is not None
        assert "does not continue the entry before it" in problems(result, table, after["id"])
    else:
        assert "no timeline entry names it" in problems(result, table, row["id"])
        assert any("the detail that it names is gone or changed" in found.problem for found in result.findings)


HEAD_LIES: dict[str, object] = {
    "number": 999,
    "status": "CLOSED",
    "current_severity": "LOW",
    "sequence": 99,
    "fired_steps": ["0.7"],
}


@pytest.mark.slow
async def test_every_column_of_a_head_is_checked_against_the_timeline(
    own_copy: LivedDatabase, checked: App, superuser: Connection
) -> None:
    incident_id = own_copy.lived["escalated"]
    query = "SELECT * FROM incident_heads WHERE incident_id = %s"
    row = superuser.execute(query, [incident_id]).fetchone()
    assert row is not None
    for column, type_name in column_types(superuser, "incident_heads").items():
        if column == "incident_id":
            continue
        value = HEAD_LIES.get(column, another(row[column], type_name))
        change(superuser, "incident_heads", incident_id, column, value)
        result = await verified(checked)
        assert result.findings == [
            Finding("incident_heads", incident_id, f"it does not say what the timeline says: {column}")
        ]
        change(superuser, "incident_heads", incident_id, column, row[column])


async def test_a_lost_or_invented_head_is_named(own_copy: LivedDatabase, checked: App, superuser: Connection) -> None:
    incident_id = own_copy.lived["reported"]
    invented = ids.new_id()
    superuser.execute(
        "INSERT INTO incident_heads (incident_id, number, status, current_severity, sequence, checksum, created_at,"
        " last_event_at) SELECT %s, 999, status, current_severity, sequence, checksum, created_at, last_event_at"
        " FROM incident_heads WHERE incident_id = %s",
        [invented, incident_id],
    )
    superuser.execute("DELETE FROM incident_heads WHERE incident_id = %s", [incident_id])
    result = await verified(checked)
    assert problems(result, "incidents", incident_id) == "its head is gone"
    assert "it does not say what the timeline says" in problems(result, "incident_heads", invented)


async def timeline(connection: Connection, incident_id: UUID) -> list[dict[str, Any]]:
    """Return the entries of an incident."""
    query = "SELECT * FROM incident_lifecycle WHERE incident_id = %s ORDER BY sequence"
    return connection.execute(query, [incident_id]).fetchall()


async def test_a_deleted_entry_leaves_a_gap_that_is_named(
    own_copy: LivedDatabase, checked: App, superuser: Connection
) -> None:
    entries = await timeline(superuser, own_copy.lived["closed"])
    for index, entry in enumerate(entries[:-1]):
        superuser.execute("CREATE TABLE IF NOT EXISTS taken AS SELECT * FROM incident_lifecycle LIMIT 0")
        superuser.execute("INSERT INTO taken SELECT * FROM incident_lifecycle WHERE id = %s", [entry["id"]])
        superuser.execute("DELETE FROM incident_lifecycle WHERE id = %s", [entry["id"]])
        result = await verified(checked)
        after = entries[index + 1]
        assert f"entry {index + 1} of its incident is missing" in problems(result, "incident_lifecycle", after["id"])
        superuser.execute("ALTER TABLE taken DROP COLUMN IF EXISTS checksum")
        superuser.execute(
            "INSERT INTO incident_lifecycle (id, incident_id, sequence, previous_checksum, event_type, status_before,"
            " status_after, actor_user_id, actor_role, detail_checksum, metadata, event_at, nonce, canonical, personal,"
            " disclosures)"
            " SELECT id, incident_id, sequence, previous_checksum, event_type, status_before, status_after,"
            " actor_user_id, actor_role, detail_checksum, metadata, event_at, nonce, canonical, personal, disclosures"
            " FROM taken"
        )
        superuser.execute("DROP TABLE taken")
    assert (await verified(checked)).findings == []


async def test_a_deleted_last_entry_is_seen_by_its_head_and_its_detail(
    own_copy: LivedDatabase, checked: App, superuser: Connection
) -> None:
    incident_id = own_copy.lived["closed"]
    superuser.execute(
        "DELETE FROM incident_lifecycle WHERE id = %s", [(await timeline(superuser, incident_id))[-1]["id"]]
    )
    result = await verified(checked)
    said = problems(result, "incident_heads", incident_id)
    assert all(column in said for column in ("checksum", "closed_at", "sequence", "status"))
    assert any(found.table == "incident_closures" for found in result.findings)


async def test_swapped_entries_are_named(own_copy: LivedDatabase, checked: App, superuser: Connection) -> None:
    entries = await timeline(superuser, own_copy.lived["closed"])
    second, third = entries[1], entries[2]
    superuser.execute("UPDATE incident_lifecycle SET sequence = 99 WHERE id = %s", [second["id"]])
    superuser.execute("UPDATE incident_lifecycle SET sequence = 2 WHERE id = %s", [third["id"]])
    superuser.execute("UPDATE incident_lifecycle SET sequence = 3 WHERE id = %s", [second["id"]])
    result = await verified(checked)
    for entry in (second, third):
        said = problems(result, "incident_lifecycle", entry["id"])
        assert "changed since it was recorded: sequence" in said
        assert "does not continue the entry before it" in said


async def test_a_step_out_of_order_is_named_even_with_a_whole_chain(
    own_copy: LivedDatabase, checked: App, superuser: Connection
) -> None:
    """Every hash is recomputed, the head too; what is left is that nobody may close what nobody acknowledged."""
    incident_id = own_copy.lived["reported"]
    last = (await timeline(superuser, incident_id))[-1]
    columns = {name: value for name, value in last.items() if name not in BESIDE}
    skipped = {"sequence": 2, "previous_checksum": last["checksum"], "event_type": "CLOSED", "detail_checksum": None}
    skipped |= {"id": ids.new_id(), "status_before": "REPORTED", "status_after": "CLOSED"}
    sealed = seal("incident_lifecycle", columns | skipped)
    insert(superuser, "incident_lifecycle", row_of(sealed))
    superuser.execute(
        "UPDATE incident_heads SET status = 'CLOSED', sequence = 2, checksum = %s, closed_at = last_event_at"
        " WHERE incident_id = %s",
        [sealed.checksum, incident_id],
    )
    result = await verified(checked)
    assert result.findings == [
        Finding("incident_lifecycle", UUID(str(skipped["id"])), "CLOSED is a step out of order"),
        Finding("log_entries", "INC-1 entry 2", "it is neither in the log, nor does it wait for it"),
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [("event_type", "FORGOTTEN"), ("status_after", "BOGUS"), ("status_before", "BOGUS"), ("event_at", "infinity")],
)
async def test_nonsense_is_a_finding_and_not_the_end_of_the_verification(
    own_copy: LivedDatabase, checked: App, superuser: Connection, column: str, value: str
) -> None:
    entry = (await timeline(superuser, own_copy.lived["closed"]))[2]
    change(superuser, "incident_lifecycle", entry["id"], column, value)
    said = problems(await verified(checked), "incident_lifecycle", entry["id"])
    assert f"changed since it was recorded: {column}" in said


async def test_a_float_in_the_metadata_is_a_finding(
    own_copy: LivedDatabase, checked: App, superuser: Connection
) -> None:
    entry = (await timeline(superuser, own_copy.lived["closed"]))[2]
    change(superuser, "incident_lifecycle", entry["id"], "metadata", {"share": 0.5})
    assert "what is never recorded" in problems(await verified(checked), "incident_lifecycle", entry["id"])


@pytest.mark.parametrize("attack", ["document", "gone"])
async def test_the_report_that_opened_an_incident_is_held_to_its_checksum(
    own_copy: LivedDatabase, checked: App, superuser: Connection, attack: str
) -> None:
    row = superuser.execute(
        "SELECT created_from_error_id AS id FROM incidents WHERE id = %s", [own_copy.lived["reported"]]
    ).fetchone()
    assert row is not None
    if attack == "document":
        change(superuser, "audit_logs", row["id"], "document", b"{}")
    else:
        superuser.execute("DELETE FROM audit_logs WHERE id = %s", [row["id"]])
    result = await verified(checked)
    assert "not the report that opened the incident" in problems(result, "audit_logs", row["id"])
    assert len(result.findings) == 1


async def test_findings_are_counted_beyond_what_is_kept(
    checked: App, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.app.verify_result.MAX_FINDINGS", 3)
    superuser.execute("UPDATE incident_lifecycle SET actor_role = 'auditor'")
    result = await verified(checked)
    assert len(result.findings) == 3
    assert result.findings_in_all > 30
