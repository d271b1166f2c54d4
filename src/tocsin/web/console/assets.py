"""The console's own files: their addresses carry a hash of what they hold, so that browsers keep them for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tocsin.web.compression import VARY, Coding, coding_for, compressed

PREFIX = "/assets/"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """One file, and the same in fewer bytes in every coding."""

    name: str
    media_type: str
    content: bytes
    codings: Mapping[Coding, bytes]

    @property
    def path(self) -> str:
        """Return the address under which this very content is found."""
        stem, _, suffix = self.name.rpartition(".")
        return f"{PREFIX}{stem}.{hashlib.sha256(self.content).hexdigest()[:16]}.{suffix}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the file."""
        coding = coding_for(Request(scope))
        headers = {"Cache-Control": _FOR_EVER, "Vary": VARY}
        if coding is not None:
            headers["Content-Encoding"] = coding
        body = self.content if coding is None else self.codings[coding]
        await Response(body, headers=headers, media_type=self.media_type)(scope, receive, send)


@cache
def load_assets() -> Mapping[str, Asset]:
    """Return every file of `static` by its name. They are compressed once in a process, at their very best."""
    assets = {}
    for file in files("tocsin.web.console").joinpath("static").iterdir():
        suffix = "." + file.name.rpartition(".")[2]
        if suffix in _MEDIA_TYPES:
            content = file.read_bytes()
            codings = {coding: compressed(content, coding, small=True) for coding in Coding}
            assets[file.name] = Asset(file.name, _MEDIA_TYPES[suffix], content, codings)
    return assets


def apps_of(assets: Mapping[str, Asset]) -> dict[str, ASGIApp]:
    """Return what answers each file's address."""
    return {asset.path: asset for asset in assets.values()}
