"""The small program that really fails in `tocsin demo`: a shop with two bugs, and a plain Sentry client.

Run as `python -m tocsin.cli.demo_program DSN BUG`, with BUG `checkout` or `payment`.
"""

from __future__ import annotations

import sys

import sentry_sdk

STOCK = {"lamp": 3, "chair": 0}
ORDERS_PER_BUG = 5


def reserve(article: str) -> int:
    """Take an article from the stock. The bug: nobody asked what happens with one that the shop does not have."""
    return STOCK[article]


def checkout(order: int, article: str) -> None:
    """Check an order out."""
    try:
        reserve(article)
    except KeyError as error:
        raise RuntimeError(f"order {order} cannot be checked out") from error


def pay(order: int) -> float:
    """Split the price of an order. The bug: an order without positions."""
    positions: list[float] = []
    return 100.0 / len(positions) + order


def main(dsn: str, bug: str) -> None:
    """Fail a few times in the same way; each failure is captured and the program goes on, as servers do."""
    sentry_sdk.init(dsn=dsn, release="shop@1.4.2", environment="production", default_integrations=False)
    for order in range(1000, 1000 + ORDERS_PER_BUG):
        try:
            checkout(order, "table") if bug == "checkout" else pay(order)
        except (RuntimeError, ZeroDivisionError) as error:
            sentry_sdk.capture_exception(error, level="fatal" if bug == "payment" else "error")
    sentry_sdk.flush(timeout=10)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
