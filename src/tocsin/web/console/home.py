"""The first page: what burns, who has it, what gets louder when, and how the monitor itself is; and the live stream."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from tocsin.app import projects
from tocsin.app.overview import look_over, pulse
from tocsin.app.work import Work
from tocsin.errors import Code, refuse
from tocsin.web.console.page import Shown, Visit


async def home(work: Work, visit: Visit) -> Shown:
    """Show the overview; until there is a first incident, how to send one, and to which project."""
    as_of = await pulse(work)
    overview = await look_over(work, visit.actor, visit.services.machinery)
    project = None if overview.begun else await projects.first_project(work, visit.actor)
    dsn = projects.dsn(work.settings.base_url, "KEY", project.id) if project else None
    return Shown("home.html", {"pulse": as_of, "overview": overview, "project": project, "dsn": dsn})


class LiveQuery(msgspec.Struct):
    """The pulse that the page was made at; without it, only what comes from now on is news."""

    pulse: Annotated[str, msgspec.Meta(max_length=64)] = ""


async def live(visit: Visit) -> Response:
    """Tell the page whenever something has changed, since it was made."""
    if visit.services.live.is_full:
        raise refuse(Code.UNAVAILABLE, "Too many pages listen already.", "This one still looks from time to time.")
    return visit.services.live.stream(visit.asked(LiveQuery).pulse or None)
