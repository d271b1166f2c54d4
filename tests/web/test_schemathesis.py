"""schemathesis, a program that knows only /openapi.json, finds no 5xx and no undocumented answer."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import ADMIN_TOKEN, INTAKE_KEY
from tests.web.conftest import Live
from tocsin.app.leases import worker_seen
from tocsin.ids import new_id
from tocsin.signing.signer import Signer
from tocsin.worker.log_keeper import LogKeeper

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))
API = "^/api/(admin|incidents|auth|projects|policies|routes|silences|intake|schedules|notifications)"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


async def _run(live: Live, folder: Path, *options: str) -> tuple[int | None, str]:
    program = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        *("run", f"{live.url}/openapi.json", "--checks", CHECKS, "--phases", "examples,coverage,fuzzing"),
        *("--generation-deterministic", "--max-examples", "12"),
        *("--no-color", "--continue-on-failure", *options),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "CI"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await program.communicate()
    return program.returncode, output.decode()


async def test_nothing_undocumented_is_answered_to_the_superadmin(live: Live, tmp_path: Path) -> None:
    await live.open_incident()
    authorization = f"Authorization:Bearer {ADMIN_TOKEN}"
    signer = Signer(tmp_path / "signer")
    signer.make("example.org/tocsin")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        # Without it there is no evidence, which rightly is a 503.
        group.create_task(LogKeeper(live.app, signer, "test").run(stop))
        code, output = await _run(live, tmp_path, "--header", authorization, "--include-path-regex", API)
        stop.set()
    assert code == 0, output[-8_000:]


async def test_nothing_undocumented_is_answered_by_intake_and_operations(live: Live, tmp_path: Path) -> None:
    await worker_seen(live.app, new_id(), "a worker, without which the server rightly is not ready")
    authorization = f"Authorization:Bearer {INTAKE_KEY}"
    code, output = await _run(live, tmp_path, "--header", authorization, "--exclude-path-regex", API)
    assert code == 0, output[-8_000:]
