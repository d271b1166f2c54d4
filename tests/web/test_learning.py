"""Learning over HTTP: follow-up actions on pages and in the API."""

from __future__ import annotations

import pytest

from tests.web.conftest import Live, rows
from tests.web.test_console import HOSTILE, csrf_in, signed_in
from tocsin.domain.access import Role

PROMISE = {"title": f"mend {HOSTILE}", "owner": "ana", "dueAt": "2020-01-01"}


async def closed(live: Live, title: str = "It broke", **closing: object) -> int:
    """Open an incident and close it; return its number."""
    number: int = (await live.open_incident(title=title))["number"]
    root_cause = {"summary": "a pool", "category": "CONFIGURATION", "remediationSteps": "a larger pool"}
    said = {"lessonsLearned": "measure", "followUpActions": [PROMISE]} | closing
    for step, body in {
        "acknowledge": {"notes": "on it"},
        "root-cause": root_cause,
        "resolve": {"resolutionSummary": "larger"},
        "close": said,
    }.items():
        answer = await live.post(f"/api/incidents/{number}/{step}", body)
        assert answer.status < 300, answer.body
    return number


async def test_the_api_lists_and_marks(live: Live) -> None:
    number = await closed(live)
    (listed,) = (await live.get("/api/follow-ups?which=overdue&owner=ANA")).json["followUps"]
    assert (listed["incidentNumber"], listed["position"], listed["overdue"]) == (number, 1, True)
    done = await live.post(f"/api/follow-ups/INC-{number}/1/done", {"note": "at 1,000"})
    assert (done.status, done.json["followUp"]["state"]) == (200, "DONE")
    assert (await live.post(f"/api/follow-ups/{number}/1/done", {})).status == 409
    assert (await live.get("/api/follow-ups?which=overdue")).json == {"followUps": [], "overdue": 0, "hasMore": False}
    again = await live.post(f"/api/follow-ups/{number}/1/reopen", {})
    assert again.json["followUp"]["state"] == "REOPENED"
    whole = (await live.get(f"/api/follow-ups/{number}")).json["followUps"]
    assert [one["title"] for one in whole] == [PROMISE["title"]]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/follow-ups/999", 404),
        ("/api/follow-ups?limit=201", 422),
        ("/api/follow-ups?offset=10001", 422),
        ("/api/follow-ups?which=late", 422),
        ("/api/follow-ups?owner=a%00b", 422),
        ("/api/follow-ups?which=done&mine=true", 422),
        ("/learning/follow-ups?which=late", 422),
        ("/learning/follow-ups?which=done&owner=x", 422),
        ("/learning/follow-ups?owner=%00", 422),
    ],
)
async def test_what_cannot_be_read_is_refused(live: Live, path: str, status: int) -> None:
    headers = await signed_in(live) if path.startswith("/learning") else {}
    answer = await (live.call("GET", path, headers=headers) if headers else live.get(path))
    assert answer.status == status


@pytest.mark.parametrize("position", ["0", "2", "51", "x", "1e1", "100"])
async def test_an_action_that_is_not_there_is_not_found(live: Live, position: str) -> None:
    number = await closed(live)
    assert (await live.post(f"/api/follow-ups/{number}/{position}/done", {})).status == 404


async def test_the_page_shows_marks_and_never_runs(live: Live) -> None:
    number, browser = await closed(live), await signed_in(live)
    page = await live.call("GET", "/learning/follow-ups?which=overdue", headers=browser)
    body = page.body.decode()
    assert "&lt;script&gt;alert(1)" in body
    assert "<script>alert" not in body
    assert '<strong class="overdue">' in body
    said = {"csrf": csrf_in(page), "note": "at 1,000", "back": ""}
    path = f"/learning/follow-ups/{number}/1"
    answer = await live.call("POST", f"{path}/done", data=said, headers=browser)
    assert (answer.status, answer.headers["Location"]) == (303, "/learning/follow-ups")
    done = await live.call("GET", "/learning/follow-ups?which=done", headers=browser)
    assert "at 1,000" in done.body.decode()
    answer = await live.call("POST", f"{path}/reopen", data={**said, "back": str(number)}, headers=browser)
    assert answer.headers["Location"] == f"/incidents/{number}"
    answer = await live.call("POST", f"{path}/done", data={**said, "back": "//evil.example"}, headers=browser)
    assert answer.status == 422


@pytest.mark.parametrize("forged", [{"csrf": "0" * 64}, {}, {"headers": {"Sec-Fetch-Site": "cross-site"}}])
@pytest.mark.parametrize("mark", ["done", "reopen"])
async def test_a_forged_mark_does_nothing(live: Live, mark: str, forged: dict[str, object]) -> None:
    number, browser = await closed(live), await signed_in(live)
    csrf = csrf_in(await live.call("GET", "/learning/follow-ups", headers=browser))
    more = forged.get("headers")
    headers = {**browser, **(more if isinstance(more, dict) else {})}
    said = {"csrf": str(forged.get("csrf", csrf if more else ""))}
    answer = await live.call("POST", f"/learning/follow-ups/{number}/1/{mark}", data=said, headers=headers)
    assert answer.status == 403
    assert await rows(live.app, b"SELECT state FROM follow_ups") == [("OPEN",)]


@pytest.mark.parametrize(
    ("role", "read", "mark"),
    [(Role.SUPERADMIN, 200, 303), (Role.RESPONDER, 200, 303), (Role.AUDITOR, 200, 403), (Role.MEMBER, 403, 403)],
)
async def test_who_may_do_what(live: Live, tokens: dict[Role, str], role: Role, read: int, mark: int) -> None:
    number, browser = await closed(live), await signed_in(live, role)
    page = await live.call("GET", "/learning/follow-ups", headers=browser)
    assert page.status == read
    if read == 200:
        assert (f"/learning/follow-ups/{number}/1/done" in page.body.decode()) is (mark == 303)
        said = {"csrf": csrf_in(page)}
        answer = await live.call("POST", f"/learning/follow-ups/{number}/1/done", data=said, headers=browser)
        assert answer.status == mark


async def test_every_access_is_recorded(live: Live) -> None:
    await live.call("GET", "/learning/follow-ups", headers=await signed_in(live))
    await live.get("/api/follow-ups")
    recorded = {action for (action,) in await rows(live.app, b"SELECT action FROM audit_access_log")}
    assert {"GET /learning/follow-ups", "GET /api/follow-ups"} <= recorded
