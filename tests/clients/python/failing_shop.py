"""A program that fails, with the installed sentry-sdk: `failing_shop.py DSN`. It ends by an exception."""

from __future__ import annotations

import logging
import sys

import sentry_sdk

FLUSH_SECONDS = 10
sentry_sdk.init(
    dsn=sys.argv[1],
    release="shop@1.2.3",
    environment="production",
    server_name="web-1",
    shutdown_timeout=FLUSH_SECONDS,
)

SCHEDULE = {"schedule": {"type": "crontab", "value": "0 3 * * *"}, "timezone": "Europe/Vienna", "max_runtime": 10}


@sentry_sdk.monitor(monitor_slug="nightly-backup", monitor_config=SCHEDULE)  # type: ignore[arg-type]  # a literal type
def backup() -> None:
    raise OSError("the tape is full")


@sentry_sdk.monitor(monitor_slug="stocktaking", monitor_config=SCHEDULE)  # type: ignore[arg-type]
def count_stock() -> None:
    """Succeed."""


count_stock()
try:
    backup()
except OSError as error:
    sentry_sdk.capture_exception(error)
logging.getLogger("shop.pay").error("card of customer %s was refused by %s", 4711, "the bank")
raise RuntimeError("the shop burned down")
