"""Contact methods and notification rules: how people come to be reached, and what is known of each way."""

from __future__ import annotations

from datetime import timedelta

from tests.app.conftest import Crew, Tables
from tocsin import ids
from tocsin.app.work import App
from tocsin.domain.reach import Reach
from tocsin.store import contacts


async def reach(app: App, crew: Crew, *names: str) -> dict[str, Reach]:
    async with app.work() as work:
        found = await contacts.reach(work.tx, [getattr(crew, name).user_id for name in names])
    return {one.name.lower(): one for one in found.values()}


async def test_reach_has_the_methods_and_rules_of_each_in_order(app: App, crew: Crew, tables: Tables) -> None:
    tables.connection.execute(
        "INSERT INTO contact_methods (id, user_id, channel, address, created_at, verified_at)"
        " VALUES (%s, %s, 'sms', '+4915112345678', now() + interval '1 day', now())",
        (method_id := ids.new_id(), crew.olga.user_id),
    )
    for seconds in (600, 0):
        tables.connection.execute(
            "INSERT INTO notification_rules (id, user_id, contact_method_id, after_seconds, created_at)"
            " VALUES (%s, %s, %s, %s, now())",
            (ids.new_id(), crew.olga.user_id, method_id, seconds),
        )
    found = await reach(app, crew, "olga", "dee")
    olga, dee = found["olga"], found["dee"]
    assert (olga.role, olga.active) == ("responder", True)
    assert [(one.channel, one.address, one.verified_at is not None) for one in olga.methods] == [
        ("email", "olga@example.org", False),
        ("sms", "+4915112345678", True),
    ]
    assert [(one.after, one.contact_method_id) for one in olga.rules] == [
        (timedelta(0), method_id),
        (timedelta(minutes=10), method_id),
    ]
    assert (dee.rules, [one.address for one in dee.methods]) == ((), ["dee@example.org"])


async def test_reach_of_nobody_and_of_who_does_not_exist_is_empty(app: App) -> None:
    async with app.work() as work:
        assert await contacts.reach(work.tx, []) == {}
        assert await contacts.reach(work.tx, [ids.new_id()]) == {}
