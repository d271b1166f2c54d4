"""A program that fails as programs do, watched by the real sentry-sdk: prints the envelope that the SDK makes of it.

`python -m bench.support.failing_program`. The word GROUP_WORD stands in the name of the function that fails and in the
lines around it: whoever replaces it by another word has another failure.
"""

from __future__ import annotations

import sys
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

GROUP_WORD = "groupzzzz"
DEPTH = 4
CRUMBS = 16


class ToStandardOutput(Transport):
    """Prints what any other transport would send."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Print the envelope, uncompressed."""
        sys.stdout.buffer.write(envelope.serialize())


def reserve_groupzzzz(order: dict[str, Any], left: int) -> int:
    """Go down some calls, then fail."""
    basket, note = order["basket"], "the customer asked for delivery before noon"
    if left == 0:
        raise ValueError(f"order {order['number']} with {len(basket)} items cannot be shipped: {note}")
    return check_groupzzzz(order, left - 1)


def check_groupzzzz(order: dict[str, Any], left: int) -> int:
    """Look at the order, as every step on the way does."""
    customer = {"name": "Noor", "id": order["number"] % 97, "street": "Kerkstraat 5", "city": "Utrecht"}
    total = sum(item["price"] * item["pieces"] for item in order["basket"])
    return reserve_groupzzzz({**order, "customer": customer, "total": total}, left)


def main() -> None:
    """Fail, be seen."""
    sentry_sdk.init(
        dsn="http://0123456789abcdef0123456789abcdef@127.0.0.1:1/1",
        transport=ToStandardOutput,
        release="shop@1.4.2",
        environment="production",
        server_name="web-3",
        send_client_reports=False,
        auto_session_tracking=False,
    )
    for number in range(CRUMBS):
        statement = f"SELECT id, state, total FROM orders WHERE customer_id = {number} ORDER BY id DESC LIMIT 20"
        sentry_sdk.add_breadcrumb(category="query", message=statement, data={"rows": number, "milliseconds": 1.5})
    sentry_sdk.set_user({"id": "4711"})
    sentry_sdk.set_tag("region", "eu-west")
    basket = [{"sku": f"s-{number:05}", "price": 1.5 * number, "pieces": 2} for number in range(10)]
    try:
        reserve_groupzzzz({"number": 1017, "basket": basket}, DEPTH)
    except ValueError:
        sentry_sdk.capture_exception()
    sentry_sdk.flush()


if __name__ == "__main__":
    main()
