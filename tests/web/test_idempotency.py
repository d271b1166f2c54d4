"""Idempotency-Key: the same key and body give the same answer, and what was asked for is done once."""

from __future__ import annotations

import asyncio

import pytest

from tests.web.conftest import Live, rows
from tocsin.domain.access import Role

pytestmark = pytest.mark.anyio

OPENING = {"severity": "HIGH", "title": "It broke"}
COUNT = b"SELECT count(*) FROM incidents"


async def test_a_repeated_request_is_answered_the_same_and_done_once(live: Live) -> None:
    headers = {"Idempotency-Key": "first"}
    first = await live.post("/api/incidents", OPENING, headers=headers)
    again = await live.post("/api/incidents", OPENING, headers=headers)
    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await rows(live.app, COUNT) == [(1,)]
    outcomes = await rows(live.app, b"SELECT outcome FROM audit_access_log ORDER BY id")
    assert outcomes == [("OK",), ("REPLAYED",)]


async def test_another_request_under_the_same_key_is_refused(live: Live) -> None:
    headers = {"Idempotency-Key": "one"}
    await live.post("/api/incidents", OPENING, headers=headers)
    other_body = await live.post("/api/incidents", OPENING | {"title": "Another"}, headers=headers)
    other_path = await live.post("/api/admin/incidents", OPENING, headers=headers)
    assert other_body.code == other_path.code == "INVALID"
    assert other_body.json["errors"][0]["field"] == "Idempotency-Key"
    assert await rows(live.app, COUNT) == [(1,)]


async def test_the_same_key_at_the_same_instant_is_done_once(live: Live) -> None:
    headers = {"Idempotency-Key": "race"}
    answers = await asyncio.gather(*(live.post("/api/incidents", OPENING, headers=headers) for _ in range(6)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert await rows(live.app, COUNT) == [(1,)]


async def test_two_people_may_use_the_same_key(live: Live, tokens: dict[Role, str]) -> None:
    headers = {"Idempotency-Key": "ours"}
    await live.post("/api/incidents", OPENING, headers=headers)
    await live.post("/api/incidents", OPENING, headers=headers, token=tokens[Role.RESPONDER])
    assert await rows(live.app, COUNT) == [(2,)]


async def test_a_refusal_is_not_remembered(live: Live) -> None:
    number = (await live.open_incident())["number"]
    path, headers = f"/api/incidents/{number}/investigate", {"Idempotency-Key": "later"}
    assert (await live.post(path, headers=headers)).code == "NOT_ACKNOWLEDGED"
    await live.post(f"/api/incidents/{number}/acknowledge", {"notes": "On it"})
    assert (await live.post(path, headers=headers)).status == 200
    again = await live.post(path, headers=headers)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "caf\u00e9\u00a0"])
async def test_a_key_that_cannot_be_one_is_refused(live: Live, key: str) -> None:
    answer = await live.post("/api/incidents", OPENING, headers={"Idempotency-Key": key})
    assert answer.code == "INVALID"
    assert await rows(live.app, COUNT) == [(0,)]
