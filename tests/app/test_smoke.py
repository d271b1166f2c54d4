from __future__ import annotations

import pytest

from tocsin.app import read_incidents
from tocsin.app.open_incident import open_by_hand
from tocsin.app.work import App
from tocsin.domain.access import Actor
from tocsin.domain.incident import Severity

pytestmark = pytest.mark.anyio


async def test_an_incident_opened_by_hand_is_shown(app: App, admin: Actor) -> None:
    async with app.work() as work:
        ref = await open_by_hand(work, admin, severity=Severity.HIGH, title="It broke", description="")
    async with app.work() as work:
        detail = await read_incidents.show_incident(work, admin, ref)
    assert detail.incident.status == "REPORTED"
