"""The yardstick of intake: plain rows, one by one, a commit each, sent by PostgreSQL's own pgbench."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection

from tocsin.embedded import binaries

MORE_SECONDS = 60.0
"""Beyond its time: for its connections to be made and to end."""
_CREATE = (
    "CREATE TABLE IF NOT EXISTS public.plain_rows (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text NOT NULL)"
)
_STORE_AS_IT_IS = "ALTER TABLE public.plain_rows ALTER COLUMN body SET STORAGE PLAIN"
_SCRIPT = "INSERT INTO public.plain_rows (body) VALUES (:body);\n"
_RATE = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^latency average = ([0-9.]+) ms", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Inserted:
    """Rows a second, and how long one took on average."""

    rate: float
    latency_ms: float


async def insert_rows(superuser: str, directory: Path, *, row_bytes: int, clients: int, seconds: float) -> Inserted:
    """Insert rows of this size for some seconds over as many connections as there are clients."""
    async with await AsyncConnection.connect(superuser, autocommit=True) as connection:
        await connection.execute(_CREATE)
        await connection.execute(_STORE_AS_IT_IS)
    script = directory / "insert.sql"
    script.write_text(_SCRIPT)
    body = "".join(chr(ord("a") + index * 251 % 26) for index in range(row_bytes))
    process = await asyncio.create_subprocess_exec(
        binaries.installed() / "pgbench",
        *("--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2", f"--time={max(round(seconds), 1)}"),
        *(f"--file={script}", f"--define=body={body}", superuser),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + MORE_SECONDS):
            said, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    rate, latency = _RATE.search(said.decode()), _LATENCY.search(said.decode())
    if process.returncode or rate is None or latency is None:
        raise RuntimeError(f"pgbench failed: {complaints.decode()[-500:]}")
    return Inserted(float(rate[1]), float(latency[1]))
