"""Who was paged, and why the others were not, over HTTP."""

from __future__ import annotations

import pytest

from tests.web.conftest import Live

pytestmark = pytest.mark.anyio


async def test_each_candidate_comes_with_the_reason_and_what_was_sent(live: Live) -> None:
    body = {"severity": "HIGH", "title": "It broke", "service": "shop"}
    number = (await live.post("/api/incidents", body)).json["incident"]["number"]
    await live.post(f"/api/incidents/{number}/acknowledge", {"notes": "On it"})
    answer = await live.get(f"/api/incidents/{number}/why")
    assert answer.status == 200
    assert answer.json["policy"] == "default"
    told = [(step["step"], step["stage"], step["candidates"][0]["because"]) for step in answer.json["steps"]]
    assert told == [
        ("INCIDENT_OPENED", "TAKEN", "PAGED"),
        ("NO_ACK_1HR", "MOOT", "ACKNOWLEDGED"),
        ("NO_ACK_4HR", "MOOT", "ACKNOWLEDGED"),
        (answer.json["steps"][3]["step"], "TO_COME", None),
        ("NO_ROOT_CAUSE_24HR", "TO_COME", None),
    ]
    (page,) = answer.json["steps"][0]["candidates"][0]["pages"]
    assert (page["channel"], page["state"], page["attempts"]) == ("email", "PENDING", [])


async def test_of_no_incident_there_is_nothing_to_tell(live: Live) -> None:
    for which in ("99", "01a22257-597f-77b7-804f-29970cc77647"):
        assert (await live.get(f"/api/incidents/{which}/why")).code == "NOT_FOUND"
