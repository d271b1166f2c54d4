"""What a first look at each page costs: the page and every file that it names, as they are sent, below 100 KB."""

from __future__ import annotations

import gzip
import random
import re
import string
from datetime import date, time

import aiohttp
import brotli  # type: ignore[import-untyped]  # it brings no types
import pytest

from bench.support.furnishing import Furnished
from bench.support.pages import NO_PAGES, addresses
from bench.support.population import People, Person, Population
from tests.conftest import ADMIN_EMAIL
from tests.support.cases import cases
from tests.web.conftest import Answer, Live
from tests.web.test_console import csrf_in, report, signed_in
from tocsin.app import learning, schedules
from tocsin.app.accounts import add_user
from tocsin.domain.access import Actor, Role
from tocsin.domain.rotation import Layer, Rotation, RotationKind
from tocsin.web.console.incident_list import PAGE_SIZE
from tocsin.web.console.table import PAGES

MOST_BYTES = 100_000
SHOWN = sorted(page.path for page in PAGES if page.method == "GET" and page.path not in NO_PAGES)
PEOPLE = 30


def prose(dice: random.Random, words: int) -> str:
    """Return words that nobody has written before: they compress as badly as real ones."""
    return " ".join("".join(dice.choices(string.ascii_lowercase, k=dice.randint(2, 9))) for _ in range(words))


def heavy(dice: random.Random) -> dict[str, object]:
    """Return a report with as many frames as are kept, and much beside them."""
    frames = [
        {
            "function": prose(dice, 2).replace(" ", "_"),
            "module": prose(dice, 3).replace(" ", "."),
            "filename": prose(dice, 4).replace(" ", "/") + ".py",
            "line": dice.randint(1, 3_000),
            "sourceLine": prose(dice, 9),
            "inApp": index % 2 == 0,
        }
        for index in range(100)
    ]
    return {
        "severity": "CRITICAL",
        "type": "Heavy",
        "message": prose(dice, 60),
        "service": "shop",
        "exceptions": [{"type": "Heavy", "message": prose(dice, 60), "frames": frames}],
        "tags": {prose(dice, 1) + str(index): prose(dice, 4) for index in range(50)},
        "context": {"request": {"method": "POST", "headers": {f"x-{n}": prose(dice, 6) for n in range(30)}}},
    }


async def furnished(live: Live, admin: Actor) -> dict[str, object]:
    """Fill the installation; return what stands for the names in the paths of the table."""
    dice = random.Random(8420)
    many = [
        {"severity": "HIGH", "type": prose(dice, 1), "message": prose(dice, 25), "service": prose(dice, 1)}
        for _ in range(PAGE_SIZE + 10)
    ]
    assert (await live.report(many)).status == 201
    assert (await live.report(heavy(dice))).status == 201
    (incident,) = (await live.get("/api/incidents?limit=1")).json["incidents"]
    path = f"/api/incidents/{incident['number']}"
    for step, body in [
        *[("notes", {"text": prose(dice, 40)}) for _ in range(100)],
        ("escalate", {"to": ADMIN_EMAIL, "reason": prose(dice, 20)}),
        ("acknowledge", {"notes": prose(dice, 20)}),
        ("root-cause", {"summary": prose(dice, 80), "category": "CONFIGURATION", "remediationSteps": prose(dice, 80)}),
        ("resolve", {"resolutionSummary": prose(dice, 80), "resolutionNotes": prose(dice, 80)}),
        ("close", {"lessonsLearned": prose(dice, 80), "followUpActions": [{"title": prose(dice, 8)}] * 20}),
    ]:
        answer = await live.post(f"{path}/{step}", body)
        assert answer.status < 300, (step, answer.body)
    async with live.app.work() as work:
        members = [
            await add_user(
                work,
                admin,
                email=f"{prose(dice, 1)}{number}@example.org",
                name=prose(dice, 2).title(),
                role=Role.RESPONDER,
                password=None,
            )
            for number in range(PEOPLE)
        ]
        made = await schedules.add(work, admin, name="turns", time_zone="Europe/Vienna")
        rotation = Rotation(RotationKind.HOURLY, 3, date(2020, 1, 1), time(9))
        await schedules.add_layer(work, admin, made.id, Layer("hours", rotation, tuple(members[:12])))
        await learning.count_weeks(work)
    for number in range(PEOPLE):
        assert (await live.post("/api/projects", {"name": f"{prose(dice, 2)} {number}"})).status == 201
    (policy,) = (await live.get("/api/policies")).json["policies"]
    ids = {"schedule": made.id, "policy": policy["id"], "user": admin.user_id, "project": 1}
    return ids | {"id": incident["number"]}


@pytest.mark.slow
async def test_every_page_is_below_100_kb_on_first_load(live: Live, admin: Actor) -> None:
    ids, browser = await furnished(live, admin), await signed_in(live)
    sizes: dict[str, int] = {}
    files: dict[str, int] = {}
    headers = {"Accept-Encoding": "gzip"}  # over plain http browsers take nothing better
    async with aiohttp.ClientSession(live.url, auto_decompress=False) as http:
        for path in SHOWN:
            session = {} if path == "/sign-in" else browser
            async with http.get(path.format(**ids), headers={**session, **headers}, allow_redirects=False) as answer:
                assert answer.status == 200, path
                body = await answer.read()
            named = set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', gzip.decompress(body).decode()))
            for name in named - set(files):
                async with http.get(name, headers=headers) as answer:
                    assert answer.status == 200, name
                    files[name] = len(await answer.read())
            sizes[path] = len(body) + sum(files[name] for name in named)
    assert len(sizes) == len(SHOWN) > 20
    assert {path: size for path, size in sizes.items() if size >= MOST_BYTES} == {}


def test_the_benchmark_measures_every_page() -> None:
    """Raise SystemExit for a page without an address."""
    somebody = Person("0", "Ana", "ana@example.org", "responder")
    people = People((somebody,), somebody, somebody, somebody)
    population = Population(1_000, 100, 1_772_000_000_000_000, 1, people)
    measured = addresses(population, Furnished(1, 2, 3, "s", "p", date(2026, 1, 5), date(2026, 1, 12)))
    assert {one.name.partition(" ")[0] for one in measured} == set(SHOWN)
    assert all(one.at(0).startswith("/") for one in measured)


@cases(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("*", "br"),
        ("*;q=0", None),
        ("gzip; q=0.000", None),
        ("identity", None),
        ("", None),
    ],
)
async def test_pages_and_files_are_compressed_for_who_takes_it(live: Live, accepted: str, coding: str | None) -> None:
    (file,) = re.findall(r'"(/assets/console[^"]+css)"', (await live.call("GET", "/sign-in")).body.decode())
    async with aiohttp.ClientSession(live.url, auto_decompress=False) as http:
        for path in ("/sign-in", file):
            async with http.get(path, headers={"Accept-Encoding": accepted}) as answer:
                body = await answer.read()
            assert answer.headers.get("Content-Encoding") == coding, path
            assert "Accept-Encoding" in answer.headers["Vary"]
            assert answer.headers["Content-Length"] == str(len(body))
            whole = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}[coding](body)
            assert whole[-8:].decode().strip().endswith(("</html>", "}"))


@cases(
    ("site", "path", "coding"),
    [
        ("same-origin", "/incidents?search=guess", "br"),
        ("none", "/incidents?search=guess", "br"),
        ("cross-site", "/incidents", "br"),
        ("cross-site", "/incidents?search=guess", None),
        ("same-site", "/incidents?search=guess", None),
    ],
)
async def test_no_other_site_learns_from_the_length_of_what_it_guesses(
    live: Live, site: str, path: str, coding: str | None
) -> None:
    headers = {**await signed_in(live), "Sec-Fetch-Site": site, "Accept-Encoding": "br"}
    answer = await live.call("GET", path, headers=headers)
    assert (answer.status, answer.headers.get("Content-Encoding")) == (200, coding)


async def test_the_token_of_a_form_is_another_one_on_each_page_and_holds_in_its_session_alone(live: Live) -> None:
    number, browser, other = await report(live), await signed_in(live), await signed_in(live)
    first, second = [csrf_in(await live.call("GET", "/", headers=browser)) for _ in range(2)]
    assert len({first, second, first[:32], second[:32]}) == 4
    assert not set(re.findall("." * 16, first)) & set(re.findall("." * 16, second))

    async def note(csrf: str, headers: dict[str, str]) -> Answer:
        return await live.call("POST", f"/incidents/{number}/notes", data={"csrf": csrf, "text": "x"}, headers=headers)

    assert [(await note(csrf, browser)).status for csrf in (first, second)] == [303, 303]
    spliced = second[:32] + first[32:]
    for csrf in (first[:-1], first.upper(), spliced, f"{first}0", "0" * 96, "é" * 96):
        assert (await note(csrf, browser)).status == 403, csrf
    assert (await note(first, other)).status == 403
