"""WSGI: reports what an application raises, while it answers or while its answer is read, and lets it pass on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Callable

from tocsin_sdk import current
from tocsin_sdk.integrations.requests import as_utf8, request_details

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class TocsinWSGI:
    """Middleware: `app = TocsinWSGI(app)`."""

    def __init__(self, app: Application) -> None:
        """Wrap an application."""
        self._app = app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Run the application; what it raises is reported and raised on."""
        try:
            answer = self._app(environ, start_response)
        except Exception as error:
            report(error, environ)
            raise
        # A list cannot fail while it is read, and servers know its length.
        return answer if isinstance(answer, (list, tuple)) else _Answer(answer, environ)


class _Answer:
    """An answer that is read piece by piece: each piece may fail."""

    def __init__(self, answer: Iterable[bytes], environ: Environ) -> None:
        self._answer, self._environ = answer, environ

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer
        except Exception as error:
            report(error, self._environ)
            raise

    def close(self) -> None:
        close = getattr(self._answer, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            report(error, self._environ)
            raise


def report(error: BaseException, environ: Environ) -> None:
    """Report what a request raised; the WSGI environment says which request."""
    if (client := current()) is None:
        return
    path = as_utf8(str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", "")))
    method, query = str(environ.get("REQUEST_METHOD", "")), as_utf8(str(environ.get("QUERY_STRING", "")))
    details = request_details(method, path, query, str(environ.get("HTTP_TRACEPARENT", "")))
    client.capture_exception(error, handled=False, details=details)
