"""A program of Debian's that serves HTTP on a port of its own choosing, until the test is over."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

START_SECONDS = 30.0
STOP_SECONDS = 10.0

_LISTENING = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')


def needs(program: str) -> pytest.MarkDecorator:
    """Skip the tests where the program is not installed; the reason says what to install."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs Debian's package {program}")


@contextmanager
def serving(program: str, arguments: Sequence[str], log: Path) -> Iterator[int]:
    """Run a program of the Prometheus family and give the port that it says it listens on."""
    with log.open("wb") as output:
        command = [program, *arguments, "--web.listen-address=127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        yield _port(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = monotonic() + START_SECONDS
    while monotonic() < end:
        listening = _LISTENING.search(log.read_text())
        if listening:
            return int(listening[1])
        assert process.poll() is None, log.read_text()
        sleep(0.05)
    raise AssertionError(log.read_text())
