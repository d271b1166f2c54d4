"""Makes pages of templates. What anybody wrote is escaped: the templates have no other way to show it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import jinja2
import msgspec
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from tocsin import __version__
from tocsin.domain.access import Permission
from tocsin.domain.plural import number_of
from tocsin.web.console.assets import Asset
from tocsin.web.direction import straight

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    # With no-referrer a browser says of our own forms that they come from nowhere (Fetch, "append a request Origin").
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NAVIGATION = (
    ("/", "Home", Permission.READ),
    ("/incidents", "Incidents", Permission.READ),
    ("/learning", "Learning", Permission.READ),
    ("/oncall", "On call", Permission.READ),
    ("/audit", "Audit", Permission.AUDIT),
    ("/admin", "Admin", Permission.ADMINISTER),
)
"""The pages that every page leads to, and what it takes to be led there."""
_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Renderer:
    """The templates, each compiled when it is first needed."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = assets

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("tocsin.web.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=straight,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(
            moment=moment,
            countdown=countdown,
            number_of=number_of,
            lasting=lasting,
            thousands=thousands,
            commands=commands,
            wall=wall,
        )
        environment.globals.update(
            asset=lambda name: self._assets[name].path,
            version=__version__,
            navigation=lambda: NAVIGATION,
            address=address,
        )
        return environment

    def page(self, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
        """Return a page with the headers that every page has."""
        return HTMLResponse(self._environment.get_template(template).render(context), status, headers=_HEADERS)


def moment(instant: datetime) -> Markup:
    """Return an instant as people and programs read it; with JavaScript it tells how long ago that is as well."""
    utc = instant.astimezone(UTC)
    return Markup('<time datetime="{}" class="moment">{} UTC</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M:%S")
    )


def wall(instant: datetime, zone: ZoneInfo) -> Markup:
    """Return an instant as the clock on the wall of a zone shows it: `Mon 7 Dec 09:00`."""
    local = instant.astimezone(zone)
    return Markup('<time datetime="{}">{}</time>').format(
        instant.astimezone(UTC).isoformat(timespec="seconds"), local.strftime("%a %-d %b %H:%M")
    )


def countdown(instant: datetime) -> Markup:
    """Return an instant to come; with JavaScript the time that is left until then, second by second."""
    utc = instant.astimezone(UTC)
    return Markup('<time datetime="{}" class="countdown">at {} UTC</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M:%S")
    )


def lasting(duration: timedelta) -> str:
    """Return a duration in its two largest units: `2 h 5 min`."""
    rest, parts = int(max(duration.total_seconds(), 0)), []
    for seconds, unit in _SECONDS:
        if rest >= seconds:
            parts.append(f"{rest // seconds} {unit}")
            rest %= seconds
    return " ".join(parts[:2]) or "0 s"


def thousands(number: int) -> str:
    """Return a number with its digits in groups."""
    return f"{number:,}"


def address(query: Any, **changed: object) -> str:
    """Return what follows the question mark in the address of a list: what was asked, but for what is changed."""
    said = msgspec.to_builtins(query) | changed
    return urlencode({name: value for name, value in said.items() if value}, doseq=True)


def commands(text: str) -> Markup:
    """Return a text in which `…` is a command to copy."""
    command = Markup("<code>{}</code>")
    return Markup().join(command.format(part) if index % 2 else part for index, part in enumerate(text.split("`")))
