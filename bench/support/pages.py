"""Which addresses of the console are measured: every page of its table, with usual parameters and with costly ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.support.furnishing import Furnished
from bench.support.population import SEED, SERVICES, Population
from tocsin.web.console.table import PAGES

Path = str | Callable[[int], str]
"""An address, or what gives another one for each repetition."""

NO_PAGES = frozenset({"/live", "/sign-in/code", "/sign-in/oidc", "/sign-in/oidc/callback"}) | {
    f"/audit/{what}.{form}" for what in ("accesses", "entries") for form in ("csv", "json")
}
"""A stream, steps of a sign-in that only lead on, and files: nobody waits for them before a page."""


@dataclass(frozen=True, slots=True)
class Address:
    """A page with some parameters."""

    name: str
    path: Path

    def at(self, number: int) -> str:
        """Return what is asked for the n-th time."""
        return self.path if isinstance(self.path, str) else self.path(number)


def addresses(population: Population, furnished: Furnished) -> list[Address]:
    """Return what is measured. Raises SystemExit for a page of the table without an address here."""
    known = _examples(population, furnished)
    shown = [page.path for page in PAGES if page.method == "GET" and page.path not in NO_PAGES]
    if missing := set(shown) - set(known):
        raise SystemExit(f"bench/support/pages.py names no address of {', '.join(sorted(missing))}")
    return [Address(f"{page}{name and ' '}{name}", path) for page in shown for name, path in known[page].items()]


def _examples(population: Population, furnished: Furnished) -> Mapping[str, Mapping[str, Path]]:
    return {
        **{path: {"": path} for path in ("/", "/sign-in", "/account", "/account/contacts", "/account/second-factor")},
        "/incidents": dict(_lists(population, furnished)),
        "/incidents/{id}": {
            "open or not, another each time": lambda n: f"/incidents/{_numbers(population)[n % 1_000]}",
            "busy": f"/incidents/{furnished.busy}",
        },
        "/incidents/{id}/report": {
            "another each time": lambda n: f"/incidents/{_numbers(population)[(n + 500) % 1_000]}/report",
            "busy": f"/incidents/{furnished.busy}/report",
        },
        "/learning": {f"{weeks} weeks": f"/learning?weeks={weeks}" for weeks in (4, 12, 52)},
        "/learning/follow-ups": {
            which: f"/learning/follow-ups?{query}"
            for which, query in (
                ("open", ""),
                ("overdue", "which=overdue"),
                ("done", "which=done"),
                ("of an owner", "owner=ana"),
                ("offset 10,000", "offset=10000"),
            )
        },
        "/oncall": {"": "/oncall"},
        "/oncall/coverage": {"": "/oncall/coverage"},
        "/oncall/schedules/{schedule}": {"": f"/oncall/schedules/{furnished.schedule}"},
        "/oncall/schedules/{schedule}/layer": {"": f"/oncall/schedules/{furnished.schedule}/layer"},
        "/audit": dict(_audit("/audit", population, ("action=GET+/incidents", "outcome=FORBIDDEN"))),
        "/audit/entries": dict(_audit("/audit/entries", population, ("kind=SEVERITY_CHANGED", "kind=REPORTED"))),
        **{f"/admin{path}": {"": f"/admin{path}"} for path in _ADMIN},
        "/admin/users/{user}": {"": f"/admin/users/{population.people.on_call.id}"},
        "/admin/projects/{project}": {"": f"/admin/projects/{population.project_id}"},
        "/admin/policies/{policy}": {"": f"/admin/policies/{furnished.policy}"},
    }


_ADMIN = ("", "/users", "/projects", "/policies", "/channels", "/settings")


def _lists(population: Population, furnished: Furnished) -> Iterator[tuple[str, Path]]:
    half, person = population.incidents // 2, population.people.responders[0].id
    for name, query in (
        ("all", ""),
        ("open", "status=open"),
        ("CLOSED", "status=CLOSED"),
        ("CRITICAL", "severity=CRITICAL"),
        ("LOW, of which there is none", "severity=LOW"),
        ("open and MEDIUM", "status=open&severity=MEDIUM"),
        ("the most frequent service", f"service={SERVICES[0]}"),
        ("a rare service", f"service={SERVICES[-1]}"),
        ("a rare service, CRITICAL, open", f"service={SERVICES[-1]}&severity=CRITICAL&status=open"),
        ("a service that there is not", "service=nosuch"),
        ("a project", f"project={population.project_id}"),
        ("an empty project", f"project={furnished.empty_project}"),
        ("a project, CRITICAL, open", f"project={population.project_id}&severity=CRITICAL&status=open"),
        ("a small project, CLOSED", f"project={furnished.small_project}&status=CLOSED"),
        ("what somebody has", f"who={person}&status=open"),
        ("what I have, which is nothing", "who=me"),
        ("what nobody has", "who=nobody"),
        ("what nobody has, of an empty project", f"who=nobody&project={furnished.empty_project}"),
        ("a week long ago", f"since={furnished.long_ago}&until={furnished.week_later}"),
        ("open, a week long ago", f"status=open&since={furnished.long_ago}&until={furnished.week_later}"),
        ("a week before everything", "since=2001-01-01&until=2001-01-07"),
        (
            "a service, a week long ago",
            f"service={SERVICES[-1]}&since={furnished.long_ago}&until={furnished.week_later}",
        ),
        ("from the middle", f"before={half}"),
    ):
        yield name, f"/incidents?{query}"
    for name, words in (
        ("a word that none has", "unheard-of"),
        ("a number that one has", str(half)),
        ("a word in 600", SERVICES[-1]),
        ("a word in 200", SERVICES[19]),
        ("a word in 75", SERVICES[9]),
        ("a word in 6", "thumbnail"),
        ("a word that nearly all have", "connection"),
        ("two words", f"{SERVICES[9]} stock"),
        ("a phrase", '"stock service"'),
        ("a word that few have and one that many", f"{SERVICES[-1]} connection"),
    ):
        yield f"search: {name}", f"/incidents?search={words.replace(' ', '+')}"
        yield f"search: {name}, open and CRITICAL", f"/incidents?status=open&severity=CRITICAL&search={words}"


def _audit(path: str, population: Population, more: Sequence[str]) -> Iterator[tuple[str, Path]]:
    person = population.people.responders[0].email
    yield "all", path
    for query in (*more, "since=2001-01-01&until=2001-01-07"):
        yield query, f"{path}?{query}"
        yield f"{query} of somebody", f"{path}?{query}&user={person}"
    yield "of somebody", f"{path}?user={person}"
    yield "of who has done little", f"{path}?user=ada@bench.example"


def _numbers(population: Population) -> Sequence[int]:
    """Return a thousand incidents, every other one open: those have the longest timelines and the pages."""
    dice, still_open = random.Random(SEED), sorted(population.open_numbers)
    return [dice.choice(still_open) if n % 2 else dice.randint(1, population.incidents) for n in range(1_000)]
