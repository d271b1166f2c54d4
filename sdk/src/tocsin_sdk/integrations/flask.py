"""Flask: reports what a view raises, before Flask turns it into a page."""

from __future__ import annotations

from flask import Flask, got_request_exception, request

from tocsin_sdk import current
from tocsin_sdk.integrations.requests import as_utf8, request_details


def install(app: Flask) -> None:
    """Listen to Flask's signal for this application."""
    got_request_exception.connect(_report, app)


def _report(_sender: Flask, exception: BaseException, **_: object) -> None:
    client = current()
    if client is None:
        return
    details = request_details(
        request.method,
        request.path,
        as_utf8(request.query_string.decode("latin-1")),
        request.headers.get("traceparent", ""),
        str(request.url_rule or ""),
    )
    client.capture_exception(exception, handled=False, details=details)
