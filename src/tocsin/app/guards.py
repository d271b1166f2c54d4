"""Are the guards of the record those that the migrations of this version made, and is the schema hardened?"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.store import guards, migrate
from tocsin.store.database import Tx

MAX_FAULTS = 100


@dataclass(frozen=True, slots=True)
class GuardReport:
    """What became of the guards.

    Args:
        hardened: the schema is hardened against its owner (hardening.sql), be the hardening whole or broken.
        faults: what is missing, added or changed, in words; at most MAX_FAULTS of `faults_in_all`.
        comparable: False where a newer Tocsin has migrated the database, which knows its guards and we do not.
    """

    hardened: bool
    faults: tuple[str, ...] = ()
    faults_in_all: int = 0
    comparable: bool = True


async def examine_guards(tx: Tx) -> GuardReport:
    """Compare the guards with the list that comes with the package; trusts no function of the database."""
    found = await guards.read(tx)
    if found.newest_migration > migrate.migrations()[-1].version:
        return GuardReport(found.hardened, comparable=False)
    faults = guards.faults(found)
    return GuardReport(found.hardened, tuple(faults[:MAX_FAULTS]), len(faults))
