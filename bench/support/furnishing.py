"""What a loaded database needs to have every page: a busy incident, a schedule, small projects, the weeks' figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp

from bench.support.installation import KEY, TOKEN, Installation
from bench.support.population import Population
from bench.support.progress import say
from tocsin.app import learning

BUSY = "Overwhelmed"
BUSY_REPORTS = 300
BUSY_NOTES = 100
FRAMES = 100
_FEW = [{"severity": "MEDIUM", "type": f"Small{number}", "message": f"of kind {number}"} for number in range(40)]
_LISTED = "/api/admin/incidents"


@dataclass(frozen=True, slots=True)
class Furnished:
    """Where it is found."""

    busy: int
    empty_project: int
    small_project: int
    schedule: str
    policy: str
    long_ago: date
    week_later: date


async def furnish(installation: Installation, url: str, population: Population) -> Furnished:
    """Make what is not there yet, as clients do."""
    while True:
        async with installation.app.work() as work:
            if await learning.count_weeks(work) <= learning.MAX_WEEKS // 26:
                break
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(url, headers=headers, raise_for_status=True) as http:
        api = _Api(http)
        began = datetime.fromtimestamp(population.created_us(1) / 1_000_000, UTC).date() + timedelta(weeks=10)
        return Furnished(
            busy=await _busy(api),
            empty_project=await _project(api, "empty"),
            small_project=await _project(api, "small", _FEW),
            schedule=await _schedule(api, population),
            policy=(await api.get("/api/policies"))["policies"][0]["id"],
            long_ago=began,
            week_later=began + timedelta(days=7),
        )


@dataclass(frozen=True, slots=True)
class _Api:
    http: aiohttp.ClientSession

    async def get(self, path: str) -> Any:
        async with self.http.get(path) as answer:
            return await answer.json()

    async def post(self, path: str, body: object, **more: Any) -> Any:
        async with self.http.post(path, json=body, **more) as answer:
            return await answer.json()


async def _busy(api: _Api) -> int:
    """Return an incident with deep stacks, many reports and a long timeline."""
    listed = await api.get(f"{_LISTED}?search={BUSY}&limit=1")
    if not listed["incidents"]:
        say("Making a busy incident…")
        for first in range(0, BUSY_REPORTS, 50):
            reports = [_report(number) for number in range(first, first + 50)]
            await api.post("/api/v1/errors", reports, headers={"Authorization": f"Bearer {KEY}"})
        listed = await api.get(f"{_LISTED}?search={BUSY}&limit=1")
        incident = listed["incidents"][0]["id"]
        await api.post(f"{_LISTED}/{incident}/acknowledge", {"notes": "I have it."})
        for number in range(BUSY_NOTES):
            note = {"text": f"Look number {number}: the pool is still as full as it was before, and nothing is freed."}
            await api.post(f"{_LISTED}/{incident}/notes", note)
    return int(listed["incidents"][0]["number"])


def _report(number: int) -> dict[str, object]:
    frames = [
        {
            "function": f"step_{index}",
            "module": f"shop.layer_{index % 7}",
            "filename": f"shop/layer_{index % 7}.py",
            "line": 10 + index,
            "sourceLine": f"return step_{index + 1}(order, retries={index})",
            "inApp": index % 2 == 0,
        }
        for index in range(FRAMES)
    ]
    return {
        "severity": "HIGH",
        "type": BUSY,
        "message": "no worker is free",
        "service": "dispatch",
        "exceptions": [{"type": BUSY, "message": "no worker is free", "frames": frames}],
        "tags": {"host": f"web-{number % 40}"},
    }


async def _project(api: _Api, name: str, reports: Sequence[object] = ()) -> int:
    """Return a project; a new one gets these reports."""
    listed = (await api.get("/api/projects"))["projects"]
    found = next((one["id"] for one in listed if one["name"] == name), None)
    if found is not None:
        return int(found)
    made = await api.post("/api/projects", {"name": name})
    if reports:
        await api.post("/api/v1/errors", reports, headers={"Authorization": f"Bearer {made['key']}"})
    return int(made["projectId"])


async def _schedule(api: _Api, population: Population) -> str:
    listed = (await api.get("/api/schedules"))["schedules"]
    if not listed:
        made = await api.post("/api/schedules", {"name": "primary", "timeZone": "Europe/Berlin"})
        layer = {"name": "hours", "rotation": "HOURLY", "every": 6, "startsOn": "2026-01-05", "handOff": "09:00"}
        members = [person.email for person in population.people.responders]
        path = f"/api/schedules/{made['schedule']['id']}"
        async with api.http.patch(path, json={"layers": [layer | {"members": members}]}) as answer:
            await answer.read()
        listed = [made["schedule"]]
    its_id: str = listed[0]["id"]
    return its_id
