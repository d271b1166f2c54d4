"""A small program that really fails, in every way that its SDK knows to report. Run with a DSN."""

from __future__ import annotations

import logging
import sys
from typing import Any

import sentry_sdk

logger = logging.getLogger("shop.pay")


def find(order: int) -> None:
    raise KeyError(f"no such order {order}")


def pay(order: int) -> None:
    try:
        find(order)
    except KeyError as error:
        raise ValueError(f"cannot pay order {order}") from error


def descend(depth: int) -> None:
    descend(depth + 1)


def close_the_books() -> None:
    raise ExceptionGroup("many", [ValueError("a"), TypeError("b")])


def drop_the_boring(event: Any, hint: Any) -> Any:
    return None if event.get("message") == "boring" else event


def main(dsn: str) -> None:
    sentry_sdk.init(
        dsn=dsn,
        release="shop@1.2.3",
        environment="production",
        server_name="till-1",
        before_send=drop_the_boring,
        shutdown_timeout=60,  # by default it gives up after two seconds, and a busy machine takes longer
    )
    sentry_sdk.capture_message("plain words", level="warning")
    sentry_sdk.capture_message("boring")
    for order in (17, 4711):
        try:
            pay(order)
        except ValueError as error:
            sentry_sdk.capture_exception(error)
    logger.error("could not pay order %s for %s", 17, "bob")
    logger.critical("no parameters here")
    try:
        pay(18)
    except ValueError:
        logger.exception("boom %d", 18)
    try:
        descend(0)
    except RecursionError as error:
        sentry_sdk.capture_exception(error)
    try:
        close_the_books()
    except ExceptionGroup as error:
        sentry_sdk.capture_exception(error)
    sentry_sdk.set_user({"id": 5, "email": "bob@example.org"})
    sentry_sdk.set_tag("region", "eu")
    sentry_sdk.set_extra("basket", {"items": [1, 2]})
    for number in range(30):
        sentry_sdk.add_breadcrumb(message=f"step {number}")
    with sentry_sdk.new_scope() as scope:
        scope.fingerprint = ["{{ default }}", "refund"]
        scope.set_transaction_name("/refund")
        sentry_sdk.capture_message("grouped by the client", level="fatal")
    raise OSError("the shop burned down")


if __name__ == "__main__":
    main(sys.argv[1])
