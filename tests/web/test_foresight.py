"""Simulation and forecast over HTTP: what they say, who may ask, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.cases import cases
from tests.web.conftest import Live

pytestmark = pytest.mark.anyio

EVE = {"incidentAt": "2026-12-24T02:00:00+01:00", "severity": "CRITICAL"}


async def test_an_incident_is_played_and_nothing_comes_of_it(live: Live) -> None:
    answer = await live.post("/api/policies/simulate", EVE | {"ackAfterSeconds": 7200, "days": 1})
    assert answer.status == 200, answer.json
    assert (answer.json["policy"], answer.json["incidentAt"]) == ("default", "2026-12-24T01:00:00Z")
    assert [(step["reason"], step["stage"]) for step in answer.json["steps"]][:3] == [
        ("INCIDENT_OPENED", "TAKEN"),
        ("NO_ACK_1HR", "TAKEN"),
        ("NO_ACK_4HR", "MOOT"),
    ]
    (page,) = answer.json["steps"][0]["candidates"][0]["pages"]
    assert (page["channel"], page["state"], page["dueAt"]) == ("email", "OWED", "2026-12-24T01:00:00Z")
    assert (await live.get("/api/incidents")).json["incidents"] == []


@cases(
    ("said", "status"),
    [
        ({"days": 61}, 422),
        ({"ackAfterSeconds": -1}, 422),
        ({"rootCauseAfterSeconds": 60}, 422),
        ({"incidentAt": "2026-12-24T02:00:00"}, 422),
        ({"incidentAt": "0001-01-01T00:00:00+05:00"}, 422),
        ({"severity": "AWFUL"}, 422),
        ({"projectId": 99}, 404),
        ({"policyId": "00000000-0000-7000-8000-00000000ffff"}, 404),
        ({"ackAfterSeconds": 0, "ackBy": "nobody@example.org"}, 422),
        ({"unknown": 1}, 422),
    ],
)
async def test_what_cannot_be_imagined_is_refused(live: Live, said: dict[str, object], status: int) -> None:
    answer = await live.post("/api/policies/simulate", EVE | said)
    assert answer.status == status, answer.json


async def test_the_forecast_names_the_policies_and_who_is_hard_to_reach(live: Live) -> None:
    answer = await live.get("/api/oncall/forecast?days=30")
    assert answer.status == 200, answer.json
    assert answer.json["policies"] == ["default"]
    assert {one["reached"] for one in answer.json["weaknesses"]} == {"UNVERIFIED"}
    assert [one["problem"] for one in answer.json["people"]] == ["is reached by email only, which is not set up"]
    for days in ("0", "61", "soon"):
        assert (await live.get(f"/api/oncall/forecast?days={days}")).status == 422


async def test_who_may_not_read_foresees_nothing(live: Live) -> None:
    for answer in (
        await live.call("POST", "/api/policies/simulate", json=EVE),
        await live.call("GET", "/api/oncall/forecast"),
    ):
        assert answer.status == 401
