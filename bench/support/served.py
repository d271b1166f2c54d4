"""`tocsin serve` and `tocsin worker` as their operators run them: the command itself, in processes of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

from tocsin.clock import monotonic_seconds
from tocsin.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 40.0
LAST_WORDS_CHARACTERS = 2_000
_COMMAND = [sys.executable, "-c", "from tocsin.cli.main import run; run()"]
_READY_AT = re.compile(r"Tocsin is running at (\S+)")
_WORKS = re.compile(r"Worker (\S+) is running")


@dataclass(frozen=True, slots=True)
class Served:
    """Where the web half answers, and the process ids of both halves."""

    url: str
    web: int
    worker: int

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80


@contextmanager
def served(directory: Path, settings: Settings, logs: Path) -> Iterator[Served]:
    """Run both on the database of a directory that has had its first start; what they say goes to files in `logs`."""
    environment = _environment(directory, settings)
    with program([*_COMMAND, "serve", "--port", "0"], logs / "serve.log", environment) as web:
        url = said(web, logs / "serve.log", _READY_AT)
        with program([*_COMMAND, "worker"], logs / "worker.log", environment) as worker:
            said(worker, logs / "worker.log", _WORKS)
            yield Served(url, web.pid, worker.pid)


def _environment(directory: Path, settings: Settings) -> dict[str, str]:
    """Return our environment without its settings of Tocsin, and with these. Secrets are the benchmark's own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    mail = {name: getattr(settings, name) for name in ("smtp_host", "smtp_port", "smtp_security", "smtp_sender")}
    given = {name: str(value) for name, value in mail.items() if value is not None}
    if settings.secret_key is not None:
        given["secret_key"] = settings.secret_key.get_secret_value()
    given |= {"data_dir": str(directory), "pool_size": str(settings.pool_size)}
    return ours | {f"TOCSIN_{name.upper()}": value for name, value in given.items()}


@contextmanager
def program(command: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, its words in a file beside which it works; it is told to stop at the end, then made to."""
    with log.open("wb") as words:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=dict(environment), cwd=log.parent
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said(process: subprocess.Popen[bytes], log: Path, words: re.Pattern[str]) -> str:
    """Wait until a program says these words, and return their first group. Raises RuntimeError when it does not."""
    deadline = monotonic_seconds() + START_SECONDS
    while process.poll() is None and monotonic_seconds() < deadline:
        if found := words.search(log.read_text(errors="replace")):
            return found[1]
        sleep(0.05)
    raise RuntimeError(
        f"{log.stem} did not start. Its last words:\n{log.read_text(errors='replace')[-LAST_WORDS_CHARACTERS:]}"
    )
