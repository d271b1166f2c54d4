"""FastAPI and Starlette: reports what an endpoint raises, before the framework turns it into a page."""

from __future__ import annotations

from starlette.applications import Starlette

from tocsin_sdk.integrations.asgi import TocsinASGI


def install(app: Starlette) -> None:
    """Add the middleware, before the application has answered its first request."""
    app.add_middleware(TocsinASGI)
