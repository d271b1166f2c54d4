"""Tocsin's own intake: one, many, a line each, compressed, twice; and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import psycopg
import pytest

from tests.conftest import INTAKE_KEY
from tests.support.servers import Server
from tests.web.conftest import Live, rows
from tocsin.app.projects import add_project
from tocsin.domain.access import Actor
from tocsin.intake.native import MAX_BATCH

pytestmark = pytest.mark.anyio

ERROR: dict[str, Any] = {"severity": "error", "type": "ValueError", "message": "no such order", "eventId": "e1"}
PATH = "/api/v1/errors"
UNREADABLE: list[tuple[bytes, dict[str, str], str]] = [
    (b"", {}, "MALFORMED"),
    (b"{", {}, "MALFORMED"),
    (b"[]", {}, "INVALID"),
    (b"null", {}, "INVALID"),
    (b"not gzip", {"Content-Encoding": "gzip"}, "MALFORMED"),
    (b"{}", {"Content-Encoding": "lzma"}, "UNSUPPORTED_MEDIA_TYPE"),
    (b"[" * 100_000, {}, "MALFORMED"),
    (b'{"severity":' + b"9" * 5_000 + b"}", {}, "INVALID"),
    (b"\xff\xfe\x00", {}, "MALFORMED"),
]


async def _send(live: Live, body: bytes, **headers: str) -> Any:
    return await live.call("POST", PATH, token=INTAKE_KEY, data=body, headers=headers)


async def test_one_report_opens_an_incident_and_the_same_event_is_once(live: Live) -> None:
    first = await live.report(ERROR)
    again = await live.report(ERROR)
    assert first.status == again.status == 201
    [accepted], [duplicate] = first.json["accepted"], again.json["accepted"]
    assert (accepted["eventId"], accepted["outcome"], duplicate["outcome"]) == ("e1", "opened", "duplicate")
    assert accepted["incidentId"] == duplicate["incidentId"]
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(1,)]


async def test_of_an_array_the_wrong_ones_are_named_and_the_others_taken(live: Live) -> None:
    answer = await live.report([ERROR, {"severity": "odd", "message": "x"}, 7, ERROR | {"eventId": "e2"}, ERROR])
    assert answer.status == 201
    assert [one["outcome"] for one in answer.json["accepted"]] == ["opened", "joined", "duplicate"]
    assert [one["index"] for one in answer.json["rejected"]] == [1, 2]
    assert "severity" in answer.json["rejected"][0]["reason"]


async def test_lines_are_taken_with_and_without_their_content_type(live: Live) -> None:
    lines = b"\n".join(json.dumps(ERROR | {"eventId": f"e{number}"}).encode() for number in range(3))
    typed = await _send(live, lines, **{"Content-Type": "application/x-ndjson"})
    plain = await _send(live, lines, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert [one["outcome"] for one in typed.json["accepted"]] == ["opened", "joined", "joined"]
    assert [one["outcome"] for one in plain.json["accepted"]] == ["duplicate"] * 3


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_taken(live: Live, name: str, pack: Any) -> None:
    answer = await _send(live, pack(json.dumps(ERROR).encode()), **{"Content-Encoding": name})
    assert answer.status == 201


@pytest.mark.parametrize("where", ["bearer", "X-Tocsin-Key", "query", "X-Sentry-Auth"])
async def test_the_key_may_come_in_four_ways(live: Live, where: str) -> None:
    headers = {
        "bearer": {"Authorization": f"Bearer {INTAKE_KEY}"},
        "X-Tocsin-Key": {"X-Tocsin-Key": INTAKE_KEY},
        "query": {},
        "X-Sentry-Auth": {"X-Sentry-Auth": f"Sentry sentry_key={INTAKE_KEY}"},
    }[where]
    path = f"{PATH}?key={INTAKE_KEY}" if where == "query" else PATH
    assert (await live.call("POST", path, json=ERROR, headers=headers)).status == 201


async def test_without_a_valid_key_nothing_is_taken(live: Live) -> None:
    for key in (None, "", "f" * 32, "x" * 5_000, "tab\tkey"):
        answer = await live.call("POST", PATH, json=ERROR, token=key)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED"), key
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(0,)]


async def test_a_wrong_single_report_names_its_fields(live: Live) -> None:
    answer = await live.report({"severity": "odd"})
    assert (answer.status, answer.code) == (422, "INVALID")
    assert {error["field"] for error in answer.json["errors"]} == {"severity", "message"}


async def test_a_batch_of_nothing_but_wrong_ones_is_refused(live: Live) -> None:
    answer = await live.report([1, {"severity": "odd", "message": "x"}])
    assert (answer.status, answer.code) == (422, "INVALID")
    assert [error["field"] for error in answer.json["errors"]] == ["[0]", "[1]"]


async def test_what_is_too_large_is_refused_without_holding_it(live: Live) -> None:
    bomb = gzip.compress(b" " * 30_000_000)
    assert (await _send(live, bomb, **{"Content-Encoding": "gzip"})).code == "TOO_LARGE"
    big = json.dumps(ERROR | {"context": {"big": "x" * 1_100_000}}).encode()
    assert (await _send(live, big)).code == "TOO_LARGE"
    many = [ERROR | {"eventId": str(number)} for number in range(MAX_BATCH + 1)]
    assert (await live.report(many)).code == "TOO_LARGE"
    assert (await _send(live, b"x" * 20_971_521)).code == "TOO_LARGE"


async def _chunks(sizes: int) -> Any:
    for _ in range(sizes):
        yield b" " * 1_048_576
        await asyncio.sleep(0)


async def test_a_chunked_body_without_a_length_is_bounded_too(live: Live) -> None:
    try:
        answer = await live.call("POST", PATH, token=INTAKE_KEY, data=_chunks(30))
    except OSError:
        # The server answers and closes while we still send: the client may see the one or the other.
        return
    assert answer.code == "TOO_LARGE"


async def test_what_cannot_be_read_is_refused(live: Live) -> None:
    for body, headers, code in UNREADABLE:
        assert (await _send(live, body, **headers)).code == code, body[:40]


async def test_odd_texts_cost_nobody_a_report(live: Live) -> None:
    body = b'{"severity":"error","message":"a\\u0000b\\ud800c \xff","context":{"n":NaN,"\\u0000":1}}'
    answer = await _send(live, body)
    assert answer.status == 201
    incident = await live.get(f"/api/incidents/{answer.json['accepted'][0]['incidentId']}")
    assert incident.json["error"]["message"] == "a�b�c �"


async def test_a_key_opens_only_its_own_project(live: Live, admin: Actor) -> None:
    async with live.app.work() as work:
        _, key = await add_project(work, admin, "other")
    await live.report(ERROR)
    answer = await live.call("POST", PATH, token=key, json=ERROR)
    assert answer.json["accepted"][0]["outcome"] == "opened"


async def test_a_failure_of_the_database_is_no_acceptance(live: Live, server: Server, database_name: str) -> None:
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("SELECT tocsin_guard.suspend()")
        superuser.execute("ALTER TABLE tocsin.audit_logs RENAME TO hidden")
        answer = await live.report(ERROR)
        superuser.execute("ALTER TABLE tocsin.hidden RENAME TO audit_logs")
    assert (answer.status, answer.code) == (500, "INTERNAL")
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(0,)]


async def test_reports_without_an_id_count_once_for_one_idempotency_key(live: Live) -> None:
    reports = [{"severity": "HIGH", "message": "one"}, {"severity": "HIGH", "message": "two"}]
    first = await live.report(reports, headers={"Idempotency-Key": "nightly-1"})
    again = await live.report(reports, headers={"Idempotency-Key": "nightly-1"})
    assert [one["outcome"] for one in first.json["accepted"]] == ["opened", "opened"]
    assert [one["outcome"] for one in again.json["accepted"]] == ["duplicate", "duplicate"]
    assert [one["eventId"] for one in first.json["accepted"]] == [one["eventId"] for one in again.json["accepted"]]
