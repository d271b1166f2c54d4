"""An incident's page over HTTP: what failed, what is possible and why not, who was told, what the log vouches for."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tests.web.conftest import Live, rows
from tests.web.test_console import csrf_in, signed_in
from tocsin.app.seal import seal_everything
from tocsin.app.sign import introduce_key, sign_log
from tocsin.domain.access import Role
from tocsin.signing.signer import Signer

CHAIN = {
    "severity": "CRITICAL",
    "type": "PoolExhausted",
    "message": "none is free",
    "service": "shop",
    "release": "shop@1.2.3",
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
    "tags": {"region": "eu-1"},
    "exceptions": [
        {
            "type": "TimeoutError",
            "message": "timed out",
            "frames": [{"function": "get", "module": "pool", "inApp": False}],
        },
        {
            "type": "PoolExhausted",
            "message": "none is free",
            "frames": [
                {"function": "serve", "filename": "server.py", "inApp": False},
                {"function": "dispatch", "filename": "server.py", "inApp": False},
                {"function": "pay", "filename": "shop/pay.py", "line": 42, "sourceLine": "pool.get()", "inApp": True},
                {"function": "wait", "filename": "library.py", "inApp": False},
            ],
        },
    ],
    "context": {"request": {"method": "POST", "url": "https://shop.example/pay"}, "extra": {"cart": "<b>42</b>"}},
}


async def shown(live: Live, browser: dict[str, str], path: str = "/incidents/1", status: int = 200) -> str:
    """Return a page as a person reads it: its text without the tags, in one line."""
    answer = await live.call("GET", path, headers=browser)
    assert answer.status == status, answer.body
    return read(answer.body)


def read(body: bytes) -> str:
    """Return the text of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body.decode().replace("<b>", "").replace("</b>", ""))).split())


async def act(live: Live, browser: dict[str, str], action: str, **said: str) -> tuple[int, str]:
    """Send one of the page's forms; return the status, and what the page says."""
    page = await live.call("GET", "/incidents/1", headers=browser)
    data = {"csrf": csrf_in(page), **said}
    answer = await live.call("POST", f"/incidents/1/{action}", data=data, headers=browser)
    return answer.status, answer.body.decode()


async def test_the_own_frames_come_first_and_the_cause_last(live: Live) -> None:
    await live.report(CHAIN)
    answer = await live.call("GET", "/incidents/1", headers=await signed_in(live))
    body = answer.body.decode()
    page = read(answer.body)
    assert "PoolExhausted none is free 1 frame of libraries wait in library.py pay in shop/pay.py:42 pool.get()" in page
    assert "2 frames of libraries dispatch in server.py serve in server.py caused by TimeoutError timed out" in page
    # Without a frame of its own a stack is open at once; beside own frames the others are folded.
    assert body.count("<details open><summary>1 frame of libraries") == 1
    for said in (
        "release shop@1.2.3",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "region eu-1",
        "url https://shop.example/pay",
    ):
        assert said in page
    assert "&lt;b&gt;42&lt;/b&gt;" in body


async def test_kept_reports_are_paged_through(live: Live, clock: FakeClock) -> None:
    for number in range(3):
        await live.report(CHAIN | {"eventId": f"e{number}", "release": f"shop@{number}"})
        clock.forward(minutes=10)
    browser = await signed_in(live)
    path, seen = "/incidents/1", []
    for _ in range(3):
        body = (await live.call("GET", path, headers=browser)).body.decode()
        seen += re.findall(r"<dd>shop@(\d)</dd>", body)
        older = re.search(r'rel="next" href="(\?report=[0-9a-f-]+)#failed"', body)
        path = f"/incidents/1{older[1]}" if older else path
    assert seen == ["2", "1", "0"]
    assert "report 3 of 3 kept" in await shown(live, browser, path)
    await live.report(CHAIN | {"type": "Another", "fingerprint": ["another"]})
    other = (await rows(live.app, b"SELECT id FROM audit_logs WHERE error_type = 'Another'"))[0][0]
    await shown(live, browser, f"/incidents/1?report={other}", 404)
    await shown(live, browser, "/incidents/1?report=x", 422)


async def test_how_often_is_a_chart_with_a_bar_for_each_time(live: Live, clock: FakeClock) -> None:
    browser = await signed_in(live)
    for number, later in enumerate((0, 1, 1, 90, 0)):
        clock.forward(minutes=later)
        await live.report(CHAIN | {"eventId": f"e{number}"})
    body = (await live.call("GET", "/incidents/1", headers=browser)).body.decode()
    counted = [int(reports) for reports in re.findall(r"<title>[^<]* UTC: (\d+)</title>", body)]
    assert sum(counted) == 5
    assert len(counted) in (2, 3)
    assert 'aria-label="5 reports since' in body


async def test_a_step_that_is_not_possible_says_why(live: Live) -> None:
    await live.report(CHAIN)
    browser = await signed_in(live)
    page = await shown(live, browser)
    assert "Acknowledge now" in page
    assert "Resolve Cannot resolve INC-1: nobody has acknowledged it." in page
    assert "Close Cannot close INC-1: it is REPORTED, not RESOLVED." in page
    await act(live, browser, "acknowledge", notes="on it")
    page = await shown(live, browser)
    assert "Record the root cause now Resolve Cannot resolve INC-1: no root cause is recorded." in page


async def test_an_auditor_reads_why_not_and_finds_no_form(live: Live, tokens: dict[Role, str]) -> None:
    await live.report(CHAIN)
    page = await shown(live, await signed_in(live, Role.AUDITOR))
    assert "Acknowledge next" in page
    assert "Take it" not in page


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("acknowledge", {"notes": "what I was about to do"}),
        ("root-cause", {"summary": "what I was about to say", "remediationSteps": "what I had done"}),
        ("resolve", {"resolutionSummary": "what I was about to say"}),
    ],
)
async def test_who_was_slower_finds_the_text_as_a_note(live: Live, action: str, said: dict[str, str]) -> None:
    await live.report(CHAIN)
    browser = await signed_in(live)
    for name, body in (
        ("acknowledge", {"notes": "mine"}),
        ("root-cause", {"summary": "a", "category": "UNKNOWN", "remediationSteps": "b"}),
        ("resolve", {"resolutionSummary": "c"}),
    ):
        assert (await live.post(f"/api/incidents/1/{name}", body)).status in (200, 201)
        if name == action:
            break
    status, body_text = await act(live, browser, action, **said)
    assert status == 409
    assert "Somebody else was faster" in body_text
    note = re.search(r'<textarea id="text"[^>]*>([^<]*)</textarea>', body_text)
    assert note is not None
    assert note[1] == "\n\n".join(said.values())


async def test_every_field_is_kept_after_a_refusal(live: Live) -> None:
    await live.report(CHAIN)
    browser = await signed_in(live)
    await act(live, browser, "acknowledge", notes="on it")
    said = {"summary": "why it broke", "category": "SECURITY", "remediationSteps": " "}
    status, body = await act(live, browser, "root-cause", **said)
    assert status == 422
    assert ">why it broke</textarea>" in body
    assert '<option value="SECURITY" selected>' in body
    status, body = await act(live, browser, "severity", severity="LOW", reason=" ")
    assert status == 422
    assert "<option selected>LOW" in body
    status, body = await act(live, browser, "escalate", to="nobody@example.org", reason="help me")
    assert status == 422
    assert 'value="nobody@example.org"' in body
    assert 'value="help me"' in body


async def test_what_was_learned_last_time_and_what_is_overdue(live: Live, clock: FakeClock) -> None:
    await live.report(CHAIN)
    for name, body in (
        ("acknowledge", {"notes": "mine"}),
        ("root-cause", {"summary": "ten connections", "category": "CONFIGURATION", "remediationSteps": "forty"}),
        ("resolve", {"resolutionSummary": "c", "lessonsLearned": "measure pools", "followUpActions": [
            {"title": "alert on pools", "owner": "bob", "dueAt": f"{clock.now:%Y-%m-%d}"},
            {"title": "another day", "dueAt": "9000-01-01"}]}),
    ):  # fmt: skip
        assert (await live.post(f"/api/incidents/1/{name}", body)).status in (200, 201)
    clock.forward(hours=48)
    await live.report(CHAIN | {"eventId": "again"})
    page = await shown(live, await signed_in(live), "/incidents/2")
    assert "It came back. Last time: INC-1" in page
    assert "Was to be done by now, and is not alert on pools bob by 20" in page
    assert "another day" not in page
    assert "another day" in await shown(live, await signed_in(live), "/incidents/1")
    for said in ("ten connections", "forty", "measure pools"):
        assert said in page


async def test_who_was_paged_and_why_is_told(live: Live) -> None:
    await live.report(CHAIN)
    browser = await signed_in(live)
    page = await shown(live, browser)
    assert "The first alert taken" in page
    assert "ada was paged duty ON_CALL Pending over email ada@example.org" in page
    assert "Nobody acknowledged in time to come" in page
    assert 'class="countdown"' in (await live.call("GET", "/incidents/1", headers=browser)).body.decode()
    await act(live, browser, "escalate", to="ada@example.org", reason="I need help")
    page = await shown(live, browser)
    assert "Made it louder: somebody asked for help, to ada" in page
    assert "nobody said yet that it arrived" in page
    body = (await live.call("GET", "/incidents/1", headers=browser)).body.decode()
    arrived = re.search(r'action="(/incidents/1/escalations/[^"]+)"', body)
    assert arrived is not None
    answer = await live.call("POST", arrived[1], data={"csrf": "0" * 64}, headers=browser)
    assert answer.status == 403
    page_again = await live.call("GET", "/incidents/1", headers=browser)
    answer = await live.call("POST", arrived[1], data={"csrf": csrf_in(page_again)}, headers=browser)
    assert answer.status == 303
    assert "Said that the escalation arrived" in await shown(live, browser)


@pytest.mark.slow
async def test_the_seal_says_what_the_log_vouches_for(live: Live, tmp_path: Path) -> None:
    await live.report(CHAIN)
    browser = await signed_in(live)
    signer = Signer(tmp_path / "signer")
    signer.make("example.org/tocsin")
    await introduce_key(live.app, signer)
    assert "Not yet sealed: in the log are 0 of 1 entry" in await shown(live, browser)
    await seal_everything(live.app)
    assert "Not signed yet: in the log are 1 of 1 entry, under a signed checkpoint 0" in await shown(live, browser)
    await sign_log(live.app, signer)
    assert "Verified at checkpoint 3" in await shown(live, browser)
    await act(live, browser, "acknowledge", notes="on it")
    assert "Not yet sealed: in the log are 1 of 2 entries" in await shown(live, browser)
    evidence = await live.call("GET", "/api/incidents/1/evidence", headers=browser)
    assert evidence.status == 200
    assert "attachment" in evidence.headers["Content-Disposition"]


async def test_a_log_that_says_something_else_is_named(
    live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await live.report(CHAIN)
    signer = Signer(tmp_path / "signer")
    signer.make("example.org/tocsin")
    await introduce_key(live.app, signer)
    await seal_everything(live.app)
    await sign_log(live.app, signer)
    browser = await signed_in(live)
    # Nobody can write such a log through the guards: so the proof is asked against another root.
    monkeypatch.setattr("tocsin.app.look_into.merkle.inclusion_proof", lambda *_: [b"\x00" * 32] * 2)
    assert "The log and the record disagree." in await shown(live, browser)


async def test_every_kind_of_entry_is_told_in_words(live: Live) -> None:
    await live.report(CHAIN)
    browser = await signed_in(live)
    await act(live, browser, "acknowledge", notes="on it")
    await act(live, browser, "severity", severity="HIGH", reason="only one shop")
    await act(live, browser, "notes", text="customers are told")
    erased = {"incident": {"incident": "1", "texts": ["personal"]}, "reason": "asked to", "request": "GDPR-17"}
    await live.post("/api/admin/erasures", erased)
    page = await shown(live, browser)
    for said in ("Opened: service shop", "Took it", "Changed the severity: CRITICAL → HIGH", "Added a note"):
        assert said in page, said
