"""Seals: gives what waits for the log its place in it, a batch at a time, with a commitment to the newest entries.

Any number of workers may try; one of them holds the log. Everything of a batch is one transaction: killed anywhere, the
batch is in the log, or it still waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tocsin.app.work import App, Work
from tocsin.domain.log_leaf import Heads, head_leaf
from tocsin.store import log
from tocsin.store.log import Batch, Place, State, Waiting
from tocsin.tlog import sparse
from tocsin.tlog.merkle import leaf_hash

_TOP = (sparse.GROUP_LEVELS - 1, 0)
MAX_BATCH = 20_000
"""Leaves sealed in one transaction: about half a second's work, so that nobody waits long for the lock."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a look at the log did: how many leaves found their place, and how many it has now."""

    leaves: int
    size: int

    @property
    def more_waits(self) -> bool:
        """Tell whether the batch was full."""
        return self.leaves >= MAX_BATCH


async def seal_waiting(app: App) -> Sealed | None:
    """Seal one batch of what waits; return None when nothing does, or another sealer is at it."""
    async with app.database.single() as tx:
        if not await log.is_anything_waiting(tx):
            return None
    async with app.work() as work:
        state = await log.lock(work.tx)
        batch = await log.waiting(work.tx, MAX_BATCH) if state else []
        if state is None or not batch:
            return None
        return Sealed(len(batch), await log.seal(work.tx, await _batch(work, state, batch)))


async def seal_everything(app: App) -> None:
    """Seal until nothing waits: for the demo, tests and tools, in which no worker runs."""
    while await seal_waiting(app):
        pass


async def _batch(work: Work, state: State, batch: list[Waiting]) -> Batch:
    incidents = state.incidents + sum(waiting.sequence == 1 for waiting in batch)
    root, nodes = await _heads_after(work, _newest(batch))
    return Batch(
        size_before=state.size,
        waiting=[waiting.id for waiting in batch],
        heads=Heads(root, incidents).encode(),
        incidents_after=incidents,
        nodes=nodes,
    )


async def _heads_after(work: Work, newest: Mapping[int, bytes]) -> tuple[bytes, Mapping[Place, bytes]]:
    """Return the root of the head tree with these leaves in it, and the groups of its nodes that change."""
    if not newest:
        return sparse.root_of(await log.head_nodes(work.tx, [_TOP])), {}
    update = sparse.update(await log.head_nodes(work.tx, sparse.groups_of(newest)), newest)
    return update.root, update.groups


def _newest(batch: Iterable[Waiting]) -> dict[int, bytes]:
    """Return the leaf of the head tree for each incident of a batch: of its entries the last one stays."""
    newest = {waiting.number: waiting for waiting in batch if waiting.number is not None}
    return {
        number: leaf_hash(head_leaf(number, last.incident_id or "", last.sequence or 0, last.checksum))
        for number, last in newest.items()
    }
