"""What the tests of those outside share: a client that may reach loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from tocsin.address_guard import AddressGuard
from tocsin.outside.http import Http


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    """Requests to peers on this machine."""
    async with Http(AddressGuard((ip_network("127.0.0.0/8"),)), timeout_seconds=10.0) as opened:
        yield opened
