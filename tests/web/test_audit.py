"""The audit: who may read it, that filters and pages find everything once, and that files are whole and harmless."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest

from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.web.conftest import Live, email_of
from tests.web.test_console import HOSTILE, report, signed_in
from tocsin.app import export_audit
from tocsin.domain.access import Role

FILES = [f"/audit/{what}.{form}" for what in ("accesses", "entries") for form in ("csv", "json")]
PAGES = ("/audit", "/audit/entries", *FILES)
ENDPOINTS = [f"/api/audit/{what}{end}" for what in ("accesses", "entries") for end in ("", "/export")]
ALLOWED = [(Role.SUPERADMIN, 200), (Role.RESPONDER, 403), (Role.AUDITOR, 200), (Role.MEMBER, 403)]


@cases("path", PAGES)
@cases(("role", "status"), ALLOWED)
async def test_who_may_read_the_pages(live: Live, tokens: dict[Role, str], path: str, role: Role, status: int) -> None:
    await report(live)
    browser = await signed_in(live, role)
    assert (await live.call("GET", path, headers=browser)).status == status
    home = (await live.call("GET", "/incidents", headers=browser)).body.decode()
    assert ('href="/audit"' in home) is (status == 200)


@cases("path", ENDPOINTS)
@cases(("role", "status"), ALLOWED)
async def test_who_may_read_the_endpoints(
    live: Live, tokens: dict[Role, str], path: str, role: Role, status: int
) -> None:
    assert (await live.get(path, token=tokens[role])).status == status


async def test_pages_show_every_access_once_newest_first(live: Live, clock: FakeClock) -> None:
    for place in range(7):
        clock.forward(seconds=place % 2)
        await live.get(f"/api/incidents?limit={place + 1}")
    seen: list[str] = []
    times: list[str] = []
    cursor = ""
    while True:
        answer = await live.get(f"/api/audit/accesses?action=GET%20/api/incidents&limit=2{cursor}")
        seen += [one["id"] for one in answer.json["accesses"]]
        times += [one["accessedAt"] for one in answer.json["accesses"]]
        if answer.json["nextCursor"] is None:
            break
        cursor = "&cursor=" + answer.json["nextCursor"].replace("+", "%2B")
    assert len(seen) == len(set(seen)) == 7
    assert times == sorted(times, reverse=True)


async def test_filters_find_what_they_say(live: Live, tokens: dict[Role, str], clock: FakeClock) -> None:
    await live.get("/api/schedules", token=tokens[Role.RESPONDER])
    await live.get("/api/admin/incidents", token=tokens[Role.RESPONDER])
    between = clock()
    clock.forward(days=2)
    await live.get("/api/projects")

    async def found(query: str) -> list[tuple[str, str]]:
        answer = await live.get(f"/api/audit/accesses?{query}")
        return [(one["userEmail"], one["action"]) for one in answer.json["accesses"] if "/audit" not in one["action"]]

    responder = email_of(Role.RESPONDER)
    assert await found("outcome=FORBIDDEN") == [(responder, "GET /api/admin/incidents")]
    assert await found(f"user={responder}&action=GET%20/api/schedules") == [(responder, "GET /api/schedules")]
    later = (between + timedelta(days=1)).isoformat().replace("+", "%2B")
    assert await found(f"since={later}") == [(ADMIN_EMAIL, "GET /api/projects")]
    assert (ADMIN_EMAIL, "GET /api/projects") not in await found(f"until={later}")


async def test_entries_are_found_by_kind_and_actor(live: Live) -> None:
    number = await report(live)
    await live.post(f"/api/incidents/{number}/acknowledge", {"notes": HOSTILE})
    answer = await live.get(f"/api/audit/entries?user={ADMIN_EMAIL}&kind=ACKNOWLEDGED")
    (entry,) = answer.json["entries"]
    assert (entry["number"], entry["actorEmail"], entry["personal"]) == (number, ADMIN_EMAIL, {"notes": HOSTILE})
    page = await live.call("GET", "/audit/entries?kind=ACKNOWLEDGED", headers=await signed_in(live))
    assert "&lt;script&gt;alert(1)" in page.body.decode()
    assert "<script>alert" not in page.body.decode()


@cases(
    "query",
    ["user=nobody@example.org", "since=x", "since=0001-01-01", "before=x", "before=9~9", "user=%00", "until=9999-1"],
)
async def test_a_wrong_filter_is_said_on_a_page(live: Live, query: str) -> None:
    answer = await live.call("GET", f"/audit?{query}", headers=await signed_in(live))
    assert answer.status == 422
    assert answer.headers["Content-Type"].startswith("text/html")
    if "before" not in query:  # a file has no pages
        file = await live.call("GET", f"/audit/accesses.csv?{query}", headers=await signed_in(live))
        assert file.status == 422


@cases("query", ["kind=NO", "cursor=2026-01-01T00:00:00Z~x", "limit=0", "since=2026-01-01"])
async def test_a_wrong_query_is_a_problem(live: Live, query: str) -> None:
    assert (await live.get(f"/api/audit/entries?{query}")).code == "INVALID"


async def test_names_that_hold_nul_are_in_no_log(live: Live) -> None:
    assert (await live.get("/api/audit/accesses?action=%00")).json["accesses"] == []


async def test_an_empty_filter_of_the_form_is_any(live: Live) -> None:
    page = await live.call("GET", "/audit?user=&action=&outcome=&since=&until=", headers=await signed_in(live))
    assert "POST /sign-in" in page.body.decode()


async def test_a_csv_file_runs_nothing(live: Live) -> None:
    await live.get("/api/projects", headers={"User-Agent": "=cmd|'/C calc'!A0"})
    answer = await live.get("/api/audit/accesses/export?action=GET%20/api/projects")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    disposition = answer.headers["Content-Disposition"]
    assert re.fullmatch(r'attachment; filename="tocsin-accesses-\d{8}T\d{6}Z\.csv"', disposition)
    (row,) = csv.DictReader(io.StringIO(answer.body.decode()))
    assert (row["user_agent"], row["user_email"]) == ("'=cmd|'/C calc'!A0", ADMIN_EMAIL)


async def test_a_file_is_bounded_and_says_where_it_was_cut(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_audit, "MAX_ROWS", 4)
    monkeypatch.setattr(export_audit, "ROWS_AT_ONCE", 2)
    for _ in range(9):
        await live.get("/api/projects")
    whole = await live.get("/api/audit/accesses/export?format=json&outcome=NOT_FOUND")
    assert whole.json == {"accesses": [], "cut": None}
    cut = await live.get("/api/audit/accesses/export?format=json")
    assert len(cut.json["accesses"]) == 4
    assert len({one["id"] for one in cut.json["accesses"]}) == 4
    assert cut.json["cut"].startswith("Cut after 4 rows, at ")
    lines = (await live.get("/api/audit/accesses/export")).body.decode().splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith('"Cut after 4 rows')


async def test_looking_at_the_audit_is_audited(live: Live) -> None:
    browser = await signed_in(live)
    await live.call("GET", "/audit/accesses.csv", headers=browser)
    page = (await live.call("GET", "/audit?action=GET+/audit/accesses.csv", headers=browser)).body.decode()
    assert page.count("<code>GET /audit/accesses.csv</code>") == 1
