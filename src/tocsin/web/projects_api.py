"""Projects over HTTP, for superadmins: their keys, and what each decides for itself.

An answer that shows a new key is not remembered for an Idempotency-Key: of a key only the hash is kept anywhere.
"""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from tocsin.app import projects
from tocsin.app.work import Work
from tocsin.errors import Code, refuse
from tocsin.web.documents import (
    AddKeyBody,
    AddProjectBody,
    ChangeProjectBody,
    KeyDocument,
    KeyListAnswer,
    NewKeyAnswer,
    ProjectAnswer,
    ProjectDetailDocument,
    ProjectDocument,
    ProjectListAnswer,
    RevokedAnswer,
    RevokedDocument,
    shown,
)
from tocsin.web.endpoint import Call
from tocsin.web.reading import part_id

_PROJECT = re.compile(r"[0-9]{1,9}")


async def list_projects(work: Work, call: Call) -> ProjectListAnswer:
    """List every project."""
    return ProjectListAnswer([shown(ProjectDocument, row) for row in await projects.list_projects(work, call.actor)])


async def show_project(work: Work, call: Call) -> ProjectAnswer:
    """Show one project with what it decides for itself."""
    return await _shown_project(work, call, _project_id(call))


async def change_project(work: Work, call: Call) -> ProjectAnswer:
    """Change what is named, and leave the rest."""
    project_id, body = _project_id(call), call.said(ChangeProjectBody)
    if body.name is not UNSET:
        await projects.rename_project(work, call.actor, project_id, body.name)
    if body.dedup_window_seconds is not UNSET:
        seconds = body.dedup_window_seconds
        window = timedelta(seconds=seconds) if seconds is not None else None
        await projects.set_dedup_window(work, call.actor, project_id, window)
    if body.incident_threshold is not UNSET:
        await projects.set_incident_threshold(work, call.actor, project_id, body.incident_threshold)
    if body.severity_rules is not UNSET:
        await projects.set_severity_rules(work, call.actor, project_id, body.severity_rules or [])
    if body.field_mapping is not UNSET:
        await projects.set_field_mapping(work, call.actor, project_id, body.field_mapping)
    return await _shown_project(work, call, project_id)


async def _shown_project(work: Work, call: Call, project_id: int) -> ProjectAnswer:
    return ProjectAnswer(shown(ProjectDetailDocument, await projects.show_project(work, call.actor, project_id)))


async def add_project(call: Call) -> Response:
    """Add a project and show its first key, once."""
    async with call.services.app.work() as work:
        project_id, key = await projects.add_project(work, call.actor, call.said(AddProjectBody).name)
    return _new_key(call, project_id, key, 0)


async def add_key(call: Call) -> Response:
    """Give a project another key and show it, once; the others may be revoked in the same breath."""
    project_id, body = _project_id(call), call.said(AddKeyBody)
    async with call.services.app.work() as work:
        made = await projects.rotate_key(work, call.actor, project_id, keep_old=not body.revoke_others)
    return _new_key(call, project_id, made.key, made.revoked)


def _new_key(call: Call, project_id: int, key: str, revoked: int) -> Response:
    line = projects.dsn(call.services.app.settings.base_url, key, project_id)
    body = msgspec.json.encode(NewKeyAnswer(project_id, key, line, revoked))
    return Response(body, 201, media_type="application/json")


async def list_keys(work: Work, call: Call) -> KeyListAnswer:
    """List a project's keys by how they begin."""
    rows = await projects.list_keys(work, call.actor, _project_id(call))
    return KeyListAnswer([shown(KeyDocument, row) for row in rows])


async def revoke_key(work: Work, call: Call) -> RevokedAnswer:
    """Revoke a key of a project."""
    project_id, key_id = _project_id(call), part_id(call.path("keyId"), "key")
    revoked = await projects.revoke_key(work, call.actor, project_id, key_id)
    return RevokedAnswer(project_id, shown(RevokedDocument, revoked))


def _project_id(call: Call) -> int:
    text = call.path("projectId")
    if not _PROJECT.fullmatch(text):
        raise refuse(Code.NOT_FOUND, f"There is no project {text[:50]!r}.", "A project's id is a number: see the DSN.")
    return int(text)
