"""Answers in fewer bytes, for who takes them: brotli or gzip, as Accept-Encoding says (RFC 9110, 12.5.3).

Over plain http browsers take gzip alone. Pages are compressed as they are sent, files once.
"""

from __future__ import annotations

import gzip
from enum import StrEnum

import brotli  # type: ignore[import-untyped]  # it brings no types
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

VARY = "Accept-Encoding"
SMALLEST_BYTES = 1_000
"""Less fits into one packet anyway."""
_QUICK = 4
"""The quality of brotli, and the level of gzip, for what is compressed while somebody waits: a millisecond or two."""
_SMALL = {"br": 11, "gzip": 9}


class Coding(StrEnum):
    """How a body is compressed, the best first."""

    BROTLI = "br"
    GZIP = "gzip"


def coding_for(request: Request) -> Coding | None:
    """Return the best coding that a client takes, None where it takes none."""
    taken = {}
    for said in ",".join(request.headers.getlist("accept-encoding")).lower().split(","):
        name, _, weight = said.partition(";")
        taken[name.strip()] = weight.replace(" ", "").rstrip("0.") != "q="
    others = taken.get("*", False)
    return next((coding for coding in Coding if taken.get(coding, others)), None)


def compressed(content: bytes, coding: Coding, *, small: bool = False) -> bytes:
    """Return a body in a coding; `small` takes its time."""
    if coding is Coding.BROTLI:
        result: bytes = brotli.compress(content, quality=_SMALL[coding] if small else _QUICK)
        return result
    return gzip.compress(content, _SMALL[coding] if small else _QUICK, mtime=0)


def smaller(request: Request, response: Response) -> Response:
    """Return a page in fewer bytes, if its reader takes them; any other answer as it is.

    What another site asked for with words of its own is left whole: from the length of what shows its guess beside
    what it may not read it could learn that (BREACH).
    """
    if not isinstance(response, HTMLResponse) or len(response.body) < SMALLEST_BYTES:
        return response
    response.headers["Vary"] = VARY
    coding = None if _from_elsewhere(request) else coding_for(request)
    if coding is not None:
        response.body = compressed(bytes(response.body), coding)
        response.headers["Content-Encoding"] = coding
        response.headers["Content-Length"] = str(len(response.body))
    return response


def _from_elsewhere(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site", "none")
    return site not in ("same-origin", "none") and bool(request.url.query)
