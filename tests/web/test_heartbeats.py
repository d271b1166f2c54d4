"""Check-ins by whoever has the URL, by the smallest client and by Sentry's; and the list for who looks after them."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import pytest

from tests.conftest import INTAKE_KEY
from tests.support.clock import START
from tests.web.conftest import Live, rows
from tocsin.app import heartbeats
from tocsin.domain.access import Actor, Role
from tocsin.domain.heartbeat import plan

pytestmark = pytest.mark.anyio

HOURLY = plan(heartbeats.schedule_of(timedelta(hours=1), None), timedelta(minutes=5))
DUE = {"heartbeat": "backup", "nextDueAt": (START + timedelta(hours=1)).isoformat().replace("+00:00", "Z")}
PROGRAM = """
import sys
import sentry_sdk

sentry_sdk.init(dsn=sys.argv[1])
config = {"schedule": {"type": "crontab", "value": "0 3 * * *"}, "timezone": "Europe/Vienna", "max_runtime": 10}

@sentry_sdk.monitor(monitor_slug="nightly", monitor_config=config)
def job():
    raise RuntimeError("the disk is full")

try:
    job()
except RuntimeError:
    sentry_sdk.crons.capture_checkin(monitor_slug="unheard-of", status="ok")
sentry_sdk.flush(timeout=10)
"""


@pytest.fixture
async def url(live: Live, admin: Actor) -> str:
    """The path of a heartbeat of project 1, with its key."""
    async with live.app.work() as work:
        return f"/api/v1/heartbeats/{await heartbeats.add(work, admin, 1, 'backup', HOURLY)}"


async def reported(live: Live) -> list[tuple[str]]:
    """Return the types of what was reported."""
    return await rows(live.app, b"SELECT error_type FROM audit_logs ORDER BY received_at, id")


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_whoever_has_the_url_can_check_in_with_nothing_else(live: Live, url: str, method: str) -> None:
    answer = await live.call(method, url)
    assert answer.status == 200
    assert method == "HEAD" or answer.json == DUE
    assert await rows(live.app, b"SELECT check_ins FROM heartbeats") == [(1,)]
    assert answer.headers["Cache-Control"] == "no-store", "no cache may answer in our place"


async def test_a_check_in_says_how_it_went_and_a_few_words(live: Live, url: str) -> None:
    for status in ("in_progress", "ok"):
        assert (await live.call("GET", f"{url}?status={status}&run=r1")).status == 200
    assert await reported(live) == []
    failed = await live.call("POST", f"{url}?status=error", data=b"exit code 3\n\xff")
    assert failed.json == DUE
    assert await reported(live) == [("HeartbeatFailed",)]
    kept = await rows(live.app, b"SELECT status, run_id, note FROM heartbeat_check_ins ORDER BY number")
    assert kept == [("in_progress", "r1", ""), ("ok", "r1", ""), ("error", "", "exit code 3\n\ufffd")]


async def test_a_failed_job_is_reported_however_long_its_log_is(live: Live, url: str) -> None:
    assert (await live.call("POST", f"{url}?status=error", data=b"x" * 30_000_000)).status == 200
    assert await reported(live) == [("HeartbeatFailed",)]
    assert await rows(live.app, b"SELECT char_length(note) FROM heartbeat_check_ins") == [(10_000,)]


@pytest.mark.parametrize("query", ["status=late", "run=%00", f"run={'x' * 65}", "state=ok", "status=ok&status=ok"])
async def test_what_cannot_be_understood_is_refused_and_counts_for_nothing(live: Live, url: str, query: str) -> None:
    refused = await live.call("GET", f"{url}?{query}")
    assert (refused.status, refused.code) == (422, "INVALID")
    assert await rows(live.app, b"SELECT check_ins FROM heartbeats") == [(0,)]


async def test_a_key_opens_one_heartbeat_and_nothing_else(live: Live, url: str) -> None:
    for wrong in (f"{url}x", "/api/v1/heartbeats/backup", f"/api/v1/heartbeats/{INTAKE_KEY}", f"{url[:-1]}%ff"):
        refused = await live.call("POST", wrong)
        assert (refused.status, refused.code) == (404, "NOT_FOUND")
    key = url.rpartition("/")[2]
    assert (await live.call("GET", "/api/heartbeats", token=key)).status == 401


async def test_readers_see_every_heartbeat_and_members_none(live: Live, url: str, tokens: dict[Role, str]) -> None:
    shown = await live.get("/api/heartbeats", token=tokens[Role.AUDITOR])
    (heartbeat,) = shown.json["heartbeats"]
    assert (heartbeat["slug"], heartbeat["state"], heartbeat["schedule"]) == ("backup", "waiting", "every 1 h")
    assert (heartbeat["dueAt"], heartbeat["graceSeconds"], shown.json["total"]) == (DUE["nextDueAt"], 300, 1)
    assert url.rpartition("/")[2] not in shown.body.decode()
    assert (await live.get("/api/heartbeats?project=0")).json == {"heartbeats": [], "total": 0, "refused": []}
    assert (await live.get("/api/heartbeats?project=-1")).status == 422
    assert (await live.get("/api/heartbeats", token=tokens[Role.MEMBER])).status == 403
    assert (await live.call("GET", "/api/heartbeats")).status == 401


async def _run(*command: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.slow
async def test_one_line_of_curl_is_enough_and_it_fails_aloud(live: Live, url: str) -> None:
    code, output = await _run("curl", "-fsS", "-m", "10", live.url + url)
    assert (code, "nextDueAt" in output) == (0, True)
    code, output = await _run(
        "sh", "-c", f"echo 'exit code 3' | curl -fsS --data-binary @- '{live.url}{url}?status=error'"
    )
    assert code == 0, output
    assert await rows(live.app, b"SELECT note FROM heartbeat_check_ins ORDER BY number") == [("",), ("exit code 3",)]
    code, output = await _run("curl", "-fsS", "-m", "10", f"{live.url}{url}x")
    assert (code, "404" in output) == (22, True)


@pytest.mark.slow
async def test_a_monitor_of_the_real_sentry_client_is_a_heartbeat(live: Live) -> None:
    dsn = live.url.replace("://", f"://{INTAKE_KEY}@") + "/1"
    code, output = await _run(sys.executable, "-c", PROGRAM, dsn)
    assert code == 0, output
    listed = (await live.get("/api/heartbeats")).json
    (heartbeat,) = listed["heartbeats"]
    assert (heartbeat["slug"], heartbeat["state"], heartbeat["checkIns"]) == ("nightly", "failing", 2)
    assert (heartbeat["schedule"], heartbeat["maxRuntimeSeconds"]) == ("0 3 * * * Europe/Vienna", 600)
    assert [(one["slug"], one["times"]) for one in listed["refused"]] == [("unheard-of", 1)]
    assert ("HeartbeatFailed",) in await reported(live)
