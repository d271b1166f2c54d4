"""The schema's state: what a database still lacks, and bringing it up to date."""

from __future__ import annotations

from tocsin.store import guards
from tocsin.store import migrate as migrations


async def pending(conninfo: str) -> list[str]:
    """Return the names of the migrations that this database lacks."""
    return await migrations.pending_migrations(conninfo)


async def bring_up_to_date(conninfo: str) -> list[str]:
    """Apply what is missing; return the names of what was applied."""
    return await migrations.migrate(conninfo)


def hardening() -> str:
    """Return the statements that harden the schema against its owner, for whoever is superuser."""
    return f"BEGIN;\n{guards.hardening().decode()}COMMIT;\n"
