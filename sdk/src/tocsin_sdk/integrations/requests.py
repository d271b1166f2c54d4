"""What a report says of the request that failed: the method and the place, never headers or bodies."""

from __future__ import annotations

from tocsin_sdk.bounds import ELLIPSIS
from tocsin_sdk.report import Details
from tocsin_sdk.scrub import SCRUBBED, is_secret_name

MAX_QUERY_CHARACTERS = 2_048


def request_details(method: str, path: str, query: str = "", traceparent: str = "", route: str = "") -> Details:
    """Return the method, path and query of a request, and the trace it belongs to (W3C Trace Context)."""
    request = {"method": method, "path": path, "query": _without_secrets(query), "route": route}
    parts = traceparent.split("-")
    return Details(
        context={"request": {name: text for name, text in request.items() if text}},
        trace_id=parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else "",
    )


def as_utf8(text: str) -> str:
    """Return a path or query as it was meant: WSGI hands on its bytes as Latin-1 (PEP 3333), browsers write UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:  # It has been decoded already, or it is not UTF-8.
        return text


def _without_secrets(query: str) -> str:
    if len(query) > MAX_QUERY_CHARACTERS:  # Half a value might be half a secret.
        query = query[:MAX_QUERY_CHARACTERS].rpartition("&")[0] + "&" + ELLIPSIS
    pairs = (pair.partition("=") for pair in query.split("&"))
    return "&".join(name + sign + (SCRUBBED if is_secret_name(name) else value) for name, sign, value in pairs)
