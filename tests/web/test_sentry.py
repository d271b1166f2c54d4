"""What Sentry's SDKs send, from the real one in a process of its own, and from browsers."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from typing import Any

import pytest

from tests.conftest import INTAKE_KEY
from tests.web.conftest import Live
from tocsin.app.projects import add_project
from tocsin.domain.access import Actor

pytestmark = pytest.mark.anyio

EVENT_ID = "0123456789abcdef0123456789abcdef"
PROGRAM = """
import logging, sys
import sentry_sdk

def inner(order):
    raise KeyError(order)

def outer(order):
    try:
        inner(order)
    except KeyError as error:
        raise RuntimeError("order %d failed" % order) from error

sentry_sdk.init(
    dsn=sys.argv[1], release="shop@1.2.3", environment="production", server_name="web-1", shutdown_timeout=30
)
logging.getLogger("shop.pay").error("card of customer %s was refused by %s", 4711, "the bank")
try:
    outer(42)
except RuntimeError as error:
    sentry_sdk.set_tag("shop", "berlin")
    sentry_sdk.capture_exception(error)
sentry_sdk.flush(timeout=10)
1 / 0
"""


async def _run(program: str, dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, dsn, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, stderr = await process.communicate()
    assert b"ZeroDivisionError" in stderr, stderr.decode()


async def _details(live: Live) -> list[Any]:
    incidents = (await live.get("/api/incidents")).json["incidents"]
    return [(await live.get(f"/api/incidents/{one['number']}")).json for one in reversed(incidents)]


async def test_the_real_client_reports_logs_chains_and_crashes(live: Live) -> None:
    await _run(PROGRAM, live.url.replace("://", f"://{INTAKE_KEY}@") + "/1")
    by_title = {detail["incident"]["title"]: detail for detail in await _details(live)}
    assert set(by_title) == {
        "card of customer 4711 was refused by the bank",
        "RuntimeError: order 42 failed",
        "ZeroDivisionError: division by zero",
    }
    logged = by_title["card of customer 4711 was refused by the bank"]["error"]
    assert (logged["template"], logged["logger"]) == ("card of customer %s was refused by %s", "shop.pay")
    chained = by_title["RuntimeError: order 42 failed"]
    assert chained["incident"]["severity"] == "HIGH"
    assert [exception["type"] for exception in chained["error"]["exceptions"]] == ["KeyError", "RuntimeError"]
    assert [frame["function"] for frame in chained["error"]["exceptions"][0]["frames"]][-1] == "inner"
    assert chained["error"]["release"] == "shop@1.2.3"
    assert chained["error"]["environment"] == "production"
    assert chained["error"]["tags"]["shop"] == "berlin"
    crash = by_title["ZeroDivisionError: division by zero"]["error"]
    assert crash["exceptions"][-1]["handled"] is False


def _envelope(*events: object, header: dict[str, object] | None = None) -> bytes:
    lines = [json.dumps({"event_id": EVENT_ID} if header is None else header)]
    for event in events:
        lines += [json.dumps({"type": "event"}), json.dumps(event)]
    return "\n".join(lines).encode()


def _auth(key: str = INTAKE_KEY) -> dict[str, str]:
    return {"X-Sentry-Auth": f"Sentry sentry_key={key}, sentry_version=7"}


@pytest.mark.parametrize("path", ["/api/1/envelope/", "/api/1/envelope"])
async def test_an_envelope_is_answered_with_its_event_id(live: Live, path: str) -> None:
    body = gzip.compress(_envelope({"level": "error", "message": "hm"}))
    answer = await live.call("POST", path, data=body, headers=_auth() | {"Content-Encoding": "gzip"})
    assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_browser_may_report_by_the_query_and_by_the_dsn_in_the_envelope(live: Live) -> None:
    body = _envelope({"level": "error", "message": "hm"})
    plain = {"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://shop.example"}
    by_query = await live.call("POST", f"/api/1/envelope/?sentry_key={INTAKE_KEY}", data=body, headers=plain)
    assert by_query.status == 200
    dsn = f"https://{INTAKE_KEY}@tocsin.example/1"
    tunneled = _envelope({"level": "error", "message": "hm"}, header={"event_id": "f" * 32, "dsn": dsn})
    assert (await live.call("POST", "/api/1/envelope/", data=tunneled, headers=plain)).status == 200


@pytest.mark.parametrize("path", ["/api/1/store/", "/api/1/store"])
async def test_the_older_store_request_is_taken(live: Live, path: str) -> None:
    event = {"event_id": EVENT_ID, "level": "fatal", "message": "all is lost"}
    answer = await live.call("POST", path, json=event, headers=_auth())
    assert (answer.status, answer.json) == (200, {"id": EVENT_ID})
    assert (await _details(live))[0]["incident"]["severity"] == "CRITICAL"


async def test_the_key_must_belong_to_the_project(live: Live, admin: Actor) -> None:
    async with live.app.work() as work:
        other, key = await add_project(work, admin, "other")
    for path in ("envelope", "store"):
        assert (await live.call("POST", f"/api/1/{path}/", data=b"{}", headers=_auth(key))).code == "FORBIDDEN"
        refused = await live.call("POST", f"/api/{other}/{path}/", data=b"{}")
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, "*")
        assert (await live.call("POST", f"/api/99/{path}/", data=b"{}", headers=_auth())).code == "FORBIDDEN"
        assert (await live.call("POST", f"/api/one/{path}/", data=b"{}", headers=_auth())).code == "NOT_FOUND"
        assert (await live.call("POST", f"/api/{'9' * 5000}/{path}/", headers=_auth())).code == "NOT_FOUND"


async def test_the_preflight_lets_any_page_report(live: Live) -> None:
    for path in ("/api/1/envelope/", "/api/1/store", "/api/1/store/"):
        answer = await live.call("OPTIONS", path, headers={"Origin": "https://shop.example"})
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]


async def test_an_event_that_cannot_be_read_is_not_called_accepted(live: Live) -> None:
    body = json.dumps({"event_id": EVENT_ID}).encode() + b'\n{"type":"event"}\nnot json'
    answer = await live.call("POST", "/api/1/envelope/", data=body, headers=_auth())
    assert (answer.status, answer.code) == (422, "INVALID")
    beside = _envelope({"level": "error", "message": "good"}) + b'\n{"type":"event"}\nnot json'
    partly = await live.call("POST", "/api/1/envelope/", data=beside, headers=_auth())
    assert partly.status == 200
    assert [one["index"] for one in partly.json["rejected"]] == [1]


async def test_what_the_client_lost_is_counted(live: Live) -> None:
    report = {"discarded_events": [{"reason": "queue_overflow", "category": "error", "quantity": 7}]}
    body = b'{}\n{"type":"client_report"}\n' + json.dumps(report).encode() + b'\n{"type":"session"}\n{}'
    answer = await live.call("POST", "/api/1/envelope/", data=body, headers=_auth())
    assert (answer.status, answer.json) == (200, {})
    metrics = (await live.get("/metrics")).body.decode()
    assert 'tocsin_client_lost_events_total{reason="queue_overflow"} 7.0' in metrics
    assert "tocsin_ignored_items_total 1.0" in metrics


async def test_an_odd_envelope_is_never_a_failure_of_ours(live: Live) -> None:
    for body in (b"", b"\n", b"{}", b"[]", b"{}\n\n\n", b"{}\n{", b"\x00\xff", b'{"dsn":5}'):
        for path in ("/api/1/envelope/", "/api/1/store/"):
            for headers in (_auth(), {}):
                assert (await live.call("POST", path, data=body, headers=headers)).status < 500, body
