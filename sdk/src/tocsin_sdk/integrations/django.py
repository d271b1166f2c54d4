"""Django: reports what a view or a middleware raises, before Django turns it into a page."""

from __future__ import annotations

from typing import Any

from django.core.signals import got_request_exception  # type: ignore[import-untyped]

from tocsin_sdk import current
from tocsin_sdk.integrations.requests import as_utf8, request_details


def install() -> None:
    """Listen to Django's signal; call it once, say at the end of the settings, after `tocsin_sdk.init`."""
    got_request_exception.connect(_report, dispatch_uid="tocsin_sdk")


def _report(request: Any = None, **_: object) -> None:
    client = current()
    if client is None:
        return
    if request is None:
        client.capture_exception(handled=False)
        return
    route = getattr(getattr(request, "resolver_match", None), "route", "") or ""
    query, trace = as_utf8(request.META.get("QUERY_STRING", "")), request.headers.get("traceparent", "")
    client.capture_exception(handled=False, details=request_details(request.method, request.path, query, trace, route))
