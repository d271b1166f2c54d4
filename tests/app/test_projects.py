"""Projects: keys come and go, and what a project decides for itself is valid and counts for its reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from tests.app.conftest import Crew
from tests.conftest import INTAKE_KEY
from tests.support.clock import FakeClock
from tests.support.lives import accept_one, error_report
from tocsin.app import projects
from tocsin.app.projects import FRESH_SECONDS, MAX_VALID_KEYS, IntakeKeys
from tocsin.app.refused_keys import RefusedKeys
from tocsin.app.work import App, Work
from tocsin.domain.access import Actor
from tocsin.domain.deduplication import Outcome
from tocsin.domain.incident import Severity
from tocsin.errors import Code, TocsinError
from tocsin.intake.field_mapping import parse_mapping

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Step = Callable[[Work], Awaitable[T]]
RULES = [{"when": {"type": "Value*"}, "severity": "CRITICAL"}]
MAPPING = {"fields": {"message": "alert.text"}}


async def done(app: App, step: Step[T]) -> T:
    """Do something in a unit of work of its own."""
    async with app.work() as work:
        return await step(work)


async def refused(app: App, step: Step[Any]) -> TocsinError:
    """Return the refusal of something."""
    with pytest.raises(TocsinError) as caught:
        await done(app, step)
    return caught.value


async def opens(app: App, key: str) -> bool:
    """Tell whether a key opens a project, as a process sees it that has just started."""
    return await IntakeKeys(app, RefusedKeys(app)).project(key) is not None


async def test_a_rotated_key_replaces_all_others_unless_they_are_kept(app: App, admin: Actor) -> None:
    kept = await done(app, lambda work: projects.rotate_key(work, admin, 1, keep_old=True))
    assert kept.revoked == 0
    assert await opens(app, INTAKE_KEY)
    assert await opens(app, kept.key)
    rotated = await done(app, lambda work: projects.rotate_key(work, admin, 1))
    assert rotated.revoked == 2
    assert [await opens(app, key) for key in (INTAKE_KEY, kept.key, rotated.key)] == [False, False, True]


async def test_two_rotations_at_once_leave_one_valid_key(app: App, admin: Actor) -> None:
    made = await asyncio.gather(*(done(app, lambda work: projects.rotate_key(work, admin, 1)) for _ in range(4)))
    assert sorted([await opens(app, one.key) for one in made]) == [False, False, False, True]
    assert (await done(app, lambda work: projects.show_project(work, admin, 1))).keys == 1


async def test_a_key_is_revoked_by_how_it_begins_and_what_begins_alike_is_asked_about(app: App, admin: Actor) -> None:
    async with app.work() as work:
        for key in ("aaaaaa-1", "aaaaab-1", "aaaaab-2"):
            await projects._insert_key(work, 1, key)
    twice = await refused(app, lambda work: projects.revoke_key(work, admin, 1, "aaaaab"))
    assert (twice.refusal.code, "2 valid keys" in twice.refusal.message) == (Code.CONFLICT, True)
    assert await opens(app, "aaaaab-1")
    revoked = await done(app, lambda work: projects.revoke_key(work, admin, 1, "aaaaaa"))
    assert (revoked.key_prefix, revoked.left) == ("aaaaaa", 3)
    assert not await opens(app, "aaaaaa-1")
    by_id = next(
        key for key in await done(app, lambda work: projects.list_keys(work, admin, 1)) if key.id != revoked.id
    )
    await done(app, lambda work: projects.revoke_key(work, admin, 1, by_id.id))
    again = [key for key in await done(app, lambda work: projects.list_keys(work, admin, 1)) if key.revoked_at is None]
    assert by_id.id not in {key.id for key in again}
    assert len(again) == 2


@pytest.mark.parametrize("name", ["", "zz", "aaaaaa", INTAKE_KEY])
async def test_a_key_that_is_not_valid_cannot_be_revoked_and_is_never_repeated(
    app: App, admin: Actor, name: str
) -> None:
    async with app.work() as work:
        await projects._insert_key(work, 1, "aaaaaa-1")
        await projects.revoke_key(work, admin, 1, "aaaaaa")
    error = await refused(app, lambda work: projects.revoke_key(work, admin, 1, name))
    assert error.refusal.code is Code.NOT_FOUND
    assert INTAKE_KEY not in error.refusal.message
    assert await opens(app, INTAKE_KEY)


async def test_a_key_of_another_project_is_not_found(app: App, admin: Actor) -> None:
    number, key = await done(app, lambda work: projects.add_project(work, admin, "shop"))
    [row] = await done(app, lambda work: projects.list_keys(work, admin, number))
    by_beginning = await refused(app, lambda work: projects.revoke_key(work, admin, 1, row.key_prefix))
    by_id = await refused(app, lambda work: projects.revoke_key(work, admin, 1, row.id))
    assert by_beginning.refusal.code is by_id.refusal.code is Code.NOT_FOUND
    assert await opens(app, key)


async def test_a_project_has_so_many_keys_and_no_more(app: App, admin: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_VALID_KEYS == 100
    monkeypatch.setattr(projects, "MAX_VALID_KEYS", 3)
    for _ in range(2):
        await done(app, lambda work: projects.add_key(work, admin, 1))
    assert (await refused(app, lambda work: projects.add_key(work, admin, 1))).refusal.code is Code.CONFLICT
    assert (await done(app, lambda work: projects.rotate_key(work, admin, 1))).revoked == 3


async def test_a_revoked_key_is_believed_for_two_seconds_and_no_longer(
    app: App, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(projects, "monotonic_seconds", lambda: now[0])
    keys = IntakeKeys(app, RefusedKeys(app))
    assert await keys.project(INTAKE_KEY) is not None
    await done(app, lambda work: projects.rotate_key(work, admin, 1))
    now[0] = FRESH_SECONDS - 0.01
    assert await keys.project(INTAKE_KEY) is not None
    now[0] = FRESH_SECONDS
    assert FRESH_SECONDS == 2.0
    assert await keys.project(INTAKE_KEY) is None


async def test_a_project_decides_for_itself_and_follows_the_installation_again(app: App, admin: Actor) -> None:
    async with app.work() as work:
        await projects.set_dedup_window(work, admin, 1, timedelta())
        await projects.set_incident_threshold(work, admin, 1, Severity.LOW)
        await projects.set_severity_rules(work, admin, 1, RULES)
        await projects.set_field_mapping(work, admin, 1, MAPPING)
        shown = await projects.show_project(work, admin, 1)
        own = await projects.rules_of(work, 1)
    assert (shown.dedup_window_seconds, shown.incident_threshold) == (0, Severity.LOW)
    assert (shown.severity_rules, shown.field_mapping) == (RULES, MAPPING)
    assert (own.dedup_window, own.incident_threshold, own.field_mapping) == (
        timedelta(),
        Severity.LOW,
        parse_mapping(MAPPING),
    )
    assert [rule.document() for rule in own.severity_rules] == RULES
    async with app.work() as work:
        await projects.set_dedup_window(work, admin, 1, None)
        await projects.set_incident_threshold(work, admin, 1, None)
        await projects.set_severity_rules(work, admin, 1, [])
        await projects.set_field_mapping(work, admin, 1, None)
        own = await projects.rules_of(work, 1)
    assert (own.dedup_window, own.incident_threshold) == (app.settings.dedup_window_time, Severity.HIGH)
    assert (own.severity_rules, own.field_mapping) == ((), None)


async def test_the_threshold_of_a_project_decides_what_its_reports_open(app: App, admin: Actor) -> None:
    assert (await accept_one(app, error_report("A", Severity.LOW))).outcome is Outcome.RECORDED
    await done(app, lambda work: projects.set_incident_threshold(work, admin, 1, Severity.LOW))
    assert (await accept_one(app, error_report("B", Severity.LOW))).outcome is Outcome.OPENED


@pytest.mark.parametrize("window", [timedelta(seconds=-1), timedelta(days=1, seconds=1)])
async def test_a_window_out_of_bounds_is_refused(app: App, admin: Actor, window: timedelta) -> None:
    assert (
        await refused(app, lambda work: projects.set_dedup_window(work, admin, 1, window))
    ).refusal.code is Code.INVALID
    await done(app, lambda work: projects.set_dedup_window(work, admin, 1, timedelta(days=1)))


async def test_high_and_critical_errors_always_open_an_incident(app: App, admin: Actor) -> None:
    error = await refused(app, lambda work: projects.set_incident_threshold(work, admin, 1, Severity.CRITICAL))
    assert error.refusal.code is Code.INVALID
    assert "HIGH error always opens" in error.refusal.message
    await done(app, lambda work: projects.set_incident_threshold(work, admin, 1, Severity.HIGH))


@pytest.mark.parametrize(
    "rules", [{}, [{"when": {}, "severity": "LOW"}], [{"when": {"type": "a\x00b"}, "severity": "LOW"}], [RULES[0]] * 51]
)
async def test_severity_rules_that_are_none_are_refused(app: App, admin: Actor, rules: object) -> None:
    error = await refused(app, lambda work: projects.set_severity_rules(work, admin, 1, rules))
    assert error.refusal.code is Code.INVALID
    assert error.refusal.details["errors"]


async def test_a_backslash_before_u0000_is_no_nul(app: App, admin: Actor) -> None:
    rules = [{"when": {"message": "\\u0000"}, "severity": "LOW"}]
    await done(app, lambda work: projects.set_severity_rules(work, admin, 1, rules))
    assert (await done(app, lambda work: projects.show_project(work, admin, 1))).severity_rules == rules


@pytest.mark.parametrize("mapping", [[], {}, {"fields": {"message": "a\x00b"}}, {"feilds": {"message": "text"}}])
async def test_a_field_mapping_that_is_none_is_refused(app: App, admin: Actor, mapping: object) -> None:
    error = await refused(app, lambda work: projects.set_field_mapping(work, admin, 1, mapping))
    assert error.refusal.code is Code.INVALID


async def test_a_project_is_renamed_but_not_to_a_name_that_is_taken_and_never_tocsin_s_own(
    app: App, admin: Actor
) -> None:
    await done(app, lambda work: projects.add_project(work, admin, "shop"))
    await done(app, lambda work: projects.rename_project(work, admin, 2, " store "))
    await done(app, lambda work: projects.rename_project(work, admin, 2, "store"))
    assert (await done(app, lambda work: projects.show_project(work, admin, 2))).name == "store"
    for project_id, name, code in (
        (2, "default", Code.CONFLICT),
        (0, "mine", Code.CONFLICT),
        (2, " ", Code.INVALID),
        (99, "x", Code.NOT_FOUND),
    ):
        assert (await refused(app, renaming(admin, project_id, name))).refusal.code is code


def renaming(by: Actor, project_id: int, name: str) -> Step[None]:
    """Return the renaming of a project."""
    return lambda work: projects.rename_project(work, by, project_id, name)


def changes(by: Actor, project_id: int) -> list[Step[Any]]:
    """Return everything that changes a project, or tells of its keys."""
    return [
        lambda work: projects.rename_project(work, by, project_id, "x"),
        lambda work: projects.set_dedup_window(work, by, project_id, None),
        lambda work: projects.set_incident_threshold(work, by, project_id, None),
        lambda work: projects.set_severity_rules(work, by, project_id, []),
        lambda work: projects.set_field_mapping(work, by, project_id, None),
        lambda work: projects.list_keys(work, by, project_id),
        lambda work: projects.add_key(work, by, project_id),
        lambda work: projects.rotate_key(work, by, project_id),
        lambda work: projects.revoke_key(work, by, project_id, "0"),
    ]


async def test_only_a_superadmin_changes_a_project(app: App, crew: Crew) -> None:
    for change in changes(crew.olga, 1):
        assert (await refused(app, change)).refusal.code is Code.FORBIDDEN
    assert (await done(app, lambda work: projects.show_project(work, crew.dee, 1))).id == 1
    assert (await refused(app, lambda work: projects.show_project(work, crew.mia, 1))).refusal.code is Code.FORBIDDEN


async def test_a_project_that_is_not_there_cannot_be_changed(app: App, admin: Actor, clock: FakeClock) -> None:
    for change in [*changes(admin, 99), lambda work: projects.show_project(work, admin, 99)]:
        assert (await refused(app, change)).refusal.code is Code.NOT_FOUND
