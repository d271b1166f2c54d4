"""Saved views: lists of incidents that somebody named, for themselves alone."""

from __future__ import annotations

from uuid import UUID

from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.errors import Code, TocsinError, refuse
from tocsin.store import views
from tocsin.store.views import SavedView

__all__ = ["MAX_NAME_CHARACTERS", "MAX_QUERY_CHARACTERS", "MAX_VIEWS", "SavedView", "list_views", "remove", "save"]

MAX_VIEWS = 50
MAX_NAME_CHARACTERS = 100
MAX_QUERY_CHARACTERS = 2_000


async def list_views(work: Work, actor: Actor) -> list[SavedView]:
    """Return the actor's own views, by name."""
    require(actor, Permission.READ)
    return await views.of_user(work.tx, actor.user_id, MAX_VIEWS)


async def save(work: Work, actor: Actor, name: str, query: str) -> None:
    """Save a view under a name, in the place of one that has it.

    `query` must have been read as a list's query before: what is saved can be opened.
    """
    require(actor, Permission.READ)
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise _invalid("name", f"must be 1 to {MAX_NAME_CHARACTERS} printable characters")
    if len(query) > MAX_QUERY_CHARACTERS or not query.isprintable():
        raise _invalid("query", f"must be at most {MAX_QUERY_CHARACTERS} printable characters")
    if await views.count(work.tx, actor.user_id, beside=name) >= MAX_VIEWS:
        raise refuse(Code.CONFLICT, f"You have {MAX_VIEWS} saved views already.", "Remove one of them first.")
    await views.save(work.tx, SavedView(work.new_id(), name, query), actor.user_id, work.now)


async def remove(work: Work, actor: Actor, view_id: UUID) -> None:
    """Remove one of the actor's own views; raise NOT_FOUND."""
    require(actor, Permission.READ)
    if not await views.remove(work.tx, actor.user_id, view_id):
        raise refuse(Code.NOT_FOUND, "There is no such view of yours.", "It may have been removed in another tab.")


def _invalid(name: str, problem: str) -> TocsinError:
    return refuse(Code.INVALID, f"{name} {problem}.", errors=[{"field": name, "problem": problem}])
