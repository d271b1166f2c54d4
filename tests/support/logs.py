"""The log as a stranger would check it: read from the tables and recomputed without the product's own checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from tocsin.domain.log_leaf import Heads, head_leaf
from tocsin.tlog import sparse
from tocsin.tlog.merkle import leaf_hash, root_of

_ENTRIES = """
SELECT l.index, l.leaf_hash, l.number, l.sequence, l.kind, l.leaf, e.checksum, i.number AS real_number,
       e.sequence AS real_sequence, e.incident_id::text
FROM tocsin.log_entries l LEFT JOIN tocsin.incident_lifecycle e ON e.id = l.entry_id
LEFT JOIN tocsin.incidents i ON i.id = e.incident_id ORDER BY l.index
"""


@dataclass(frozen=True, slots=True)
class Log:
    """The leaf hashes of the log in their order, how many wait, and the root of each checkpoint by its size."""

    leaves: list[bytes]
    waiting: int
    checkpoints: dict[int, bytes]


def whole_log(connection: psycopg.Connection[Any]) -> Log:
    """Return the log; assert that it has no gap, that each entry is in it once and in its incident's order."""
    leaves: list[bytes] = []
    newest: dict[int, tuple[str, int, str]] = {}
    heads = b""
    for index, leaf, number, sequence, kind, content, checksum, real, step, incident in connection.execute(_ENTRIES):
        assert index == len(leaves), "the log has a gap"
        if kind is None:
            assert (number, sequence, leaf) == (real, step, checksum), f"leaf {index} is not its entry"
            before = newest.get(number, ("", 0, ""))[1]
            assert sequence == before + 1, f"INC-{number} is out of order in the log"
            newest[number] = (incident, sequence, leaf.hex())
        else:
            assert leaf_hash(content) == leaf
            heads = content if kind == "log_heads" else heads
        leaves.append(leaf)
    checkpoints = dict(connection.execute("SELECT size, root FROM tocsin.log_checkpoints ORDER BY size").fetchall())
    log = Log(leaves, _count(connection, "SELECT count(*) FROM tocsin.log_pending"), checkpoints)
    lost = _count(
        connection,
        "SELECT count(*) FROM tocsin.incident_lifecycle e WHERE NOT EXISTS (SELECT FROM tocsin.log_entries l"
        " WHERE l.entry_id = e.id) AND NOT EXISTS (SELECT FROM tocsin.log_pending p WHERE p.entry_id = e.id)",
    )
    assert lost == 0, f"{lost} entries are lost"
    _check_tiles(connection, leaves)
    if newest:
        said = {n: leaf_hash(head_leaf(n, *head)) for n, head in newest.items()}
        assert Heads.parse(heads) == Heads(sparse.update({}, said).root, len(newest))
    for size, root in log.checkpoints.items():
        assert root_of(leaves[:size]) == root, f"checkpoint {size} is of another log"
    return log


def _count(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def _check_tiles(connection: psycopg.Connection[Any], leaves: list[bytes]) -> None:
    stored = {(level, index): hashes for level, index, hashes in connection.execute("TABLE tocsin.log_tiles")}
    expected: dict[tuple[int, int], bytes] = {}
    level, hashes = 0, leaves
    while hashes:
        for at in range(0, len(hashes), 256):
            expected[level, at // 256] = b"".join(hashes[at : at + 256])
        hashes = [root_of(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1
    assert stored == expected
