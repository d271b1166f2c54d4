"""The administration: users, projects and keys, channels, settings, and how the monitor itself is."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from tocsin.app import accounts, contacts, health, installation, projects, verification
from tocsin.app.overview import pulse
from tocsin.app.refused_keys import refused_lately
from tocsin.app.work import Work
from tocsin.channels import NEEDS
from tocsin.channels.working import working_channels
from tocsin.domain.access import Role
from tocsin.domain.contact_method import CHANNELS
from tocsin.web.console.page import Form, Redirected, Shown, Visit
from tocsin.web.reading import invalid, part_id

Line = Annotated[str, msgspec.Meta(max_length=2000)]
Secret = Annotated[str, msgspec.Meta(max_length=1000)]
_PROJECT = re.compile(r"0|[1-9][0-9]{0,9}")
MAX_PROJECT = 2**31 - 1
USERS = "/admin/users"
PROJECTS = "/admin/projects"


class UserForm(Form):
    """A new user. Without a password they cannot sign in with one."""

    email: Line = ""
    name: Line = ""
    role: Role = Role.RESPONDER
    password: Secret | None = None


class RoleForm(Form):
    """What a user is here for."""

    role: Role


class PasswordForm(Form):
    """A new password."""

    password: Secret = ""


class MethodForm(Form):
    """A new way to reach a user."""

    channel: Line
    address: Line = ""


class RuleForm(Form):
    """After how many minutes a page goes over a contact method."""

    method: Line
    minutes: Annotated[int, msgspec.Meta(ge=0, le=1440)] = 0


class NameForm(Form):
    """A new project."""

    name: Line = ""


class KeyForm(Form):
    """A new key, in the place of all others or beside them."""

    others: bool = False


# --- the monitor itself ----------------------------------------------------------------------------------------


async def show(work: Work, visit: Visit) -> Shown:
    """Show how the monitor itself is."""
    context = {
        "pulse": await pulse(work),
        "condition": await health.condition(work),
        "dead": await health.dead_jobs(work),
        "working": working_channels(work.settings),
        "channels": CHANNELS,
        "users": len(await accounts.list_users(work, visit.actor)),
        "projects": len(await projects.list_projects(work, visit.actor)),
    }
    return Shown("admin.html", context)


# --- users -----------------------------------------------------------------------------------------------------


async def show_users(work: Work, visit: Visit) -> Shown:
    """Show everybody."""
    return Shown("admin_users.html", {"users": await accounts.list_users(work, visit.actor), "roles": [*Role]})


async def add_user(work: Work, visit: Visit) -> Redirected:
    """Add a user."""
    form = visit.said(UserForm)
    name = form.name or form.email.partition("@")[0]
    user_id = await accounts.add_user(
        work, visit.actor, email=form.email, name=name, role=form.role, password=form.password
    )
    return Redirected(f"{USERS}/{user_id}")


async def show_user(work: Work, visit: Visit) -> Shown:
    """Show one user: their role, and how they are reached."""
    user = await accounts.show_user(work, visit.actor, part_id(visit.path("user"), "user"))
    context = {
        "user": user,
        "roles": [*Role],
        "methods": await contacts.list_methods(work, visit.actor, user.email),
        "rules": await contacts.list_rules(work, visit.actor, user.email),
        "channels": CHANNELS,
        "working": working_channels(work.settings),
    }
    return Shown("admin_user.html", context)


async def _email(work: Work, visit: Visit) -> str:
    return (await accounts.show_user(work, visit.actor, part_id(visit.path("user"), "user"))).email


def _to_user(visit: Visit) -> Redirected:
    return Redirected(f"{USERS}/{part_id(visit.path('user'), 'user')}")


async def set_role(work: Work, visit: Visit) -> Redirected:
    """Change what a user is here for."""
    await accounts.set_role(work, visit.actor, await _email(work, visit), visit.said(RoleForm).role)
    return _to_user(visit)


async def set_password(work: Work, visit: Visit) -> Redirected:
    """Give a user a new password; their sessions end."""
    await accounts.set_password(work, visit.actor, await _email(work, visit), visit.said(PasswordForm).password)
    return _to_user(visit)


async def shut_out(work: Work, visit: Visit) -> Redirected:
    """Shut a user out."""
    await accounts.set_active(work, visit.actor, await _email(work, visit), active=False)
    return _to_user(visit)


async def let_in(work: Work, visit: Visit) -> Redirected:
    """Let a user in again."""
    await accounts.set_active(work, visit.actor, await _email(work, visit), active=True)
    return _to_user(visit)


async def add_method(work: Work, visit: Visit) -> Redirected:
    """Add a way to reach a user, over which a code is sent."""
    form = visit.said(MethodForm)
    if form.channel not in CHANNELS:
        raise invalid("channel", f"must be one of {', '.join(CHANNELS)}")
    await contacts.add_method(work, visit.actor, await _email(work, visit), form.channel, form.address)
    return _to_user(visit)


async def remove_method(work: Work, visit: Visit) -> Redirected:
    """Remove a way to reach a user."""
    await contacts.remove_method(work, visit.actor, _method(visit))
    return _to_user(visit)


async def send_test(work: Work, visit: Visit) -> Redirected:
    """Send a test over a contact method."""
    await verification.send_test(work, visit.actor, _method(visit))
    return _to_user(visit)


async def send_code(work: Work, visit: Visit) -> Redirected:
    """Send another code over a contact method."""
    await verification.send_code(work, visit.actor, _method(visit))
    return _to_user(visit)


async def add_rule(work: Work, visit: Visit) -> Redirected:
    """Add a notification rule."""
    form = visit.said(RuleForm)
    method = part_id(form.method, "contact method")
    await contacts.add_rule(work, visit.actor, method, timedelta(minutes=form.minutes))
    return _to_user(visit)


async def remove_rule(work: Work, visit: Visit) -> Redirected:
    """Remove a notification rule."""
    await contacts.remove_rule(work, visit.actor, part_id(visit.path("rule"), "notification rule"))
    return _to_user(visit)


def _method(visit: Visit) -> UUID:
    return part_id(visit.path("method"), "contact method")


# --- projects --------------------------------------------------------------------------------------------------


async def show_projects(work: Work, visit: Visit) -> Shown:
    """Show every project."""
    context = {
        "projects": await projects.list_projects(work, visit.actor),
        "refused": await refused_lately(work, visit.actor),
    }
    return Shown("admin_projects.html", context)


async def add_project(work: Work, visit: Visit) -> Shown:
    """Add a project, and show its key this once."""
    project_id, key = await projects.add_project(work, visit.actor, visit.said(NameForm).name)
    return await _shown_project(work, visit, project_id, key)


async def show_project(work: Work, visit: Visit) -> Shown:
    """Show a project with its keys."""
    return await _shown_project(work, visit, _project(visit), None)


async def _shown_project(work: Work, visit: Visit, project_id: int, key: str | None) -> Shown:
    context = {
        "project": await projects.show_project(work, visit.actor, project_id),
        "keys": await projects.list_keys(work, visit.actor, project_id),
        "refused": {one.key_id: one for one in await refused_lately(work, visit.actor, project_id)},
        "key": key,
        "dsn": projects.dsn(work.settings.base_url, key, project_id) if key is not None else None,
        "base_url": work.settings.base_url,
        "installation": work.settings,
    }
    return Shown("admin_project.html", context)


def _project(visit: Visit) -> int:
    text = visit.path("project")
    if not _PROJECT.fullmatch(text) or int(text) > MAX_PROJECT:
        raise invalid("project", "is named by its number, such as 1")
    return int(text)


async def add_key(work: Work, visit: Visit) -> Shown:
    """Make a key, and show it this once."""
    rotated = await projects.rotate_key(work, visit.actor, _project(visit), keep_old=not visit.said(KeyForm).others)
    return await _shown_project(work, visit, _project(visit), rotated.key)


async def revoke_key(work: Work, visit: Visit) -> Redirected:
    """End a key."""
    await projects.revoke_key(work, visit.actor, _project(visit), part_id(visit.path("key"), "key"))
    return Redirected(f"{PROJECTS}/{_project(visit)}")


# --- channels and settings -------------------------------------------------------------------------------------


async def show_channels(work: Work, visit: Visit) -> Shown:
    """Show over which channels messages can leave, and one's own contact methods to try them with."""
    working = working_channels(work.settings)
    mine = await contacts.list_methods(work, visit.actor, None)
    rows = [
        (channel, channel in working, NEEDS.get(channel, ""), [one for one in mine if one.channel == channel])
        for channel in CHANNELS
    ]
    return Shown("admin_channels.html", {"rows": rows})


async def try_channel(work: Work, visit: Visit) -> Redirected:
    """Send oneself a test."""
    await verification.send_test(work, visit.actor, _method(visit))
    return Redirected("/admin/channels")


async def show_settings(work: Work, visit: Visit) -> Shown:
    """Show every setting with its source."""
    return Shown("admin_settings.html", {"settings": await installation.list_settings(work, visit.actor)})
