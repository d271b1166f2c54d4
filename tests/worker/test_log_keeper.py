"""The worker keeps the log: what was recorded is soon sealed and signed; of a refusal everybody hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.support.lives import reported
from tests.support.servers import Server
from tocsin.app import health, read_incidents
from tocsin.app.log_keys import LogView, view_log
from tocsin.app.work import App
from tocsin.clock import monotonic_seconds, system_clock
from tocsin.domain.access import Actor
from tocsin.signing.signer import Signer
from tocsin.store.incidents import IncidentFilter
from tocsin.worker import log_keeper
from tocsin.worker.log_keeper import LogKeeper

pytestmark = pytest.mark.anyio

PROMPT_SECONDS = 2.0
"""A quarter of a second as a rule; a busy machine takes longer."""


@pytest.fixture
def live(app: App) -> App:
    """The application on the machine's clock."""
    return App(app.database, app.settings, system_clock)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A signer with a key of its own."""
    made = Signer(tmp_path / "signer")
    made.make("example.org/tocsin")
    return made


@asynccontextmanager
async def kept(app: App, *signers: Signer | None) -> AsyncIterator[None]:
    """Let a keeper work for each of these signers."""
    stop = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for signer in signers:
            group.create_task(LogKeeper(app, signer, "test").run(stop))
        try:
            yield
        finally:
            stop.set()


async def viewed(app: App) -> LogView:
    async with app.work() as work:
        return await view_log(work)


async def until_signed(app: App) -> LogView:
    """Wait until everything is in the log, and signed."""
    while (view := await viewed(app)).waiting or not view.size or view.signed_size != view.size:
        await asyncio.sleep(0.02)
    return view


async def problems(app: App) -> dict[str, str]:
    async with app.work() as work:
        return {problem.name: problem.message for problem in (await health.condition(work)).problems}


@pytest.mark.slow
async def test_what_comes_after_a_pause_is_signed_at_once(live: App, signer: Signer) -> None:
    async with kept(live, None, signer, Signer(signer.directory)):
        first = await until_signed(live)
        assert first.keys == [signer.key().vkey]
        await asyncio.sleep(0.5)
        began = monotonic_seconds()
        await reported(live, "first")
        second = await until_signed(live)
        assert monotonic_seconds() - began < PROMPT_SECONDS
        assert second.size == first.size + 2
    assert "log_signer" not in await problems(live)


async def test_without_a_signer_entries_are_sealed_and_readiness_says_that_nobody_signs(live: App) -> None:
    await reported(live, "first")
    async with kept(live, None):
        while not (await viewed(live)).size:
            await asyncio.sleep(0.02)
    assert "of 2 leaves none is signed" in (await problems(live))["log_unsigned"]


@pytest.mark.slow
async def test_a_signer_that_refuses_is_an_incident_and_a_problem(
    live: App, admin: Actor, signer: Signer, server: Server, database_name: str
) -> None:
    await reported(live, "first")
    async with kept(live, signer):
        size = (await until_signed(live)).size
    with psycopg.connect(server.conninfo(database_name), autocommit=True) as superuser:
        superuser.execute("SET search_path = tocsin")
        superuser.execute("SELECT tocsin_guard.suspend()")
        for table in ("log_state", "log_entries", "log_tiles", "log_checkpoints"):
            superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
        for table in ("log_entries", "log_tiles", "log_checkpoints"):
            superuser.execute(f"DELETE FROM {table}".encode())
        superuser.execute("UPDATE log_state SET size = 0")
    async with kept(live, signer):
        while "log_signer" not in (found := await problems(live)):
            await asyncio.sleep(0.02)
    assert f"{size} were signed" in found["log_signer"]
    async with live.work() as work:
        listed = await read_incidents.list_incidents(work, admin, IncidentFilter())
    (refused,) = [one for one in listed.incidents if (one.title or "").startswith("LogSignerRefuses")]
    assert refused.current_severity == "CRITICAL"
    assert signer.memory().size == size


@pytest.mark.slow
async def test_a_worker_whose_turn_it_was_not_introduces_its_key_later(live: App, signer: Signer) -> None:
    await reported(live, "first")
    turn = Signer(signer.directory).turn()
    turn.__enter__()
    async with kept(live, signer):
        while not (await viewed(live)).size:
            await asyncio.sleep(0.02)
        turn.__exit__(None, None, None)
        assert (await until_signed(live)).keys == [signer.key().vkey]


@pytest.mark.slow
async def test_a_log_that_fails_for_long_is_an_incident(
    live: App, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the first failure: a database that is away for a moment is no reason."""
    seconds = count(0, 1_000)

    async def full(_: App) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(log_keeper, "seal_waiting", full)
    monkeypatch.setattr(log_keeper, "monotonic_seconds", lambda: float(next(seconds)))
    monkeypatch.setattr(log_keeper, "RECOVERY_SECONDS", 0.01)
    async with kept(live, None):
        while True:
            async with live.work() as work:
                listed = await read_incidents.list_incidents(work, admin, IncidentFilter())
            stalled = [one for one in listed.incidents if (one.title or "").startswith("LogStalled")]
            if stalled:
                break
            await asyncio.sleep(0.02)
    assert stalled[0].current_severity == "CRITICAL"
    assert "no space left on device" in (stalled[0].title or "")
    assert next(seconds) > live.settings.log_stale_after
