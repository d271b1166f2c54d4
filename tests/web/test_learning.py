"""Learning over HTTP: follow-up actions and figures, on pages and in the API."""

from __future__ import annotations

import pytest

from tests.support.cases import cases
from tests.web.conftest import Live, rows
from tests.web.test_console import HOSTILE, csrf_in, signed_in
from tocsin.app import learning
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


@cases(
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


async def counted(live: Live) -> None:
    """Count the weeks, as the chore does."""
    async with live.app.work() as work:
        await learning.count_weeks(work)


async def test_the_api_tells_what_was_learned(live: Live) -> None:
    await closed(live)
    assert (await live.get("/api/stats/learning")).json["countedAt"] is None
    await counted(live)
    found = (await live.get("/api/stats/learning?weeks=2")).json
    assert (found["acknowledged"]["number"], len(found["weeks"])) == (1, 2)
    assert [one["name"] for one in found["resolvedBySeverity"]] == ["HIGH"]
    assert found["causes"]["CONFIGURATION"] == 1
    assert found["weeks"][-1]["opened"] == 1


@pytest.mark.parametrize("path", ["/api/stats/learning?weeks=53", "/learning?weeks=0", "/learning?weeks=x"])
async def test_a_period_has_a_bound(live: Live, path: str) -> None:
    headers = await signed_in(live)
    answer = await (live.get(path) if path.startswith("/api") else live.call("GET", path, headers=headers))
    assert answer.status == 422


async def test_the_page_has_its_numbers_in_tables_and_for_the_charts(live: Live) -> None:
    browser = await signed_in(live)
    empty = (await live.call("GET", "/learning", headers=browser)).body.decode()
    assert "not counted yet" in empty
    answer = await live.open_incident(title="It broke", service="pay</script><script>alert(1)</script>")
    await live.post(f"/api/incidents/{answer['number']}/acknowledge", {"notes": "on it"})
    await closed(live)
    await counted(live)
    page = await live.call("GET", "/learning", headers=browser)
    body = page.body.decode()
    assert '<th scope="row">High</th>' in body
    assert "<script>alert" not in body
    assert "pay&lt;/script&gt;" in body
    assert '<script type="application/json" id="numbers">{"acknowledged": ' in body
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert "uPlot" in body
    assert "uPlot" not in (await live.call("GET", "/incidents", headers=browser)).body.decode()


HOSTILE_MARKS = "[x](javascript:alert(1)) **bold** | cell | <img src=x onerror=alert(1)> # head www.evil.example"


async def test_the_report_is_a_page_markdown_and_a_pdf(live: Live) -> None:
    promise = {"title": f"mend {HOSTILE_MARKS}", "owner": "Zoë Ελένη", "dueAt": "2020-01-01"}
    number = await closed(live, "It broke", followUpActions=[promise], lessonsLearned=f"1. measure\n\n{HOSTILE_MARKS}")
    browser = await signed_in(live)
    page = (await live.call("GET", f"/incidents/{number}/report", headers=browser)).body.decode()
    assert "<h2" in page
    assert "<img src=x" not in page
    assert "overdue" in page
    answer = await live.get(f"/api/incidents/INC-{number}/report.md")
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="INC-{number}.md"'
    text = answer.body.decode()
    for heading in ("What happened", "Timeline", "Root cause", "Remediation", "Impact", "Lessons", "Follow-up actions"):
        assert f"\n## {heading}\n" in text
    assert "| 1 | mend \\[x\\](javascript\\:alert(1)) \\*\\*bold\\*\\* \\| cell \\| \\<img src=x" in text
    assert "www\\.evil.example" in text
    assert "\n1\\. measure\n" in text
    assert "Zoë Ελένη" in text
    printed = await live.get(f"/api/incidents/{number}/report.pdf")
    assert (printed.headers["Content-Type"], printed.body[:5]) == ("application/pdf", b"%PDF-")
    assert printed.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["report.md", "report.pdf"])
async def test_a_report_of_nothing_is_not_found(live: Live, tokens: dict[Role, str], name: str) -> None:
    assert (await live.get(f"/api/incidents/999/{name}")).status == 404
    assert (await live.get(f"/api/incidents/x/{name}")).status == 404
    assert (await live.get(f"/api/incidents/1/{name}", token=tokens[Role.MEMBER])).status == 403
    assert (await live.call("GET", "/incidents/999/report", headers=await signed_in(live))).status == 404


async def test_a_report_of_what_is_open_says_what_is_missing(live: Live) -> None:
    number = (await live.open_incident(title="It broke"))["number"]
    text = (await live.get(f"/api/incidents/{number}/report.md")).body.decode()
    assert "## Root cause\n\nnot recorded yet\n" in text
    assert "They come with the closing." in text
