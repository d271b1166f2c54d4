"""Holds off who guesses passwords. Kept in the memory of one process: several servers count each on their own."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

from tocsin.domain.plural import number_of
from tocsin.errors import Code, refuse

WINDOW = timedelta(minutes=15)
MAX_FAILURES = 10
"""Failures of one e-mail from one address within WINDOW."""
MAX_FAILURES_OF_ADDRESS = 50
"""Failures from one address within WINDOW, whatever the e-mails: an office shares one address."""
MAX_KEYS = 10_000
"""Keys kept; beyond it the one that was used longest ago is forgotten."""


class SignInThrottle:
    """Counts failed sign-ins. An attempt counts as failed until it is said to have succeeded.

    So a hundred guesses at the same instant are not a hundred free ones.
    """

    def __init__(
        self,
        too_many: str = "Too many failed sign-ins.",
        hint: str = "If the password is lost, a superadmin can set a new one.",
    ) -> None:
        self._too_many, self._hint = too_many, hint
        self._attempts: OrderedDict[str, list[datetime]] = OrderedDict()

    def begin(self, address: str, email: str, now: datetime) -> None:
        """Count an attempt; raise RATE_LIMITED, with the seconds to wait, when there were too many."""
        limits = _keys(address, email)
        waits = [self._wait(key, limit, now) for key, limit in limits.items()]
        if wait := max(waits):
            seconds = int(wait.total_seconds()) + 1
            raise refuse(
                Code.RATE_LIMITED,
                self._too_many,
                f"Wait {number_of(seconds, 'second')}. {self._hint}",
                retryAfterSeconds=seconds,
            )
        for key in limits:
            self._attempts.setdefault(key, []).append(now)
            self._attempts.move_to_end(key)
        while len(self._attempts) > MAX_KEYS:
            self._attempts.popitem(last=False)

    def take_back(self, address: str, email: str, now: datetime) -> None:
        """Forget the attempt that began at `now`: it did not fail because of the password."""
        for key in _keys(address, email):
            attempts = self._attempts.get(key, [])
            if now in attempts:
                attempts.remove(now)

    def _wait(self, key: str, limit: int, now: datetime) -> timedelta:
        """Return how long until this key may try again; zero if it may now."""
        recent = [at for at in self._attempts.get(key, []) if at > now - WINDOW]
        if not recent:
            self._attempts.pop(key, None)
            return timedelta()
        self._attempts[key] = recent
        return recent[-limit] + WINDOW - now if len(recent) >= limit else timedelta()


def _keys(address: str, email: str) -> dict[str, int]:
    network = _network(address)
    return {f"{network} {email.lower()}": MAX_FAILURES, network: MAX_FAILURES_OF_ADDRESS}


def _network(address: str) -> str:
    """Return the address; of an IPv6 address its /64, which is what one customer gets."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(int(parsed) >> 64) if isinstance(parsed, IPv6Address) else address
