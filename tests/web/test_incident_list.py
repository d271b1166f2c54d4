"""The list of incidents over HTTP: found by words, filtered, named, and taken several at once."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from html import unescape

import pytest

from tests.support.cases import cases
from tests.support.clock import FakeClock
from tests.web.conftest import Answer, Live, email_of
from tests.web.test_console import csrf_in, signed_in
from tocsin.app import respond, search
from tocsin.app.accounts import find_user
from tocsin.domain.access import Role
from tocsin.domain.incident import RootCauseCategory
from tocsin.domain.workflow import Acknowledge, RecordRootCause
from tocsin.web.console import incident_list


async def listed(live: Live, browser: dict[str, str], query: str = "") -> list[int]:
    """Return the numbers of the incidents that a list shows."""
    answer = await live.call("GET", f"/incidents?{query}", headers=browser)
    assert answer.status == 200, answer.body
    return [int(number) for number in re.findall(r'href="/incidents/(\d+)" class="incident"', answer.body.decode())]


async def take(live: Live, browser: dict[str, str], numbers: list[int], notes: str = "mine") -> Answer:
    """Send the form that takes several."""
    page = await live.call("GET", "/incidents", headers=browser)
    said = [("csrf", csrf_in(page)), ("notes", notes), ("back", "status=REPORTED")]
    said += [("number", str(number)) for number in numbers]
    return await live.call("POST", "/incidents/acknowledge", data=said, headers=browser)


async def test_words_are_found_wherever_they_were_written(live: Live) -> None:
    await live.open_incident(title="PoolExhausted: none is free", description="the payments database")
    await live.open_incident(title="Another one")
    await live.post("/api/incidents/2/acknowledge", {"notes": "looking at the turbine"})
    cause = {"summary": "a flywheel broke", "category": "SYSTEM_DEFECT", "remediationSteps": "a new gasket"}
    await live.post("/api/incidents/2/root-cause", cause)
    ended = {"resolutionSummary": "replaced the bearing", "impactAssessment": "the whole of Malta"}
    await live.post("/api/incidents/2/resolve", ended)
    await live.post("/api/incidents/2/close", {"lessonsLearned": "grease monthly", "followUpActions": ["buy grease"]})
    await live.post("/api/incidents/2/notes", {"text": "the zebra was innocent"})
    browser = await signed_in(live)
    assert await listed(live, browser, "search=poolexhausted") == [1]
    assert await listed(live, browser, "search=payments+-another") == [1]
    for word in ("turbine", "flywheel", "gasket", "bearing", "malta", "monthly", "zebra", '"zebra was innocent"'):
        assert await listed(live, browser, f"search={word}") == [2], word
    assert await listed(live, browser, "search=zebra+or+payments") == [2, 1]
    assert await listed(live, browser, "search=nothing-of-the-kind") == []
    assert await listed(live, browser, "search=zebra&status=open") == []


async def test_what_is_erased_is_not_found_any_more(live: Live) -> None:
    await live.open_incident(title="Ada Lovelace cannot sign in")
    await live.post("/api/incidents/1/notes", {"text": "she is called Byron"})
    browser = await signed_in(live)
    assert await listed(live, browser, "search=lovelace") == [1]
    assert await listed(live, browser, "search=byron") == [1]
    which = {"incident": {"incident": "1"}, "reason": "asked to", "request": "GDPR-17"}
    assert (await live.post("/api/admin/erasures", which)).json["done"]
    assert await listed(live, browser, "search=lovelace") == []
    assert await listed(live, browser, "search=byron") == []


@pytest.mark.slow
async def test_a_search_goes_on_where_its_page_ended(live: Live) -> None:
    for number in range(53):
        await live.open_incident(title=f"Needle {number}")
    await live.open_incident(title="Hay")
    browser = await signed_in(live)
    first = await live.call("GET", "/incidents?search=needle", headers=browser)
    following = re.search(r'rel="next" href="([^"]+)"', first.body.decode())
    assert following is not None
    rest = await listed(live, browser, unescape(following[1])[1:])
    assert rest == [3, 2, 1]
    assert await listed(live, browser, "search=needle") == list(range(53, 3, -1))


@pytest.mark.slow
async def test_periods_and_projects_let_through_what_belongs_to_them(live: Live, clock: FakeClock) -> None:
    first = clock.now.date()
    for number in range(1, 9):
        if number % 2:
            await live.open_incident(title=f"Needle {number}")
        else:
            severity = "CRITICAL" if number == 4 else "HIGH"
            await live.report({"severity": severity, "type": f"Needle{'abcdefghi'[number]}", "message": "x"})
        clock.forward(days=1)
    browser = await signed_in(live)
    everything = range(8, 0, -1)
    for since, until in itertools.combinations([None, *range(10)], 2):
        period = "" if since is None else f"&since={first + timedelta(days=since)}"
        period += f"&until={first + timedelta(days=until or 0)}"
        of_it = [number for number in everything if (since or 0) <= number - 1 <= (until or 0)]
        assert await listed(live, browser, period) == of_it, period
        assert await listed(live, browser, f"{period}&before=5") == [number for number in of_it if number < 5]
        assert await listed(live, browser, f"{period}&project=1") == [number for number in of_it if number % 2 == 0]
        assert await listed(live, browser, f"{period}&search=x+or+needle") == of_it
    assert await listed(live, browser, "project=1&severity=CRITICAL") == [4]
    assert await listed(live, browser, "project=1&search=x&before=8") == [6, 4, 2]
    assert await listed(live, browser, "project=1&who=me") == []
    page = (await live.call("GET", "/incidents?project=1&severity=HIGH", headers=browser)).body.decode()
    assert re.search(r"\b3\b", page)


@pytest.mark.slow
async def test_words_that_are_frequent_lately_and_rare_before_are_all_found(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 31):
        await live.open_incident(title="Needle" if number in (1, 2, 3, 24, 27, 30) else "Hay")
    browser = await signed_in(live)
    monkeypatch.setattr(incident_list, "PAGE_SIZE", 5)
    for first, often, long, most in ((6, 1, 12, 50), (6, 3, 12, 50), (6, 99, 12, 50), (6, 1, 12, 2), (6, 99, 12, 2)):
        for name, value in {"FIRST_LOOK": first, "OFTEN": often, "LONG_LOOK": long, "MAX_TEXTS": most}.items():
            monkeypatch.setattr(search, name, value)
        found, query = [], "search=needle"
        while query:
            page = (await live.call("GET", f"/incidents?{query}", headers=browser)).body.decode()
            found += [int(one) for one in re.findall(r'href="/incidents/(\d+)" class="incident"', page)]
            following = re.search(r'rel="next" href="\?([^"]+)"', page)
            query = unescape(following[1]) if following else ""
        assert found == [30, 27, 24, 3, 2, 1], (first, often, long, most)


async def test_a_list_is_filtered_by_who_service_and_project(live: Live, tokens: dict[Role, str]) -> None:
    await live.report({"severity": "HIGH", "type": "A", "message": "a", "service": "shop"})
    await live.open_incident()
    await live.open_incident()
    await live.post("/api/incidents/2/acknowledge", {"notes": "mine"})
    await live.post("/api/incidents/3/acknowledge", {"notes": "his"}, token=tokens[Role.RESPONDER])
    async with live.app.work() as work:
        other = (await find_user(work, email_of(Role.RESPONDER))).id
    browser = await signed_in(live)
    assert await listed(live, browser, "who=me") == [2]
    assert await listed(live, browser, f"who={other}") == [3]
    assert await listed(live, browser, "who=nobody") == [1]
    assert await listed(live, browser, "who=nobody&status=RESOLVED") == []
    assert await listed(live, browser, "project=1") == [1]
    assert await listed(live, browser, "project=1&search=a") == [1]
    assert await listed(live, browser, "service=nothing") == []
    # As the form sends it: with its empty fields.
    assert await listed(live, browser, "search=&service=&project=&who=&since=&until=") == [3, 2, 1]


UNREADABLE = [
    *("who=everybody", "project=x", "since=tomorrow", "until=9999-12-31"),
    *("status=NO", "search=%00", "service=%00"),
]


@cases("query", [*UNREADABLE, "search=" + 201 * "x", "before=0"])
async def test_a_list_that_cannot_be_is_refused_on_a_page(live: Live, query: str) -> None:
    answer = await live.call("GET", f"/incidents?{query}", headers=await signed_in(live))
    assert answer.status in (404, 422)
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_several_are_taken_at_once_and_the_others_named(live: Live, tokens: dict[Role, str]) -> None:
    for _ in range(3):
        await live.open_incident()
    await live.post("/api/incidents/2/acknowledge", {"notes": "faster"}, token=tokens[Role.RESPONDER])
    browser = await signed_in(live)
    answer = await take(live, browser, [1, 2, 3, 3, 99])
    body = answer.body.decode()
    assert answer.status == 200
    assert "You have 2 of 4" in body
    assert "INC-2 is acknowledged already, by responder" in body
    assert "There is no incident INC-99" in body
    for number, holder in ((1, "superadmin"), (2, "responder"), (3, "superadmin")):
        detail = (await live.get(f"/api/incidents/{number}")).json
        assert detail["incident"]["status"] == "ACKNOWLEDGED", holder


@pytest.mark.parametrize(("numbers", "notes"), [([], "mine"), (list(range(1, 52)), "mine"), ([1], "   ")])
async def test_a_refused_bulk_keeps_what_was_chosen_and_written(live: Live, numbers: list[int], notes: str) -> None:
    await live.open_incident()
    answer = await take(live, await signed_in(live), numbers, notes)
    assert answer.status == 422
    body = answer.body.decode()
    assert 'role="alert"' in body
    assert ("checked" in body.partition('form="bulk"')[2][:100]) == (1 in numbers)
    assert notes.strip() in body
    assert (await live.get("/api/incidents/1")).json["incident"]["status"] == "REPORTED"


async def test_saved_views_are_ones_own(live: Live, tokens: dict[Role, str]) -> None:
    browser = await signed_in(live)
    page = await live.call("GET", "/incidents?status=open&who=me", headers=browser)
    said = {"csrf": csrf_in(page), "name": "  Mine  ", "query": "status=open&who=me"}
    saved = await live.call("POST", "/incidents/views", data=said, headers=browser)
    assert (saved.status, saved.headers["Location"]) == (303, "/incidents?status=open&who=me")
    shown = (await live.call("GET", "/incidents?status=open&who=me", headers=browser)).body.decode()
    assert '<a href="/incidents?status=open&amp;who=me" aria-current="page">Mine</a>' in shown
    remove = re.search(r'action="(/incidents/views/[^"]+/remove)"', shown)
    assert remove is not None
    other = await signed_in(live, Role.AUDITOR)
    theirs = await live.call("GET", "/incidents", headers=other)
    assert "Mine" not in theirs.body.decode()
    refused = await live.call("POST", remove[1], data={"csrf": csrf_in(theirs)}, headers=other)
    assert refused.status == 404
    gone = await live.call("POST", remove[1], data={"csrf": said["csrf"]}, headers=browser)
    assert gone.status == 303
    assert "Mine" not in (await live.call("GET", "/incidents", headers=browser)).body.decode()


@pytest.mark.parametrize(
    "said", [{"name": "", "query": ""}, {"name": "x\ny", "query": "who=x"}, {"name": "x", "query": "before=-1"}]
)
async def test_a_view_that_cannot_be_opened_is_not_saved(live: Live, said: dict[str, str]) -> None:
    browser = await signed_in(live)
    page = await live.call("GET", "/incidents", headers=browser)
    answer = await live.call("POST", "/incidents/views", data=said | {"csrf": csrf_in(page)}, headers=browser)
    assert answer.status in (404, 422)


async def test_the_api_searches_too(live: Live) -> None:
    await live.open_incident(title="PoolExhausted")
    await live.open_incident(title="Another")
    answer = await live.get("/api/incidents?search=poolexhausted")
    assert [one["number"] for one in answer.json["incidents"]] == [1]
    assert answer.json["pagination"]["total"] is None
    assert (await live.get("/api/incidents?search=x&offset=1")).status == 422
    assert (await live.get("/api/incidents?service=%00")).status == 422


async def test_each_of_several_stands_in_a_transaction_of_its_own(live: Live) -> None:
    for _ in range(2):
        await live.open_incident()
    async with live.app.work() as work:
        admin = (await find_user(work, email_of(Role.SUPERADMIN))).actor()
        # Somebody has the first one locked by the time that the second one is taken.
        await respond.acknowledge(work, admin, 1, Acknowledge("mine"))
        cause = RecordRootCause("x", RootCauseCategory.UNKNOWN, "y")
        await respond.record_root_cause(work, admin, 1, cause)
    tried = await respond.acknowledge_each(live.app, admin, [1, 2], Acknowledge("both"))
    assert [one.refusal is None for one in tried] == [False, True]
