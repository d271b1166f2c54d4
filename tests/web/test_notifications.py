"""The history of delivery: every page with every attempt, filtered and in parts, secrets left out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.support.reached import also_by
from tests.web.conftest import Live, rows
from tocsin.app.leases import DOUBT, LEASE
from tocsin.channels import Delivered, Message, Outcome, Rejected, Retry
from tocsin.domain.access import Actor, Role
from tocsin.worker.run import run_due

pytestmark = pytest.mark.anyio


class Answers:
    """A channel that answers as it is told."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers = list(answers)

    async def send(self, _address: str, _message: Message) -> Outcome:
        return self.answers.pop(0) if self.answers else Delivered("250 OK")


async def _told(live: Live, path: str, **more: Any) -> list[dict[str, Any]]:
    answer = await live.get(path, **more)
    assert answer.status == 200, answer.body
    notifications: list[dict[str, Any]] = answer.json["notifications"]
    return notifications


async def test_a_page_is_shown_with_each_attempt_and_its_answer(
    live: Live, clock: FakeClock, tokens: dict[Role, str]
) -> None:
    await live.open_incident()
    channel = Answers(Retry("451 try later"))
    for _ in range(2):
        await run_due(live.app, {"email": channel})
        clock.forward(seconds=10)
    for path in ("/api/incidents/1/notifications", "/api/admin/incidents/INC-1/notifications", "/api/notifications"):
        (page,) = await _told(live, path)
        assert (page["incidentNumber"], page["reason"], page["userName"]) == (1, "INCIDENT_OPENED", "ada")
        assert (page["channel"], page["address"], page["state"]) == ("email", ADMIN_EMAIL, "DELIVERED")
        assert [(one["attempt"], one["outcome"], one["answer"]) for one in page["attempts"]] == [
            (1, "RETRY", "451 try later"),
            (2, "DELIVERED", "250 OK"),
        ]
        assert (page["bundleId"], page["because"], page["linkUsedAt"]) == (None, None, None)
    assert len(await _told(live, "/api/notifications", token=tokens[Role.AUDITOR])) == 1
    assert (await live.get("/api/notifications", token=tokens[Role.MEMBER])).status == 403


class KilledError(BaseException):
    """The worker was killed: nobody is left to write anything down."""


async def test_an_attempt_that_was_cut_short_is_shown_with_its_worker_and_that_nobody_knows(
    live: Live, clock: FakeClock
) -> None:
    class Killed(Answers):
        async def send(self, _address: str, _message: Message) -> Outcome:
            raise KilledError

    await live.open_incident()
    with pytest.raises(KilledError):
        await run_due(live.app, {"email": Killed()})
    assert await _attempts(live) == [("UNDER_WAY", "begun by hand, no answer yet")]
    for wait in (LEASE, DOUBT):
        clock.forward(seconds=wait.total_seconds())
        await run_due(live.app, {"email": Answers()})
    cut_short, delivered = await _attempts(live)
    assert cut_short[0] == "CUT_SHORT"
    assert cut_short[1].endswith("before there was an answer: whether it arrived is not known")
    assert delivered == ("DELIVERED", "250 OK")
    (page,) = await _told(live, "/api/incidents/1/notifications")
    first, second = page["attempts"]
    assert (first["attempt"], first["finishedAt"], first["worker"]) == (1, None, "hand")
    assert first["startedAt"] < second["startedAt"] <= second["finishedAt"]


async def _attempts(live: Live) -> list[tuple[str, str]]:
    """Return what is told of the attempts to deliver the one page: the same by the history and by the reasons."""
    (page,) = await _told(live, "/api/incidents/1/notifications")
    told = [(one["outcome"], one["answer"]) for one in page["attempts"]]
    steps = (await live.get("/api/incidents/1/why")).json["steps"]
    pages = [page for step in steps for candidate in step["candidates"] for page in candidate["pages"]]
    assert [(one["outcome"], one["answer"]) for page in pages for one in page["attempts"]] == told
    detail = (await live.get("/api/incidents/1")).json
    assert [(one["attempts"], one["lastAnswer"]) for one in detail["notifications"]] == [(len(told), told[-1][1])]
    return told


async def test_pages_are_listed_in_parts_and_by_person_state_and_time(
    live: Live, admin: Actor, clock: FakeClock
) -> None:
    for number in range(5):
        await live.open_incident(title=f"failure {number}")
    await run_due(live.app, {"email": Answers(Rejected("550 no"))})
    clock.forward(days=31)
    await live.open_incident(title="later")
    assert [page["incidentNumber"] for page in await _told(live, "/api/notifications")] == [7]
    everything = "/api/notifications?since=2026-01-01T00:00:00Z"
    seen, cursor = [], ""
    while True:
        answer = await live.get(f"{everything}&limit=2{cursor}")
        seen += [page["incidentNumber"] for page in answer.json["notifications"]]
        if answer.json["pagination"]["next"] is None:
            break
        cursor = f"&cursor={answer.json['pagination']['next']}"
    ours = await rows(live.app, b"SELECT count(*) FROM notifications")
    assert (len(seen), seen[0]) == (ours[0][0], 7)
    assert sorted(set(seen)) == [1, 2, 3, 4, 5, 6, 7]
    failed = await _told(live, f"{everything}&state=FAILED")
    assert [page["attempts"][0]["answer"] for page in failed] == ["550 no"]
    assert len(await _told(live, f"{everything}&user={ADMIN_EMAIL}")) == len(seen)
    assert (await live.get("/api/notifications?user=nobody@example.org")).code == "NOT_FOUND"
    assert (await live.get("/api/incidents/99/notifications")).code == "NOT_FOUND"
    unknown = "0196f3a0-7c3e-7c3e-8c3e-0123456789ab"
    assert await _told(live, f"/api/notifications?cursor={unknown}") != []


async def test_the_secret_path_of_a_webhook_is_not_shown(live: Live, admin: Actor) -> None:
    async with live.app.work() as work:
        await also_by(work, ADMIN_EMAIL, "webhook", "https://hooks.example.org/s3cret")
    await live.open_incident()
    answer = await live.get("/api/notifications")
    assert b"https://hooks.example.org/" in answer.body
    assert b"s3cret" not in answer.body


@cases(
    "query", ["limit=0", "limit=201", "cursor=7", "state=SENT", "since=yesterday", "user=x", "user=%00@a", "usr=a@b"]
)
async def test_a_wrong_query_is_refused(live: Live, query: str) -> None:
    answer = await live.get(f"/api/notifications?{query}")
    assert (answer.status, answer.code) == (422, "INVALID")


async def test_the_lists_are_read_from_an_index_whatever_is_asked(live: Live, clock: FakeClock) -> None:
    await live.open_incident()
    async with live.app.work() as work:
        for condition in (
            b"n.user_id = '0196f3a0-7c3e-7c3e-8c3e-0123456789ab' AND n.created_at >= now()",
            b"n.created_at >= now()",
            b"n.incident_id = '0196f3a0-7c3e-7c3e-8c3e-0123456789ab'",
        ):
            query = (
                b"EXPLAIN SELECT id FROM notifications n WHERE " + condition + b" AND (n.created_at, n.id) <"
                b" ('infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff') ORDER BY n.created_at DESC, n.id DESC LIMIT 9"
            )
            cursor = await work.tx.connection.execute(query)
            plan = " ".join(row[0] for row in await cursor.fetchall())
            assert "Seq Scan" not in plan
            assert "Index" in plan
