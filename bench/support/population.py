"""Which incidents there are: how many, which are open, when they began, which failure each one is of.

Everything follows from the number of an incident, so that any process can tell about any of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate

from tocsin.domain.incident import Severity

SPREAD = timedelta(weeks=52)
SECOND = 1_000_000
"""Instants are counted here in microseconds since 1970."""
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
BY_HAND_EVERY = 20
SERVICES = (
    *("checkout", "cart", "catalogue", "payments", "stock", "shipping", "accounts", "invoices", "mailer", "images"),
    *("pricing", "coupons", "reviews", "wishlist", "returns", "suppliers", "warehouse", "labels", "customs", "refunds"),
    *("ratings", "banners", "newsletter", "loyalty", "giftcards", "franking", "packing", "pickup", "routing", "fees"),
    *("exports", "ledgers", "audits", "quotas", "captcha", "geocoder", "sitemap", "feeds", "redirects", "thumbnails"),
)
"""The first has about two incidents of five, the last one in six hundred: some names are frequent words, some rare."""
RECURS_EVERY = 5
SEED = 8420


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who acts; `id` is the text of a UUID."""

    id: str
    name: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class People:
    """Who works here, and who holds which duty."""

    responders: tuple[Person, ...]
    on_call: Person
    supervisor: Person
    director: Person


@dataclass(frozen=True, slots=True)
class Population:
    """Incidents 1 to `incidents`, `open` of them not closed, created in the SPREAD before `now_us`."""

    incidents: int
    open: int
    now_us: int
    project_id: int
    people: People

    @property
    def open_numbers(self) -> frozenset[int]:
        """Return the open ones."""
        return _open_numbers(self.incidents, self.open)

    def created_us(self, number: int) -> int:
        """Return when an incident began; later numbers begin later."""
        step = SPREAD // timedelta(microseconds=1) // self.incidents
        start = self.now_us - step * self.incidents
        return start + (number - 1) * step + _noise(number) % step

    def incident_id(self, number: int) -> str:
        """Return the id of an incident."""
        return id_text(self.created_us(number), _noise(number))

    def severity(self, number: int) -> Severity:
        """Return the severity at which an incident opened."""
        dice = _noise(number) % 100
        if dice < 8:
            return Severity.CRITICAL
        return Severity.HIGH if dice < 85 else Severity.MEDIUM

    def by_hand(self, number: int) -> bool:
        """Tell whether a person opened it."""
        return number % BY_HAND_EVERY == 7

    def earlier(self, number: int) -> int | None:
        """Return the incident of which this one is the recurrence: a closed one, five weeks before."""
        before = number - self._distance
        recurs = number % RECURS_EVERY == 0 and before > 0 and before not in self.open_numbers
        return before if recurs else None

    def recurs(self, number: int) -> bool:
        """Tell whether a later incident is this one's recurrence."""
        later = number + self._distance
        return later <= self.incidents and self.earlier(later) == number

    def root(self, number: int) -> int:
        """Return the first incident of the same failure."""
        while (before := self.earlier(number)) is not None:
            number = before
        return number

    def fingerprint(self, root: int) -> str:
        """Return the fingerprint of the failure that an incident was the first of."""
        return blake2b(b"failure %d" % root, digest_size=32).hexdigest()

    def service(self, root: int) -> str:
        """Return the service that the failure is of which an incident was the first."""
        dice = random.Random(SEED * 1_000_033 + root)
        return dice.choices(SERVICES, cum_weights=_SHARES)[0]

    @property
    def _distance(self) -> int:
        return max(self.incidents // 10 // RECURS_EVERY, 1) * RECURS_EVERY


_SHARES = tuple(accumulate(rank**-1.5 for rank in range(1, len(SERVICES) + 1)))


@lru_cache(maxsize=1)
def _open_numbers(incidents: int, still_open: int) -> frozenset[int]:
    """Draw half of them among the latest (as many as are open), the others anywhere before."""
    dice = random.Random(SEED)
    boundary = incidents - still_open
    recent = dice.sample(range(boundary + 1, incidents + 1), still_open - still_open // 2)
    older = dice.sample(range(1, boundary + 1), still_open // 2)
    return frozenset(recent + older)


def _noise(number: int) -> int:
    return int.from_bytes(blake2b(b"incident %d" % number, digest_size=10).digest())


def id_text(at_us: int, noise: int) -> str:
    """Return a UUID of version 7 as text: the instant, and 74 bits of `noise`."""
    value = ((at_us // 1_000) << 80) | (noise & ((1 << 80) - 1))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # every instant here is UTC; a naive one prints three times as fast


def instant_text(at_us: int) -> str:
    """Return an instant as the record writes it."""
    return (_EPOCH + timedelta(microseconds=at_us)).isoformat(timespec="microseconds") + "Z"


def instant_us(at: datetime) -> int:
    """Return an instant in microseconds."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
