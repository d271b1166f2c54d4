"""Texts leave the record by an entry that names them, and in no other way, whoever tries."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from psycopg import sql

from tests.store.attacks.attackers import (
    CHECK,
    IMMUTABLE,
    NO_RIGHT,
    NOT_WHAT_THE_BYTES_SAY,
    NOT_WHOLE,
    OUT_OF_ORDER,
    PARTIES,
    application,
    nothing_changes,
    recorded,
    refusal,
    refused,
)
from tests.store.attacks.test_application import insertion
from tests.store.conftest import LivedDatabase, copied
from tests.store.test_verify import problems, verified
from tests.support import lives, reached
from tests.support.by_hand import ByHand, Connection, connected, row_of, seal
from tests.support.clock import FakeClock
from tests.support.lives import STAGES
from tests.support.reporting import accept
from tocsin import ids
from tocsin.app import erase, escalate, respond
from tocsin.app.erase import Grounds, Reports
from tocsin.app.seal import seal_everything
from tocsin.app.work import App
from tocsin.domain.disclosure import DISCLOSABLE, commitments, disclose, read
from tocsin.domain.incident import EscalationReason, Severity
from tocsin.domain.sealing import canonical_bytes
from tocsin.domain.workflow import Acknowledge, AddNote, Escalate
from tocsin.embedded.binaries import installed

pytestmark = pytest.mark.anyio
GROUNDS = Grounds("Request of the person", "GDPR-17")
AS_OTHERS = ["overgranted application", "owner", "owner of a replica"]


# --- what is written ------------------------------------------------------------------------------------------


def test_the_database_knows_the_same_texts(lived: LivedDatabase) -> None:
    with connected(lived.server, lived.name) as superuser:
        for table, columns in DISCLOSABLE.items():
            row = superuser.execute("SELECT disclosable(%s) AS columns", [table]).fetchone()
            assert row is not None
            assert tuple(row["columns"]) == columns


@pytest.mark.parametrize("table", DISCLOSABLE)
def test_a_text_and_its_disclosure_say_the_same(lived: LivedDatabase, table: str) -> None:
    with nothing_changes(lived), application(lived) as connection:
        row = recorded(connection, table) | {"id": ids.new_id()}
        if table == "incident_lifecycle":
            row["personal"] = {"text": "It burns"}
        name = next(name for name in DISCLOSABLE[table] if row[name] is not None)
        sealed = seal(table, row)
        lie = {"text": "It rains"} if isinstance(row[name], dict) else "It rains"
        honest, disclosures = row_of(sealed), list(sealed.disclosures)
        other = row_of(seal(table, row))
        attacks: tuple[dict[str, Any], ...] = (
            {name: row_of(seal(table, row | {name: lie}))[name]},  # another text
            {"disclosures": []},  # a text that nothing vouches for
            {"disclosures": other["disclosures"]},  # other salts than those committed to
            {"disclosures": [*disclosures, disclosures[0]]},
            {"disclosures": [*disclosures, disclose("id", "1", ids.new_nonce())]},
            {"erased": [name]},
            {"erased": [name], name: None, "disclosures": []},  # born erased
            {"canonical": other["canonical"]},
        )
        for attack in attacks:
            assert insertion(connection, table, honest | attack) in (NOT_WHAT_THE_BYTES_SAY, CHECK), attack
        for nonsense in ("", "!", "WyJhIiwiYiJd", "e30", disclosures[0][:-2]):
            refusal_of = insertion(connection, table, honest | {"disclosures": [nonsense]})
            assert refusal_of.startswith(("22", "TC003")), nonsense
        assert insertion(connection, table, honest) != NOT_WHAT_THE_BYTES_SAY


def test_a_second_text_of_the_same_name_cannot_be_hidden(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        row = recorded(connection, "incidents") | {"id": ids.new_id()}
        twice = [disclose("title", title, ids.new_nonce()) for title in (row["title"], "Another one")]
        for disclosures in (twice, twice[::-1]):
            columns = row_of(seal("incidents", row))
            columns |= {"disclosures": disclosures}
            columns |= {"canonical": canonical_bytes("incidents", row, commitments(disclosures))}
            assert insertion(connection, "incidents", columns) == NOT_WHAT_THE_BYTES_SAY


# --- attacks --------------------------------------------------------------------------------------------------

NULLING = (
    "UPDATE {table} SET {column} = NULL",
    "UPDATE {table} SET {column} = NULL, disclosures = '{{}}'",
    "UPDATE {table} SET {column} = NULL, disclosures = '{{}}', erased = erased || ARRAY[{name}]",
    "UPDATE {table} SET {column} = NULL, erased = erased || ARRAY[{name}], disclosures = ARRAY("
    "SELECT d FROM unnest(disclosures) d WHERE read_disclosure(d) ->> 1 <> {name})",
    "UPDATE {table} SET erased = erased || ARRAY[{name}]",
    "UPDATE {table} SET disclosures = '{{}}'",
    "UPDATE {table} SET {column} = {column}",
)


@pytest.mark.parametrize("table", DISCLOSABLE)
@pytest.mark.parametrize("party", ["application", *AS_OTHERS])
def test_nobody_erases_without_an_entry(lived: LivedDatabase, party: str, table: str) -> None:
    sign_in = PARTIES[party][0]
    with nothing_changes(lived), sign_in(lived) as connection:
        for column in DISCLOSABLE[table]:
            names = {"table": sql.Identifier(table), "column": sql.Identifier(column), "name": sql.Literal(column)}
            for attack in NULLING:
                refused(connection, sql.SQL(attack).format(**names), NO_RIGHT, IMMUTABLE)


@pytest.mark.parametrize("party", AS_OTHERS)
def test_nobody_erases_from_within_a_trigger_of_his_own(lived: LivedDatabase, party: str) -> None:
    with nothing_changes(lived), PARTIES[party][0](lived) as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE TEMP TABLE lever (id int)")
        connection.execute(
            "CREATE FUNCTION pg_temp.pull() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " UPDATE tocsin.incidents SET title = NULL, disclosures = '{}', erased = '{title}'; RETURN NULL; END $$"
        )
        connection.execute("CREATE TRIGGER t AFTER INSERT ON lever FOR EACH ROW EXECUTE FUNCTION pg_temp.pull()")
        connection.execute("ALTER TABLE lever ENABLE ALWAYS TRIGGER t")
        refused(connection, "INSERT INTO lever VALUES (1)", IMMUTABLE)


def test_the_functions_that_erase_are_nobody_s_to_call(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        for call in (
            "SELECT erase_texts('incidents', checksum, '{title}', id) FROM incidents",
            "SELECT erase_reports(ARRAY[id], incident_id) FROM audit_logs",
            "SELECT erase_all_reports(id, now()) FROM incidents",
        ):
            refused(connection, call, NO_RIGHT)


@pytest.mark.parametrize("party", ["overgranted application", "owner"])
def test_reports_and_accesses_are_not_erased_by_hand_either(lived: LivedDatabase, party: str) -> None:
    with nothing_changes(lived), PARTIES[party][0](lived) as connection:
        for attack in (
            "UPDATE audit_logs SET title = NULL, error_type = NULL, document = NULL, erased = true",
            "UPDATE audit_logs SET document = NULL",
            "UPDATE audit_logs SET erased = true",
            "UPDATE audit_access_log SET target = NULL, erased = true",
            "UPDATE audit_access_log SET user_agent = NULL, erased = true",
            "UPDATE audit_access_log SET erased = true",
        ):
            refused(connection, attack, IMMUTABLE)


def _named(connection: Connection, incident_id: UUID, **instead: object) -> dict[str, object]:
    row = connection.execute(
        "SELECT encode(checksum, 'hex') AS checksum FROM incidents WHERE id = %s", [incident_id]
    ).fetchone()
    assert row is not None
    return {"table": "incidents", "checksum": row["checksum"], "columns": ["title"]} | instead


def test_an_entry_that_does_not_say_who_why_and_what_erases_nothing(lived: LivedDatabase) -> None:
    incident_id, other = lived.lived["closed"], lived.lived["resolved"]
    with nothing_changes(lived), application(lived) as connection:
        hand = ByHand(connection, lived.lived.admin)
        good = _named(connection, incident_id)
        for account in (
            {},
            {"erased": [good]},
            {"erased": [good], "reason": " "},
            {"erased": [], "reason": "why"},
            {"erased": good, "reason": "why"},
            {"reason": "why"},
            {"erased": [_named(connection, other)], "reason": "why"},  # of another incident
            {"erased": [good | {"checksum": "00" * 32}], "reason": "why"},
            {"erased": [good | {"columns": []}], "reason": "why"},
            {"erased": [good | {"columns": ["severity"]}], "reason": "why"},
            {"erased": [good | {"columns": ["title", "number"]}], "reason": "why"},
            {"erased": [good | {"table": "users"}], "reason": "why"},
            {"erased": [good | {"table": "incident_heads"}], "reason": "why"},
            {"erased": [{"table": "audit_logs", "ids": [str(ids.new_id())]}], "reason": "why"},
            {"erased": [{"table": "audit_logs"}], "reason": "why"},
            {"erased": [{"table": "audit_logs", "all": False}], "reason": "why"},
            {"erased": [good, good], "reason": "why"},  # twice
        ):
            with refusal(connection, OUT_OF_ORDER, IMMUTABLE, "22023", "22P02", "23502"):
                hand.entry(incident_id, "PERSONAL_DATA_ERASED", metadata=account)
        with refusal(connection, OUT_OF_ORDER, saying="only a superadmin"):
            ByHand(connection, lived.lived.admin, "responder").entry(
                incident_id, "PERSONAL_DATA_ERASED", metadata={"erased": [good], "reason": "why"}
            )
        with refusal(connection, OUT_OF_ORDER):
            hand.entry(
                incident_id,
                "PERSONAL_DATA_ERASED",
                metadata={"erased": [good], "reason": "why"},
                status_after="REPORTED",
            )


def test_what_an_entry_names_is_gone_and_nothing_else(lived: LivedDatabase) -> None:
    incident_id = lived.lived["closed"]
    query = "SELECT * FROM incidents ORDER BY id"
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        before = {row["id"]: row for row in connection.execute(query).fetchall()}
        hand = ByHand(connection, lived.lived.admin)
        named = _named(connection, incident_id)
        hand.entry(incident_id, "PERSONAL_DATA_ERASED", metadata={"erased": [named], "reason": "why"})
        after = {row["id"]: row for row in connection.execute(query).fetchall()}
        kept = [one for one in before[incident_id]["disclosures"] if read(one).name != "title"]
        gone = {"title": None, "erased": ["title"], "disclosures": kept}
        assert after == before | {incident_id: before[incident_id] | gone}
        with refusal(connection, OUT_OF_ORDER, IMMUTABLE):
            hand.entry(incident_id, "PERSONAL_DATA_ERASED", metadata={"erased": [named], "reason": "again"})
        # The same row may lose another text later, by an entry of its own.
        rest = named | {"columns": ["description"]}
        hand.entry(incident_id, "PERSONAL_DATA_ERASED", metadata={"erased": [rest], "reason": "why"})
        row = connection.execute("SELECT * FROM incidents WHERE id = %s", [incident_id]).fetchone()
        assert row is not None
        assert (row["description"], row["erased"], row["disclosures"]) == (None, ["title", "description"], [])


def test_what_was_named_gives_no_licence_for_more(lived: LivedDatabase) -> None:
    incident_id = lived.lived["closed"]
    everything = {"table": "audit_logs", "all": True}
    with nothing_changes(lived), PARTIES["owner"][0](lived) as connection, connection.transaction(force_rollback=True):
        hand = ByHand(connection, lived.lived.admin)
        account = {"erased": [_named(connection, incident_id), everything], "reason": "why"}
        hand.entry(incident_id, "PERSONAL_DATA_ERASED", metadata=account)
        for attack in (
            "UPDATE incidents SET title = 'Another'",
            "UPDATE incidents SET title = NULL, erased = '{title}'",
            "UPDATE incidents SET erased = '{}'",
            "UPDATE incidents SET description = NULL, erased = erased || ARRAY['description'], disclosures = '{}'",
            "UPDATE audit_logs SET erased = false",
            "UPDATE audit_logs SET title = 'Another' WHERE erased",
        ):
            refused(connection, attack, IMMUTABLE)


def test_a_leaf_erases_what_belongs_to_no_incident_and_says_as_much(lived: LivedDatabase) -> None:
    with nothing_changes(lived), application(lived) as connection:
        (alone,) = connection.execute("SELECT id FROM audit_logs WHERE incident_id IS NULL LIMIT 1").fetchall()
        (linked,) = connection.execute("SELECT id FROM audit_logs WHERE incident_id IS NOT NULL LIMIT 1").fetchall()
        base: dict[str, Any] = {"record": "log_erasure", "v": 1, "actor_role": "superadmin", "reason": "why"}
        good = {"table": "audit_logs", "ids": [str(alone["id"])]}
        for leaf in (
            base,
            base | {"erased": []},
            base | {"erased": [good], "reason": ""},
            base | {"erased": [good], "actor_role": "responder"},
            base | {"erased": [good | {"ids": [str(linked["id"])]}]},  # its incident's timeline must say so
            base | {"erased": [{"table": "incidents", "ids": [str(lived.lived["closed"])]}]},
            base | {"erased": [{"table": "audit_logs", "all": True}]},
        ):
            with refusal(connection, OUT_OF_ORDER):
                _await(connection, leaf)
        with connection.transaction(force_rollback=True):
            _await(connection, base | {"erased": [good]})
            row = connection.execute("SELECT * FROM audit_logs WHERE id = %s", [alone["id"]]).fetchone()
            assert row is not None
            assert (row["title"], row["error_type"], row["document"], row["checksum"]) == (None, None, None, None)


@pytest.mark.slow
def test_how_much_was_erased_before_does_not_slow_an_erasure(lived: LivedDatabase) -> None:
    base: dict[str, Any] = {"record": "log_erasure", "v": 1, "actor_role": "superadmin", "reason": "why"}
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        rows = connection.execute(
            "INSERT INTO audit_access_log SELECT gen_random_uuid(), now(), NULL, 'cli:root', 'users add', 'Bob', 'cli',"
            " 'tocsin', 0, 'OK', gen_random_uuid() FROM generate_series(1, 500) RETURNING id"
        ).fetchall()
        for _ in range(50):
            _await(connection, base | {"erased": _named_ids(ids.new_id() for _ in range(900))})
        connection.execute("SET LOCAL statement_timeout = '1s'")
        _await(connection, base | {"erased": _named_ids(row["id"] for row in rows)})
        erased = connection.execute("SELECT count(*) AS n FROM audit_access_log WHERE erased AND target IS NULL")
        assert erased.fetchone() == {"n": 500}


def _named_ids(of: Iterable[UUID]) -> list[dict[str, Any]]:
    return [{"table": "audit_access_log", "ids": [str(one) for one in of]}]


@pytest.mark.parametrize("party", ["overgranted application", "owner"])
def test_that_something_was_erased_takes_a_leaf_that_names_it(lived: LivedDatabase, party: str) -> None:
    with nothing_changes(lived), PARTIES[party][0](lived) as connection, connection.transaction(force_rollback=True):
        base: dict[str, Any] = {"record": "log_erasure", "v": 1, "actor_role": "superadmin", "reason": "why"}
        _await(connection, base | {"erased": _named_ids([ids.new_id()])})
        for attack in (
            "INSERT INTO log_erased SELECT 'audit_access_log', id, sha256('x') FROM audit_access_log",
            "INSERT INTO log_erased SELECT 'audit_logs', a.id, e.leaf_hash FROM audit_logs a, log_erased e",
            "INSERT INTO log_erased SELECT 'users', id, leaf_hash FROM log_erased",
        ):
            refused(connection, attack, NOT_WHOLE)
        for attack in (
            "UPDATE log_erased SET guarded = 'users'",
            "DELETE FROM log_erased",
            "TRUNCATE log_erased",
        ):
            refused(connection, attack, IMMUTABLE)


def _await(connection: Connection, leaf: dict[str, Any]) -> None:
    connection.execute("SELECT await_leaf('log_erasure', %s, now())", [rfc8785.dumps(leaf)])


@pytest.mark.parametrize("stage", STAGES)
def test_an_erasure_is_possible_at_each_stage_and_moves_nothing(lived: LivedDatabase, stage: str) -> None:
    incident_id = lived.lived[stage]
    with nothing_changes(lived), application(lived) as connection, connection.transaction(force_rollback=True):
        hand = ByHand(connection, lived.lived.admin)
        before = hand.head(incident_id)
        account = {"erased": [_named(connection, incident_id)], "reason": "why"}
        sealed = hand.entry(incident_id, "PERSONAL_DATA_ERASED", metadata=account)
        moved = {"sequence": before["sequence"] + 1, "checksum": sealed.checksum}
        assert hand.head(incident_id) == before | moved | {"last_event_at": sealed.columns["event_at"]}


# --- a person is forgotten ------------------------------------------------------------------------------------

CUSTOMER, WRITER = "carol.jones@example.net", "Bob Quill"
TRACES = ("carol", "jones", "quill", "bob@example", "bob.mobile", "192.0.2.77", "BobBrowser")
"""What must not be found anywhere afterwards."""


@pytest.fixture
def living(past: LivedDatabase) -> Iterator[LivedDatabase]:
    """A copy of this test alone, with every guard."""
    with copied(past.server, past.name) as name:
        yield LivedDatabase(past.server, name, past.lived)


@pytest.fixture
async def app(living: LivedDatabase) -> AsyncIterator[App]:
    """The application on it."""
    clock = FakeClock()
    clock.forward(days=30)
    async with lives.application(living.server, living.name, clock) as app:
        yield app


async def _leave_traces(app: App, living: LivedDatabase) -> UUID:
    """Let Carol appear in reports and texts, and Bob be a user who did something; return the incident."""
    ada = await lives.actor_of(app, "ada@example.org")
    bob = await lives.actor_of(app, "bob@example.org")
    async with app.work() as work:
        await reached.also_by(work, "bob@example.org", "email", "bob.mobile@example.org")
    incident_id = await lives.reported(app, f"SignInError of {CUSTOMER}")
    await accept(app, 1, [lives.error_report("only a warning", Severity.LOW, message=f"{CUSTOMER} waits")])
    async with app.work() as work:
        await respond.acknowledge(work, bob, incident_id, Acknowledge(f"Calling {CUSTOMER.title()}"))
    async with app.work() as work:
        escalation = Escalate(EscalationReason.MANUAL_ESCALATION, f"{CUSTOMER} is waiting")
        await escalate.escalate_by_hand(work, ada, incident_id, "bob@example.org", escalation)
    async with app.work() as work:
        await respond.add_note(work, ada, incident_id, AddNote(f"{WRITER} spoke with {CUSTOMER}"))
    with connected(living.server, living.name) as superuser:
        superuser.execute("UPDATE users SET name = %s WHERE email = 'bob@example.org'", [WRITER])
        superuser.execute(
            "INSERT INTO audit_access_log SELECT gen_random_uuid(), now(), id, 'cli:bob.quill', 'users list', '',"
            " '192.0.2.77', 'BobBrowser/1', 0, 'OK', gen_random_uuid() FROM users WHERE email = 'bob@example.org'"
            " UNION ALL SELECT gen_random_uuid(), now(), NULL, 'cli:root', 'users add', 'Bob@example.org', 'cli',"
            " 'tocsin', 0, 'OK', gen_random_uuid()"
        )
        superuser.execute(
            "WITH begun AS (INSERT INTO attempts_begun SELECT gen_random_uuid(), n.id, 1, now(), 'test'"
            " FROM notifications n JOIN users u ON u.id = n.user_id WHERE u.name = %s RETURNING *)"
            " INSERT INTO delivery_attempts SELECT id, notification_id, attempt, started_at, now(), 'RETRY',"
            " '450 bob@example.org is over quota' FROM begun",
            [WRITER],
        )
    return incident_id


async def _forget_both(app: App, incident_id: UUID) -> None:
    ada = await lives.actor_of(app, "ada@example.org")
    async with app.work() as work:
        await erase.erase_incident(work, ada, incident_id, None, GROUNDS)
    async with app.work() as work:
        erased = await erase.erase_reports(work, ada, Reports(containing=CUSTOMER.upper()), GROUNDS)
        assert (erased.reports, erased.more) == (2, False)
    async with app.work() as work:
        await erase.erase_user(work, ada, "bob@example.org", GROUNDS)


def dump(living: LivedDatabase) -> str:
    """Return everything that a dump of the database holds, as its administrator makes it."""
    command = [str(installed() / "pg_dump"), "--dbname", living.server.conninfo(living.name)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def in_bytes(text: str) -> str:
    """Return a text as a dump writes it where it stands in bytes."""
    return text.encode().hex()


async def test_a_person_is_gone_from_a_dump_and_the_record_verifies(app: App, living: LivedDatabase) -> None:
    incident_id = await _leave_traces(app, living)
    before = dump(living)
    assert all(trace.lower() in before.lower() for trace in TRACES), "the search finds what is there"
    assert in_bytes(CUSTOMER) in before, "the report's document"
    await _forget_both(app, incident_id)
    await seal_everything(app)
    after = dump(living).lower()
    for trace in TRACES:
        assert trace.lower() not in after, trace
        assert in_bytes(trace) not in after, trace
    assert "gdpr-17" in after
    assert (await verified(app)).findings == []


# --- behind the guards' back ----------------------------------------------------------------------------------


@pytest.fixture
async def checked(own_copy: LivedDatabase) -> AsyncIterator[App]:
    """The application on a database without any guard."""
    async with lives.application(own_copy.server, own_copy.name, FakeClock()) as app:
        yield app


@pytest.mark.parametrize(
    ("attack", "found"),
    [
        ("UPDATE incidents SET title = NULL", "changed since it was recorded: title"),
        ("UPDATE incidents SET disclosures = '{}'", "changed since it was recorded: description, disclosures, title"),
        ("UPDATE incidents SET title = NULL, description = NULL, disclosures = '{}'", "recorded: disclosures"),
        (
            "UPDATE incidents SET title = NULL, description = NULL, disclosures = '{}', erased = '{title,description}'",
            "erased, and no entry of its incident says so: description, title",
        ),
        ("UPDATE incidents SET erased = '{title}'", "changed since it was recorded: erased"),
    ],
)
async def test_a_text_that_vanished_without_an_entry_is_found(
    own_copy: LivedDatabase, checked: App, attack: str, found: str
) -> None:
    with connected(own_copy.server, own_copy.name) as superuser:
        superuser.execute(f"{attack} WHERE id = %s".encode(), [own_copy.lived["closed"]])
    result = await verified(checked)
    assert {finding.row_id for finding in result.findings} == {own_copy.lived["closed"]}
    assert found in problems(result, "incidents", own_copy.lived["closed"])


async def test_a_report_or_an_access_that_vanished_without_an_account_is_found(
    own_copy: LivedDatabase, checked: App
) -> None:
    with connected(own_copy.server, own_copy.name) as superuser:
        superuser.execute("UPDATE audit_logs SET title = NULL, error_type = NULL, document = NULL, erased = true")
        superuser.execute("ALTER TABLE audit_access_log DISABLE TRIGGER ALL")
        superuser.execute("UPDATE audit_access_log SET target = NULL, erased = true")
    findings = (await verified(checked)).findings
    assert {(finding.table, finding.problem) for finding in findings} == {
        ("audit_logs", "it was erased, and nothing recorded says so"),
        ("audit_access_log", "it was erased, and nothing recorded says so"),
    }


async def test_an_erased_text_that_somebody_puts_back_is_found(app: App, living: LivedDatabase) -> None:
    ada, incident_id = await lives.actor_of(app, "ada@example.org"), living.lived["closed"]
    async with app.work() as work:
        await erase.erase_incident(work, ada, incident_id, ["title"], GROUNDS)
    assert (await verified(app)).findings == []
    with connected(living.server, living.name) as superuser:
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute("ALTER TABLE incidents DISABLE TRIGGER ALL")
        superuser.execute("UPDATE incidents SET title = 'Another' WHERE id = %s", [incident_id])
    (finding,) = (await verified(app)).findings
    assert (finding.row_id, finding.problem) == (incident_id, "changed since it was recorded: title")
