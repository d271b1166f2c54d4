"""JSON of others: read with the project's field mapping or by guessing, and CloudEvents in their three modes."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.conftest import INTAKE_KEY
from tests.web.conftest import Answer, Live, rows
from tocsin.app import projects
from tocsin.domain.access import Actor
from tocsin.intake import cloudevents, field_mapping
from tocsin.web.room import MAX_REQUEST_BYTES

pytestmark = pytest.mark.anyio

GENERIC = "/api/v1/generic"
CLOUDEVENTS = "/api/v1/cloudevents"
MAPPING = {
    "items": "alarms",
    "fields": {"eventId": "id", "severity": "level", "message": "text", "serverName": "host", "service": "$.system"},
    "severities": {"major": "error", "fatal": "critical"},
}
ALARM = {"id": "a1", "level": "major", "text": "no space left on /var", "host": "backup-1"}
EVENT = {"specversion": "1.0", "id": "42", "source": "/backup", "type": "org.example.backup.failed"}
BECAME = (
    b"SELECT measure, sum(quantity)::bigint FROM intake_ledger"
    b" WHERE measure IN ('opened', 'joined', 'duplicate') GROUP BY 1 ORDER BY 1"
)
DATA = {"severity": "error", "message": "no space left on /var"}


async def _send(live: Live, path: str, body: Any, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await live.call("POST", path, token=INTAKE_KEY, data=data, headers=headers)


async def _error(live: Live) -> dict[str, Any]:
    """Return the first report of the newest incident."""
    newest = (await live.get("/api/incidents")).json["incidents"][0]
    detail: dict[str, Any] = (await live.get(f"/api/incidents/{newest['number']}")).json
    return {**detail["error"], "title": detail["incident"]["title"], "incident": detail["incident"]}


async def _with_mapping(live: Live, admin: Actor) -> None:
    async with live.app.work() as work:
        await projects.set_field_mapping(work, admin, 1, MAPPING)


async def test_without_a_mapping_the_usual_names_are_guessed(live: Live) -> None:
    answer = await _send(live, GENERIC, {"level": "critical", "msg": "the shop burns", "host": "web-1", "coins": 3})
    assert (answer.status, answer.json) == (200, {"accepted": 1, "rejected": []})
    error = await _error(live)
    assert (error["title"], error["incident"]["severity"]) == ("the shop burns", "CRITICAL")
    assert (error["serverName"], error["context"]["coins"]) == ("web-1", 3)


async def test_the_projects_mapping_says_what_stands_where(live: Live, admin: Actor) -> None:
    await _with_mapping(live, admin)
    answer = await _send(live, GENERIC, {"system": "storage", "alarms": [ALARM, {"id": "a2"}, ALARM]})
    assert answer.status == 200
    assert answer.json["accepted"] == 2
    assert [one["index"] for one in answer.json["rejected"]] == [1]
    error = await _error(live)
    assert (error["eventId"], error["incident"]["severity"]) == ("a1", "HIGH")
    assert (error["service"], error["serverName"]) == ("storage", "backup-1")
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(1,)]


async def test_a_mapping_is_read_once_and_not_for_every_request(
    live: Live, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _with_mapping(live, admin)
    read = []

    def counted(document: object) -> object:
        read.append(document)
        return field_mapping.parse_mapping(document)

    monkeypatch.setattr(projects, "parse_mapping", counted)
    monkeypatch.setattr(projects, "monotonic_seconds", lambda: 1.0)
    for _ in range(3):
        assert (await _send(live, GENERIC, {"alarms": [ALARM]})).status == 200
    assert len(read) == 1


async def test_of_what_holds_nothing_readable_each_item_is_named(live: Live) -> None:
    empty = await _send(live, GENERIC, [{}, 5])
    assert (empty.status, empty.code) == (422, "INVALID")
    assert [error["field"] for error in empty.json["errors"]] == ["[0]", "[1]"]


async def test_the_items_of_a_request_are_named_by_their_order(live: Live) -> None:
    body = [{"message": "one"}, {"message": "two"}]
    for key in ("k1", "k1", "k2"):
        assert (await _send(live, GENERIC, body, **{"Idempotency-Key": key})).json["accepted"] == 2
    assert await rows(live.app, BECAME) == [("duplicate", 2), ("joined", 2), ("opened", 2)]


async def test_a_cloudevent_is_answered_with_nothing_that_a_broker_could_take_for_an_event(live: Live) -> None:
    structured = await _send(live, CLOUDEVENTS, EVENT | {"data": DATA}, **{"Content-Type": cloudevents.STRUCTURED})
    assert (structured.status, structured.body) == (204, b"")
    error = await _error(live)
    assert (error["type"], error["message"], error["service"]) == (EVENT["type"], DATA["message"], "/backup")


async def test_the_three_modes_bring_the_same_event_once(live: Live) -> None:
    attributes = {f"ce-{name}": value for name, value in EVENT.items()}
    binary = await _send(live, CLOUDEVENTS, DATA, **attributes, **{"Content-Type": "application/json"})
    whole = EVENT | {"data": DATA}
    structured = await _send(live, CLOUDEVENTS, whole, **{"Content-Type": cloudevents.STRUCTURED})
    batch = await _send(live, CLOUDEVENTS, [whole, whole], **{"Content-Type": cloudevents.BATCH})
    assert [answer.status for answer in (binary, structured, batch)] == [204, 204, 204]
    assert await rows(live.app, b"SELECT count(*) FROM audit_logs") == [(1,)]


async def test_of_a_batch_the_wrong_events_are_named_and_the_others_taken(live: Live) -> None:
    body = [{"specversion": "1.0"}, EVENT | {"data": DATA}]
    answer = await _send(live, CLOUDEVENTS, body, **{"Content-Type": cloudevents.BATCH})
    assert (answer.status, answer.json["accepted"]) == (200, 1)
    assert [one["index"] for one in answer.json["rejected"]] == [0]
    none = await _send(live, CLOUDEVENTS, body[:1], **{"Content-Type": cloudevents.BATCH})
    assert (none.status, none.code) == (422, "INVALID")


REFUSED: list[tuple[str, bytes, dict[str, str], int, str]] = [
    (GENERIC, b"{", {}, 400, "MALFORMED"),
    (GENERIC, b"5", {}, 422, "INVALID"),
    (GENERIC, b"{}", {"Content-Encoding": "lzma"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
    (GENERIC, b"{}", {"Content-Encoding": "br"}, 400, "MALFORMED"),
    (GENERIC, gzip.compress(b" " * (MAX_REQUEST_BYTES + 1)), {"Content-Encoding": "gzip"}, 413, "TOO_LARGE"),
    (CLOUDEVENTS, b"{", {"Content-Type": cloudevents.STRUCTURED}, 400, "MALFORMED"),
    (CLOUDEVENTS, b"{}", {"Content-Type": cloudevents.STRUCTURED}, 422, "INVALID"),
    (CLOUDEVENTS, b"{}", {"Content-Type": cloudevents.BATCH}, 422, "INVALID"),
    (CLOUDEVENTS, b"{}", {"Content-Type": "application/cloudevents+avro"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
]


async def test_what_cannot_be_read_is_refused_and_counted(live: Live) -> None:
    for path, body, headers, status, code in REFUSED:
        answer = await _send(live, path, body, **headers)
        assert (answer.status, answer.code) == (status, code), (path, body[:20], headers)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    counted = await rows(live.app, b"SELECT measure, sum(quantity)::bigint FROM intake_ledger GROUP BY 1 ORDER BY 1")
    assert counted == [("received", len(REFUSED)), ("rejected", len(REFUSED))]
