"""Erasures over HTTP: superadmins only, recorded, and the answer keeps nothing of what is gone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cases import cases
from tests.web.conftest import Live, rows
from tocsin.domain.access import Role
from tocsin.errors import Code

pytestmark = pytest.mark.anyio
PATH = "/api/admin/erasures"
WHY = {"reason": "Request of the person", "request": "GDPR-17"}


async def test_texts_reports_and_users_are_erased(live: Live, tokens: dict[Role, str]) -> None:
    admin = tokens[Role.SUPERADMIN]
    await live.report({"severity": "HIGH", "type": "SignInError", "message": "carol@example.net cannot sign in"})
    incident = (await live.get("/api/admin/incidents", token=admin)).json["incidents"][0]
    look = {"reports": {"containing": "Carol@example.net"}, "dryRun": True}
    answer = await live.post(PATH, WHY | look, token=admin)
    assert (answer.status, answer.json["done"], answer.json["reports"]) == (200, False, 1)
    for what in (
        {"reports": {"incident": str(incident["number"])}},
        {"incident": {"incident": incident["id"]}},
        {"incident": {"incident": incident["id"], "texts": ["title"]}},
        {"user": f"{Role.AUDITOR}@example.org"},
    ):
        answer = await live.post(PATH, WHY | what, token=admin)
        assert (answer.status, answer.json["done"]) == (200, True), answer.body
        assert b"carol" not in answer.body
    detail = (await live.get(f"/api/incidents/{incident['id']}", token=admin)).json
    assert (detail["incident"]["title"], detail["incident"]["description"], detail["error"]) == (None, None, None)
    assert detail["timeline"][-1]["eventType"] == "PERSONAL_DATA_ERASED"
    assert detail["timeline"][-1]["metadata"]["reason"] == WHY["reason"]
    assert (await live.get("/api/incidents", token=tokens[Role.AUDITOR])).status == 401, "they are nobody any more"
    recorded = await rows(live.app, b"SELECT target FROM audit_access_log WHERE action LIKE 'POST /api/admin/erasures'")
    assert recorded == [(PATH,)] * 5


@cases(
    "body",
    [
        {},
        {"user": "a@example.org"},
        WHY,
        WHY | {"user": "a@example.org", "reports": {"containing": "abc"}},
        WHY | {"reports": {}},
        WHY | {"reports": {"incident": "1", "containing": "abc"}},
        WHY | {"reports": {"containing": " a "}},
        WHY | {"reports": {"containing": "a\0bc"}},
        WHY | {"incident": {"incident": "1", "texts": ["titel"]}},
        WHY | {"incident": {"incident": "one"}},
        {"reason": " ", "user": "a@example.org"},
    ],
)
async def test_what_makes_no_sense_is_invalid(live: Live, tokens: dict[Role, str], body: dict[str, Any]) -> None:
    answer = await live.post(PATH, body, token=tokens[Role.SUPERADMIN])
    assert answer.code in (Code.INVALID, Code.NOT_FOUND), answer.body


async def test_only_superadmins_erase(live: Live, tokens: dict[Role, str]) -> None:
    for role in (Role.RESPONDER, Role.AUDITOR, Role.MEMBER):
        answer = await live.post(PATH, WHY | {"reports": {"containing": "abc"}}, token=tokens[role])
        assert answer.code == Code.FORBIDDEN
