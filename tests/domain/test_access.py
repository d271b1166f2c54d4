"""Who may do what: the whole table, written down a second time."""

from __future__ import annotations

from uuid import UUID

import pytest

from tocsin.domain.access import NEVER_BLOCKED, Actor, Permission, Role, require
from tocsin.errors import Code, TocsinError

TABLE = {
    Role.SUPERADMIN: {Permission.ADMINISTER, Permission.RESPOND, Permission.READ, Permission.AUDIT},
    Role.RESPONDER: {Permission.RESPOND, Permission.READ},
    Role.AUDITOR: {Permission.READ, Permission.AUDIT},
    Role.MEMBER: set(),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_a_role_may_do_exactly_what_the_table_says(role: Role, permission: Permission) -> None:
    actor = Actor(UUID(int=1), "Ada", role)
    if permission in TABLE[role]:
        require(actor, permission)
        return
    with pytest.raises(TocsinError) as caught:
        require(actor, permission)
    assert caught.value.refusal.code is Code.FORBIDDEN
    assert f"Ada ({role.value})" in caught.value.refusal.message
    assert "superadmin" in caught.value.refusal.hint


def test_whoever_can_acknowledge_is_never_blocked() -> None:
    assert {Role.SUPERADMIN, Role.RESPONDER} == NEVER_BLOCKED
