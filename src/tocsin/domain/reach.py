"""How a person is reached: their contact methods and notification rules → what goes over which, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

AT_ONCE = timedelta(0)
LONGEST_DELAY = timedelta(days=1)
MAX_METHODS = 20
MAX_RULES = 20


@dataclass(frozen=True, slots=True)
class Method:
    """A contact method; `verified_at` is None until a code that was sent over it came back."""

    id: UUID
    channel: str
    address: str
    verified_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rule:
    """A notification rule: after how long over which contact method, while nobody has acknowledged."""

    after: timedelta
    contact_method_id: UUID


@dataclass(frozen=True, slots=True)
class Reach:
    """Everything that it takes to page a person. Methods are in the order in which they were added."""

    user_id: UUID
    name: str
    role: str
    active: bool
    methods: tuple[Method, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Planned:
    """One notification of a page: over which contact method, how long after the page was owed."""

    method: Method
    after: timedelta


def usable(reach: Reach) -> tuple[Method, ...]:
    """Return the verified contact methods; while there are none, all: better an unverified address than nobody."""
    return tuple(method for method in reach.methods if method.verified_at is not None) or reach.methods


def plan(reach: Reach) -> tuple[Planned, ...]:
    """Return what a page to this person consists of, earliest first; empty only if they cannot be reached at all.

    Rules over methods that are gone or not usable count for nothing. At least one notification goes at once: where no
    rule that counts says so, every usable method is used at once, and the later rules hold besides.
    """
    if not reach.active:
        return ()
    methods = {method.id: method for method in usable(reach)}
    wanted = {(rule.after, rule.contact_method_id) for rule in reach.rules if rule.contact_method_id in methods}
    if not any(after <= AT_ONCE for after, _ in wanted):
        wanted |= {(AT_ONCE, method_id) for method_id in methods}
    order = {method_id: place for place, method_id in enumerate(methods)}
    return tuple(
        Planned(methods[method_id], after)
        for after, method_id in sorted(wanted, key=lambda one: (one[0], order[one[1]]))
    )
