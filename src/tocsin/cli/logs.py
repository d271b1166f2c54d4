"""Where the programs' own words go: standard error. Lines for people on a terminal, JSON for collectors elsewhere."""

from __future__ import annotations

import logging
import sys


def quiet() -> None:
    """Keep the libraries' warnings out of a short command: what matters of them arrives as its refusal."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(name)s: %(message)s", force=True)


def for_services() -> None:
    """Log for a program that runs on, such as `tocsin up`."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    import structlog  # noqa: PLC0415  # a tenth of a second that short commands need not spend

    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        # A plain traceback: the pretty one prints the values of variables, secrets among them.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
