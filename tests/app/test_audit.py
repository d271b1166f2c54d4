"""The access log takes whatever a client sends; a repeated request gets its answer again, and is done once."""

from __future__ import annotations

import asyncio

import pytest

from tests.app.conftest import Crew, Tables
from tocsin import ids
from tocsin.app import audit
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.domain.incident import Severity
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.anyio


async def test_an_access_is_recorded_whatever_the_client_calls_itself(app: App, crew: Crew, tables: Tables) -> None:
    async with app.work() as work:
        await audit.record_access(
            work,
            user_id=None,
            credential="x" * 5_000,
            action="GET /api/admin/incidents",
            target="a\x00b\ud800" + "x" * 5_000,
            client_address="::1",
            user_agent="\x00" * 5_000,
            status=401,
            outcome="UNAUTHORIZED",
            request_id=ids.new_id(),
        )
    ((target, agent, status),) = tables.rows("SELECT target, user_agent, status FROM audit_access_log")
    assert target.startswith("a\ufffdb?x")
    assert (len(target), len(agent), status) == (1_000, 300, 401)


async def test_a_repeated_request_gets_its_answer_again(app: App, crew: Crew) -> None:
    async with app.work() as work:
        assert await audit.remembered_answer(work, "user:1", "key", b"body") is None
        await audit.remember_answer(work, "user:1", "key", b"body", 201, b"answer")
    async with app.work() as work:
        answer = await audit.remembered_answer(work, "user:1", "key", b"body")
        assert answer is not None
        assert (answer.status, answer.body) == (201, b"answer")
        assert await audit.remembered_answer(work, "user:2", "key", b"body") is None, "a key belongs to its principal"
    with pytest.raises(TocsinError, match="another request") as caught:
        async with app.work() as work:
            await audit.remembered_answer(work, "user:1", "key", b"another body")
    assert caught.value.refusal.code is Code.INVALID


async def test_the_same_request_over_many_connections_at_once_is_done_once(
    app: App, crew: Crew, tables: Tables
) -> None:
    async def request() -> bytes:
        async with app.work() as work:
            answer = await audit.remembered_answer(work, "user:1", "key", b"open one")
            if answer is not None:
                return answer.body
            opened = await open_by_hand(work, crew.olga, severity=Severity.HIGH, title="It broke", description="")
            await audit.remember_answer(work, "user:1", "key", b"open one", 201, opened.bytes)
            return opened.bytes

    assert len(set(await asyncio.gather(*(request() for _ in range(8))))) == 1
    assert tables.value("SELECT count(*) FROM incidents") == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "two\nlines", "\x00", "\ud800"])
async def test_a_key_is_short_and_printable(app: App, crew: Crew, key: str) -> None:
    with pytest.raises(TocsinError) as caught:
        async with app.work() as work:
            await audit.remembered_answer(work, "user:1", key, b"body")
    assert caught.value.refusal.code is Code.INVALID
