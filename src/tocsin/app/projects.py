"""Projects: the keys that open them, and what each decides for itself over the installation's settings.

Superadmins change both; intake asks for them with every request and believes an answer for FRESH_SECONDS.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import msgspec

from tocsin import ids
from tocsin.app.lanes import HOLD_SECONDS, Lane
from tocsin.app.refused_keys import RefusedKeys
from tocsin.app.work import App, Work, secret_hash
from tocsin.clock import monotonic_seconds
from tocsin.domain.access import Actor, Permission, require
from tocsin.domain.incident import Severity
from tocsin.domain.policy import checked_line
from tocsin.domain.project import Project
from tocsin.domain.severity_rules import parse_rules
from tocsin.domain.workflow import checked_text
from tocsin.errors import Code, TocsinError, refuse
from tocsin.intake.field_mapping import parse_mapping
from tocsin.settings import Settings
from tocsin.store import projects
from tocsin.store.projects import INTERNAL_PROJECT_ID, KeyedRow, KeyRow, ProjectRow, RulesRow

ProjectRef = int | str
"""A project's id or name."""
KNOWN_PATIENCE_SECONDS = 1.0
"""How long a key that was good waits to be asked for again, before it is believed."""
MAX_LOOKUPS = 50
FRESH_SECONDS = 2.0
"""How long a key that was looked up is believed: a revoked one stops within that time."""
MAX_KNOWN_KEYS = 10_000
MAX_NAME_CHARACTERS = 200
MAX_VALID_KEYS = 100
"""Keys of one project that are valid at a time."""
SHOWN_KEY_CHARACTERS = 6
"""How much of a key is kept readable, so that people can tell one from another."""
MAX_DEDUP_WINDOW = timedelta(days=1)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL in JSON; PostgreSQL cannot store one."""


@dataclass(frozen=True, slots=True)
class ProjectDetail:
    """A project, how many of its keys are valid, and what it decides for itself; None is the installation's setting."""

    id: int
    name: str
    created_at: datetime
    keys: int
    dedup_window_seconds: int | None
    incident_threshold: Severity | None
    severity_rules: list[Any]
    field_mapping: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Rotated:
    """A project's new key, and how many others it replaced."""

    key: str
    revoked: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """A key that opens nothing any more, and how many valid ones its project has left."""

    id: UUID
    key_prefix: str
    left: int


async def add_project(work: Work, actor: Actor, name: str) -> tuple[int, str]:
    """Add a project with its first intake key; return both. The key cannot be shown again."""
    require(actor, Permission.ADMINISTER)
    return await insert_project(work, await _free_name(work, name), ids.new_key())


async def insert_project(work: Work, name: str, key: str) -> tuple[int, str]:
    """Insert a project with a key; return both. The first start has nobody in whose name it could be added."""
    project_id = await projects.insert(work.tx, name, work.now)
    await _insert_key(work, project_id, key)
    return project_id, key


async def rename_project(work: Work, actor: Actor, project_id: int, name: str) -> None:
    """Give a project another name. Project 0 keeps its own: messages lead people there by it."""
    require(actor, Permission.ADMINISTER)
    row = await _locked(work, project_id)
    if project_id == INTERNAL_PROJECT_ID:
        raise refuse(Code.CONFLICT, f"Project {INTERNAL_PROJECT_ID} is where Tocsin reports its own failures.")
    if checked_text("name", name)[:MAX_NAME_CHARACTERS] != row.name:
        await projects.rename(work.tx, project_id, await _free_name(work, name))


async def _free_name(work: Work, name: str) -> str:
    """Return a name as it is stored; raise INVALID when it is none, CONFLICT when it is taken."""
    name = checked_text("name", name)[:MAX_NAME_CHARACTERS]
    if await projects.by_name(work.tx, name) is not None:
        raise refuse(
            Code.CONFLICT, f"There is a project {name} already.", "See which there are: `tocsin projects list`."
        )
    return name


async def list_projects(work: Work, actor: Actor) -> list[ProjectRow]:
    """Return every project."""
    require(actor, Permission.READ)
    return await projects.listed(work.tx)


async def first_project(work: Work, actor: Actor) -> ProjectRow | None:
    """Return the oldest project that is not Tocsin's own, if there is one."""
    own = (one for one in await list_projects(work, actor) if one.id != INTERNAL_PROJECT_ID)
    return min(own, key=lambda one: one.id, default=None)


async def show_project(work: Work, actor: Actor, project_id: int) -> ProjectDetail:
    """Return one project with what it decides for itself; raise NOT_FOUND."""
    require(actor, Permission.READ)
    row = await projects.with_keys(work.tx, project_id)
    rules = await projects.get(work.tx, project_id)
    if row is None or rules is None:
        raise _no_project(project_id)
    return ProjectDetail(
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        keys=row.keys,
        dedup_window_seconds=rules.dedup_window_seconds,
        incident_threshold=Severity(rules.incident_threshold) if rules.incident_threshold else None,
        severity_rules=rules.severity_rules,
        field_mapping=rules.field_mapping,
    )


async def list_keys(work: Work, actor: Actor, project_id: int) -> list[KeyRow]:
    """Return a project's keys by how they begin, the valid ones first; never the keys themselves."""
    require(actor, Permission.ADMINISTER)
    if await projects.get(work.tx, project_id) is None:
        raise _no_project(project_id)
    return await projects.keys(work.tx, project_id)


async def add_key(work: Work, actor: Actor, project_id: int) -> str:
    """Add an intake key to a project and return it; it cannot be shown again."""
    return (await rotate_key(work, actor, project_id, keep_old=True)).key


async def rotate_key(work: Work, actor: Actor, project_id: int, *, keep_old: bool = False) -> Rotated:
    """Add an intake key to a project and revoke all others, unless the old ones are kept until they are revoked.

    Raises NOT_FOUND, or CONFLICT when more than MAX_VALID_KEYS would be valid.
    """
    require(actor, Permission.ADMINISTER)
    await _locked(work, project_id)
    revoked = 0 if keep_old else await projects.revoke_keys(work.tx, project_id, work.now)
    if len(_valid(await projects.keys(work.tx, project_id))) >= MAX_VALID_KEYS:
        raise refuse(
            Code.CONFLICT,
            f"Project {project_id} has {MAX_VALID_KEYS} valid keys: no more than that are needed.",
            f"Revoke those that nobody uses: `tocsin projects keys {project_id}`.",
        )
    key = ids.new_key()
    await _insert_key(work, project_id, key)
    return Rotated(key, revoked)


async def revoke_key(work: Work, actor: Actor, project_id: int, which: UUID | str) -> Revoked:
    """Revoke a valid key of a project, named by its id or by how it begins; intake refuses it within FRESH_SECONDS.

    Raises NOT_FOUND, or CONFLICT when several keys begin like this.
    """
    require(actor, Permission.ADMINISTER)
    await _locked(work, project_id)
    valid = _valid(await projects.keys(work.tx, project_id))
    found = [key for key in valid if key.id == which or (isinstance(which, str) and _begins(key, which))]
    if len(found) > 1:
        raise refuse(
            Code.CONFLICT,
            f"{len(found)} valid keys of project {project_id} begin with {which!r}.",
            f"Name it by more of its beginning, or by its id: `tocsin projects keys {project_id}`.",
        )
    if not found:
        named = which if isinstance(which, UUID) else f"that begins with {which[:SHOWN_KEY_CHARACTERS]!r}"
        hint = (
            f"Its first {SHOWN_KEY_CHARACTERS} characters and its id are shown by `tocsin projects keys {project_id}`."
        )
        raise refuse(Code.NOT_FOUND, f"Project {project_id} has no valid key {named}.", hint)
    await projects.revoke_key(work.tx, project_id, found[0].id, work.now)
    return Revoked(found[0].id, found[0].key_prefix, len(valid) - 1)


def _begins(key: KeyRow, text: str) -> bool:
    return bool(text) and key.key_prefix.startswith(text)


def _valid(keys: Sequence[KeyRow]) -> list[KeyRow]:
    return [key for key in keys if key.revoked_at is None]


async def set_dedup_window(work: Work, actor: Actor, project_id: int, window: timedelta | None) -> None:
    """Change for how long a report joins even a closed incident; None follows the installation's setting."""
    require(actor, Permission.ADMINISTER)
    row = await _locked(work, project_id)
    if window is not None and not timedelta() <= window <= MAX_DEDUP_WINDOW:
        raise _invalid("dedupWindowSeconds", f"must be 0 to {int(MAX_DEDUP_WINDOW.total_seconds())} seconds")
    seconds = int(window.total_seconds()) if window is not None else None
    await projects.set_rules(work.tx, replace(row, dedup_window_seconds=seconds))


async def set_incident_threshold(work: Work, actor: Actor, project_id: int, threshold: Severity | None) -> None:
    """Change from which severity a report opens an incident; None follows the installation's setting."""
    require(actor, Permission.ADMINISTER)
    row = await _locked(work, project_id)
    if threshold is Severity.CRITICAL:
        raise _invalid("incidentThreshold", "must be LOW, MEDIUM or HIGH: a HIGH error always opens an incident")
    await projects.set_rules(work.tx, replace(row, incident_threshold=threshold.value if threshold else None))


async def set_severity_rules(work: Work, actor: Actor, project_id: int, document: object) -> None:
    """Change a project's severity rules, given as JSON; an empty list removes them. Raises INVALID."""
    require(actor, Permission.ADMINISTER)
    row = await _locked(work, project_id)
    rules = [rule.document() for rule in parse_rules(document)]
    await projects.set_rules(work.tx, replace(row, severity_rules=_storable("severityRules", rules)))


async def set_field_mapping(work: Work, actor: Actor, project_id: int, document: object | None) -> None:
    """Change where a foreign JSON keeps what, given as JSON; None lets Tocsin guess. Raises INVALID."""
    require(actor, Permission.ADMINISTER)
    row = await _locked(work, project_id)
    mapping: Any = document
    if document is not None:
        parse_mapping(document)
        mapping = _storable("fieldMapping", document)
    await projects.set_rules(work.tx, replace(row, field_mapping=mapping))


def _storable(field: str, document: Any) -> Any:
    if _NUL.search(msgspec.json.encode(document)):
        raise _invalid(field, "must not contain NUL characters")
    return document


def _invalid(field: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{field} {problem}.", errors=[{"field": field, "problem": problem}])


async def _locked(work: Work, project_id: int) -> RulesRow:
    row = await projects.get(work.tx, project_id) if await projects.lock(work.tx, project_id) else None
    if row is None:
        raise _no_project(project_id)
    return row


async def _insert_key(work: Work, project_id: int, key: str) -> None:
    await projects.insert_key(
        work.tx,
        key_id=work.new_id(),
        project_id=project_id,
        key_hash=secret_hash(key),
        key_prefix=key[:SHOWN_KEY_CHARACTERS],
        now=work.now,
    )


def dsn(base_url: str, key: str, project_id: int) -> str:
    """Return what clients are given: the URL with the key before the host and the project after the path."""
    url = urlsplit(base_url)
    return urlunsplit((url.scheme, f"{key}@{url.netloc}", f"{url.path.rstrip('/')}/{project_id}", "", ""))


def _no_project(project_id: int) -> TocsinError:
    return refuse(Code.NOT_FOUND, f"There is no project {project_id}.", "List them: `tocsin projects list`.")


async def find_project(work: Work, ref: ProjectRef) -> int:
    """Return the id of a project that is named, or given by its id; raise NOT_FOUND."""
    if isinstance(ref, int):
        project_id = ref if await projects.get(work.tx, ref) is not None else None
    else:
        project_id = await projects.by_name(work.tx, checked_line("project", ref, MAX_NAME_CHARACTERS))
    if project_id is None:
        raise refuse(Code.NOT_FOUND, f"There is no project {ref}.", "List them: `tocsin projects list`.")
    return project_id


async def rules_of(work: Work, project_id: int) -> Project:
    """Return a project; raise NOT_FOUND."""
    row = await projects.get(work.tx, project_id)
    if row is None:
        raise _no_project(project_id)
    return project_of(row, work.settings)


def project_of(row: RulesRow, settings: Settings) -> Project:
    """Return a project with the installation's settings where it decides nothing for itself."""
    window = row.dedup_window_seconds
    threshold = row.incident_threshold
    return Project(
        id=row.id,
        name=row.name,
        dedup_window=timedelta(seconds=window) if window is not None else settings.dedup_window_time,
        incident_threshold=Severity(threshold) if threshold else settings.incident_threshold,
        severity_rules=parse_rules(row.severity_rules),
        field_mapping=parse_mapping(row.field_mapping) if row.field_mapping is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    project: Project
    at_seconds: float


class IntakeKeys:
    """The intake keys that were used lately, so that a request need not ask the database for its project.

    While the database cannot be reached, a key that was good is still believed: its reports wait, and are not refused.
    """

    def __init__(self, app: App, refused: RefusedKeys) -> None:
        self._app = app
        self._refused = refused
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._lookups: Lane[bytes, KeyedRow | None] = Lane(self._look_up, max_items=MAX_LOOKUPS)

    async def project(self, key: str) -> Project | None:
        """Return the project that a key opens; None, and count it, when it opens none."""
        digest = secret_hash(key)
        known = self._known.get(digest)
        now = monotonic_seconds()
        if known is not None:
            if now - known.at_seconds < FRESH_SECONDS:
                return known.project
            # One request asks; those beside it go on with what was known.
            self._known[digest] = _Known(known.project, now)
        row = await self._looked_up(digest, known)
        if isinstance(row, Project):
            return row
        if row is None or row.revoked:
            self._refused.count(row.key_id if row else None)
            self._known.pop(digest, None)
            return None
        project = project_of(row, self._app.settings)
        self._known[digest] = _Known(project, now)
        self._known.move_to_end(digest)
        if len(self._known) > MAX_KNOWN_KEYS:
            self._known.popitem(last=False)
        return project

    async def _looked_up(self, digest: bytes, known: _Known | None) -> KeyedRow | Project | None:
        """Return what the database says of a key; while it is away, what was known, or wait for it as reports do."""
        patience = KNOWN_PATIENCE_SECONDS if known is not None else HOLD_SECONDS
        try:
            (row,) = await self._lookups.put(0, [digest], hold_seconds=patience)
        except TocsinError as error:
            if error.refusal.code is not Code.UNAVAILABLE or known is None:
                raise
            return known.project
        return row

    async def _look_up(self, digests: Sequence[bytes]) -> Sequence[KeyedRow | None]:
        async with self._app.database.single() as tx:
            return [await projects.of_key(tx, digest) for digest in digests]
