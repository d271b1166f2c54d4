"""How this installation is set up: each setting with its value and where that comes from; secrets stay hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from pydantic import SecretStr

from tocsin.app.work import Work
from tocsin.domain.access import Actor, Permission, require
from tocsin.settings import Settings, Source, sources_of

_PASSWORD = re.compile(r"//[^/@\s]*@")
_SECRET_PLACES = frozenset({"watchdog_url", "watchdog_fail_url", "log_s3_access_key", "bootstrap_key"})
"""Whoever knows these can do something with them, though they are texts."""
MAX_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class SettingView:
    """A setting as it may be shown."""

    name: str
    value: str
    source: Source
    description: str


async def list_settings(work: Work, actor: Actor) -> list[SettingView]:
    """Return every setting with its value and its source."""
    require(actor, Permission.ADMINISTER)
    sources = sources_of(work.settings)
    return [
        SettingView(
            f"TOCSIN_{name.upper()}",
            _shown(name, getattr(work.settings, name)),
            sources[name],
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def _shown(name: str, value: object) -> str:
    if value is None or value == ():
        return "not set"
    if isinstance(value, SecretStr) or name in _SECRET_PLACES:
        return "set, hidden"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ", ".join(map(str, cast("tuple[object, ...]", value))) if isinstance(value, tuple) else str(value)
    return _PASSWORD.sub("//…@", text)[:MAX_SHOWN_CHARACTERS]
