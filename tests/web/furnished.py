"""A product in which there is one of everything that a page can show; who asks says which texts people have written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from tests.conftest import ADMIN_EMAIL, ADMIN_PASSWORD, ADMIN_TOKEN
from tests.web.conftest import Live, rows
from tests.web.test_console import signed_in
from tocsin.web.console.forms import csrf_of

Write = Callable[[str, int], str]
"""Returns what somebody wrote into a field of at most so many characters."""

OTHER_EMAIL, OTHER_PASSWORD = "grace@example.org", ADMIN_PASSWORD
_PLACES = {
    "user": b"SELECT id::text FROM users WHERE email = 'grace@example.org'",
    "leaver": b"SELECT id::text FROM users WHERE email = 'leaver@example.org'",
    "method": b"SELECT m.id::text FROM contact_methods m JOIN users u ON u.id = m.user_id"
    b" WHERE u.email = 'grace@example.org' AND channel = 'ntfy'",
    "own_method": b"SELECT m.id::text FROM contact_methods m JOIN users u ON u.id = m.user_id"
    b" WHERE u.email = 'ada@example.org' LIMIT 1",
    "rule": b"SELECT r.id::text FROM notification_rules r JOIN contact_methods m ON m.id = r.contact_method_id"
    b" JOIN users u ON u.id = m.user_id WHERE u.email = 'grace@example.org' LIMIT 1",
    "project": b"SELECT max(id)::text FROM projects",
    "key": b"SELECT id::text FROM project_keys WHERE project_id = (SELECT max(id) FROM projects) LIMIT 1",
    "policy": b"SELECT id::text FROM policies WHERE name <> 'default'",
    "default": b"SELECT id::text FROM policies WHERE name = 'default'",
    "route": b"SELECT id::text FROM policy_routes LIMIT 1",
    "schedule": b"SELECT id::text FROM schedules",
    "override": b"SELECT id::text FROM schedule_overrides",
    "feed": b"SELECT id::text FROM calendar_feeds",
    "silence": b"SELECT id::text FROM silences WHERE incident_id IS NOT NULL",
    "view": b"SELECT id::text FROM saved_views",
    "closed": b"SELECT '1'",
    "open": b"SELECT '2'",
    "untouched": b"SELECT '3'",
    "escalation": b"SELECT id::text FROM incident_escalations WHERE escalation_reason = 'MANUAL_ESCALATION'",
}


NONCE = bytes(16)


def csrf_for(browser: dict[str, str]) -> str:
    """Return what the forms shown to a browser prove themselves with."""
    return csrf_of(browser["Cookie"].partition("=")[2], NONCE)


async def places(live: Live) -> dict[str, str]:
    """Return what stands in a path for each thing that was furnished."""
    found = {}
    for name, query in _PLACES.items():
        (found[name],) = (await rows(live.app, query))[0]
    return found


async def furnish(live: Live, write: Write) -> dict[str, str]:
    """Fill the product; return what stands in a path for each thing."""
    browser = await signed_in(live)

    async def send(path: str, **said: str) -> None:
        answer = await live.call("POST", path, data={"csrf": csrf_for(browser), **said}, headers=browser)
        assert answer.status in (200, 303), (path, answer.status, answer.body.decode())

    await send(
        "/admin/users", email=OTHER_EMAIL, name=write("user name", 200), role="responder", password=OTHER_PASSWORD
    )
    await send("/admin/users", email="leaver@example.org", name=write("user name", 200), role="auditor")
    ((user,),) = await rows(live.app, _PLACES["user"])
    await send(f"/admin/users/{user}/methods", channel="ntfy", address="https://ntfy.example.org/a-topic")
    ((method,),) = await rows(live.app, _PLACES["method"])
    await send(f"/admin/users/{user}/rules", method=method, minutes="5")
    await send("/admin/projects", name=write("project name", 200))
    await _furnish_duty(live, write)
    await _furnish_incidents(live, write)
    await send("/incidents/views", name=write("view name", 100), query="search=pool")
    await send("/oncall/silences", reason=write("reason of a silence", 1000), service=write("service", 200), hours="4")
    await send("/oncall/silences", reason=write("reason of a silence", 1000), incident="2", hours="4")
    return await places(live)


async def _furnish_duty(live: Live, write: Write) -> None:
    made = await live.post("/api/schedules", {"name": write("schedule name", 100), "timeZone": "Europe/Vienna"})
    assert made.status == 201, made.body
    its = made.json["schedule"]["id"]
    layer = {
        "name": write("layer name", 100),
        "rotation": "DAILY",
        "every": 1,
        "startsOn": "2026-01-05",
        "handOff": "09:00",
    }
    layers = {"layers": [layer | {"members": [OTHER_EMAIL]}]}
    answer = await live.call("PATCH", f"/api/schedules/{its}", token=ADMIN_TOKEN, json=layers)
    assert answer.status == 200, answer.body
    now = live.app.clock()
    said = {
        "user": ADMIN_EMAIL,
        "startsAt": (now + timedelta(days=3)).isoformat(),
        "endsAt": (now + timedelta(days=4)).isoformat(),
    }
    answer = await live.post(f"/api/schedules/{its}/overrides", said)
    assert answer.status == 201, answer.body
    answer = await live.post(f"/api/schedules/{its}/feeds", {})
    assert answer.status == 201, answer.body
    steps = [{"afterSeconds": 600, "targets": [{"schedule": made.json["schedule"]["name"]}]}]
    answer = await live.post("/api/policies", {"name": write("policy name", 100), "steps": steps})
    assert answer.status == 201, answer.body
    route = {"policyId": answer.json["policy"]["id"], "service": write("service of a route", 200)}
    answer = await live.post("/api/routes", route)
    assert answer.status == 201, answer.body


async def _furnish_incidents(live: Live, write: Write) -> None:
    for number, steps in (("1", _life), ("2", _beginning), ("3", _nothing)):
        said = {"severity": "CRITICAL", "title": write("title", 200), "description": write("description", 2000)}
        answer = await live.post("/api/incidents", said)
        assert answer.status == 201, answer.body
        for step, body in steps(write).items():
            answer = await live.post(f"/api/incidents/{number}/{step}", body)
            assert answer.status < 300, (step, answer.body)  # what HTTP calls success


def _life(write: Write) -> dict[str, dict[str, object]]:
    """Return the steps of an incident, from its beginning to its end."""
    text = 2000
    promised = {"title": write("title of an action", 500), "owner": write("owner of an action", 500)}
    return {
        "acknowledge": {"notes": write("notes", text)},
        "root-cause": {
            "summary": write("root cause", text),
            "category": "CONFIGURATION",
            "remediationSteps": write("remediation", text),
        },
        "resolve": {
            "resolutionSummary": write("resolution", text),
            "resolutionNotes": write("resolution notes", text),
            "impactAssessment": write("impact", text),
        },
        "close": {
            "lessonsLearned": write("lessons", text),
            "followUpActions": [promised | {"dueAt": "2026-02-01"}],
        },
    }


def _beginning(write: Write) -> dict[str, dict[str, object]]:
    """Return what is said of an incident that nobody has taken."""
    return {
        "notes": {"text": write("note", 2000)},
        "escalate": {"to": ADMIN_EMAIL, "reason": write("reason of an escalation", 2000)},
        "severity": {"severity": "HIGH", "reason": write("reason of a severity", 2000)},
    }


def _nothing(write: Write) -> dict[str, dict[str, object]]:
    """Return what is said of an incident that nobody has seen."""
    return {}
