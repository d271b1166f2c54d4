"""What the tests of the client library share: a server that records, and programs in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.receiving import PATIENCE_SECONDS, Receiver, receiving

SOURCE = Path(__file__).parents[2] / "sdk" / "src"
KEY = "0123456789abcdef0123456789abcdef"
BEGIN = """
import os, signal, sys, threading, time
import tocsin_sdk
spool = os.environ["SPOOL"]
tocsin_sdk.init(service="shop", environment="test", release="1.2.3", max_capture_seconds=10, spool_directory=spool)
"""
"""The disk of a machine that runs tests may be slow: only the test of that bound has it as short as it is elsewhere."""


@pytest.fixture
def server() -> Iterator[Receiver]:
    """A server that takes everything, until its script says otherwise; it stands in for the database's `server`."""
    with receiving() as receiver:
        yield receiver


@dataclass(frozen=True)
class Programs:
    """Runs programs that report to one server from one spool."""

    spool: Path
    port: int

    def start(self, source: str, *arguments: object, begin: str = BEGIN, **variables: str) -> subprocess.Popen[str]:
        """Start a program that has called `init`."""
        script = self.spool.parent / f"program{len(list(self.spool.parent.glob('program*')))}.py"
        script.write_text(begin + source)
        path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "error",
            "TOCSIN_DSN": f"http://{KEY}@127.0.0.1:{self.port}/1",
            "SPOOL": str(self.spool),
            "TOCSIN_SPOOL": str(self.spool.parent / "spools"),
        }
        command = [sys.executable, str(script), *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment | variables, **pipes)

    def run(self, source: str, *arguments: object, begin: str = BEGIN, **variables: str) -> Ended:
        """Run a program to its end."""
        with self.start(source, *arguments, begin=begin, **variables) as program:
            try:
                output, errors = program.communicate(timeout=PATIENCE_SECONDS)
            finally:
                program.kill()
        return Ended(program.returncode, output, errors)


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    output: str
    errors: str


@pytest.fixture
def programs(tmp_path: Path, server: Receiver) -> Programs:
    """Programs that report to the server."""
    return Programs(tmp_path / "spool", server.port)


def reports(server: Receiver) -> list[dict[str, Any]]:
    """Return the reports that were taken, each event id once, as the server counts them."""
    by_id: dict[str, dict[str, Any]] = {}
    for request in list(server.taken):
        assert request.path == "/api/v1/errors"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        for line in request.body.splitlines():
            report = json.loads(line)
            by_id.setdefault(report["eventId"], report)
    return list(by_id.values())


def messages(server: Receiver) -> Counter[str]:
    """Return how often each message was taken."""
    return Counter(report["message"] for report in reports(server))
