"""Data directories that every account can reach, and the certainty that nothing keeps running in them."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.observed import eventually, processes


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the account which PostgreSQL runs under can enter; pytest's own are closed to it.

    Afterwards nothing may run in it, however the test ended.
    """
    directory = Path(tempfile.mkdtemp(prefix="tocsin-embedded-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    for pid, line in processes(directory).items():
        if "embedded.keeper" in line:
            os.kill(pid, signal.SIGTERM)  # no grace: the next test waits
    eventually(lambda: not processes(directory))
    shutil.rmtree(directory)


@pytest.fixture
def data_dir(place: Path) -> Path:
    """A data directory that is not there yet."""
    return place / "data"
