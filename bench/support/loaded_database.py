"""A database full of history: made once in a directory, found there again by the next run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from bench.support import history, loading
from bench.support.installation import PROJECT_ID, Installation, installed, settings_at, wait_for_stop
from bench.support.population import People, Person, Population, instant_us
from bench.support.progress import say
from tocsin import embedded
from tocsin.app import accounts, policies
from tocsin.clock import monotonic_seconds, system_clock
from tocsin.domain.access import Role
from tocsin.domain.policy import Duty

RESPONDERS = 12
_MARK = "loaded.json"
_HOLDERS = {Duty.ON_CALL: "noor", Duty.SUPERVISOR: "sam", Duty.DIRECTOR: "dora"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a directory holds: the population, as of `loaded_at`, and how long it took to load (seconds)."""

    population: Population
    loaded_at: datetime
    seconds: float


def prepare(directory: Path, incidents: int, still_open: int) -> Loaded:
    """Load a database into a directory, unless it is there. Raises SystemExit when something else is there."""
    mark = directory / _MARK
    if mark.exists():
        loaded = msgspec.json.decode(mark.read_bytes(), type=Loaded)
        if (loaded.population.incidents, loaded.population.open) != (incidents, still_open):
            raise SystemExit(f"{directory} holds {loaded.population.incidents:,} incidents: name another directory.")
        say(f"Found {incidents:,} incidents in {directory}, loaded {loaded.loaded_at:%Y-%m-%d %H:%M} UTC.")
        return loaded
    if directory.exists() and any(directory.iterdir()):
        raise SystemExit(f"{directory} holds something else, or a load that did not end: remove it, or name another.")
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # PostgreSQL may run as another user
    loaded = asyncio.run(_load(directory, incidents, still_open))
    wait_for_stop(directory)
    mark.write_bytes(msgspec.json.encode(loaded))
    return loaded


async def _load(directory: Path, incidents: int, still_open: int) -> Loaded:
    started, now = monotonic_seconds(), system_clock()
    # Our share keeps the server, with the settings for loading, while the installation comes and goes.
    with embedded.use(directory, settings=loading.FOR_LOADING):
        async with installed(settings_at(directory)) as installation:
            people = await _hire(installation)
            population = Population(incidents, still_open, instant_us(now), PROJECT_ID, people)
            write = partial(history.write, population)
            await asyncio.to_thread(loading.load, installation.sources.migrator, incidents, write)
            await asyncio.to_thread(loading.check_sample, installation.sources.migrator)
    return Loaded(population, now, monotonic_seconds() - started)


async def _hire(installation: Installation) -> People:
    names = [*_HOLDERS.values(), *(f"responder{number}" for number in range(1, RESPONDERS + 1))]
    hired: dict[str, Person] = {}
    async with installation.app.work() as work:
        for name in names:
            email = f"{name}@bench.example"
            user_id = await accounts.add_user(
                work, installation.admin, email=email, name=name.title(), role=Role.RESPONDER, password=None
            )
            hired[name] = Person(str(user_id), name.title(), email, Role.RESPONDER.value)
        for duty, name in _HOLDERS.items():
            await accounts.assign_duty(work, installation.admin, duty, hired[name].email)
        # What was acknowledged stays so: with a lease most of it would be due for the sweep.
        default = await policies.show_policy(work, installation.admin, "")
        await policies.change_policy(work, installation.admin, "", replace(default.said, lease=None))
    return People(tuple(hired[name] for name in names[len(_HOLDERS) :]), *(hired[name] for name in _HOLDERS.values()))
