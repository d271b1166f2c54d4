"""Who may do what: roles, permissions, and the one table that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from tocsin.errors import Code, refuse


class Role(StrEnum):
    """What a user is here for. A member only has sessions; it is the role of an embedding application's users."""

    SUPERADMIN = "superadmin"
    RESPONDER = "responder"
    AUDITOR = "auditor"
    MEMBER = "member"


SYSTEM_ROLE = "system"
"""The role that timeline entries name when no person acted."""


class Permission(StrEnum):
    """What an operation asks for."""

    ADMINISTER = "administer"
    RESPOND = "respond"
    READ = "read"
    AUDIT = "audit"


PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.SUPERADMIN: frozenset(Permission),
    Role.RESPONDER: frozenset({Permission.RESPOND, Permission.READ}),
    Role.AUDITOR: frozenset({Permission.READ, Permission.AUDIT}),
    Role.MEMBER: frozenset(),
}

NEVER_BLOCKED = frozenset(role for role, granted in PERMISSIONS.items() if Permission.RESPOND in granted)
"""Who can acknowledge is never blocked: otherwise nobody could lift the block."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The person in whose name something is done."""

    user_id: UUID
    name: str
    role: Role


def may(role: Role, permission: Permission) -> bool:
    """Tell whether a role grants a permission."""
    return permission in PERMISSIONS[role]


def require(actor: Actor, permission: Permission) -> None:
    """Raise FORBIDDEN unless the actor's role grants the permission."""
    if not may(actor.role, permission):
        needed = ", ".join(role.value for role in Role if permission in PERMISSIONS[role])
        raise refuse(
            Code.FORBIDDEN,
            f"{actor.name} ({actor.role.value}) may not do this.",
            f"It needs one of the roles: {needed}. A superadmin can change roles: `tocsin users role EMAIL ROLE`.",
        )
