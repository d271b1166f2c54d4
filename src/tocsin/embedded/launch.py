"""Starting a keeper, and what it reports to the one that started it until its server is ready.

The report is a pipe with one JSON object a line: {"progress": text} any number of times, then either
{"refused": {code, message, hint}} or nothing more. The pipe closes when the server is ready, when the keeper has ended,
or when another keeper holds the office. Text that is no JSON is a traceback: it is shown, not lost.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType

from tocsin.embedded.layout import Layout
from tocsin.embedded.locks import FileLock
from tocsin.errors import Code, Refusal, TocsinError, refuse

_MAX_REPORT_BYTES = 100_000
_TRACEBACK_LINES = 3
_TAKE_OFFICE_SECONDS = 60.0
"""The keeper does it in a tenth of a second; more than that only on a machine in distress."""


def keeper_is_absent(layout: Layout) -> bool:
    """Return whether no keeper is in office. Raises OSError."""
    with closing(FileLock(layout.keeper_lock)) as office:
        return office.try_shared()


class Launch:
    """A keeper on its way, seen by the process that started it. A context manager: leaving it stops listening only."""

    def __init__(self, layout: Layout, programs: Path, settings: Mapping[str, str]) -> None:
        """Start the keeper, detached: in a session of its own, so Ctrl-C does not reach it. Raises OSError."""
        self._layout = layout
        self._unread = b""
        self._read = 0
        self._noise: list[str] = []
        self._refusal: Refusal | None = None
        self.ended = False
        command = [sys.executable, "-P", "-m", "tocsin.embedded.keeper", str(layout.data_dir), str(programs)]
        command += [f"--set={name}={value}" for name, value in settings.items()]
        reading, writing = os.pipe()
        self._pipe = reading
        try:
            _start(command, writing, layout)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)

    def __enter__(self) -> Launch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._pipe)

    def listen(self, seconds: float, progress: Callable[[str], None]) -> None:
        """Wait so long for news and pass it on.

        Raises TocsinError when the keeper could not start the server, and has ended for that reason.
        """
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return
        chunk = os.read(self._pipe, 65_536)
        self._read += len(chunk)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            self._hear(line.decode(errors="replace"), progress)
        if not chunk or self._read > _MAX_REPORT_BYTES:
            self.ended = True
            self._raise_what_it_died_of()

    def _hear(self, line: str, progress: Callable[[str], None]) -> None:
        try:
            news = json.loads(line)
        except ValueError:
            self._noise.append(line)
            return
        if "refused" in news:
            refused = news["refused"]
            self._refusal = Refusal(Code(refused["code"]), refused["message"], refused["hint"])
        else:
            progress(news["progress"])

    def _raise_what_it_died_of(self) -> None:
        if self._refusal:
            raise TocsinError(self._refusal)
        if self._noise:
            raise refuse(
                Code.UNAVAILABLE,
                f"The keeper of the embedded PostgreSQL in {self._layout.data_dir} failed: "
                + "\n".join(self._noise[-_TRACEBACK_LINES:]),
                f"This is a defect of Tocsin: please report it, together with {self._layout.log_file}",
            )


def _start(command: list[str], output: int, layout: Layout) -> None:
    """Run the process that takes the keeper's lock, forks the keeper, and ends at once."""
    try:
        subprocess.run(  # noqa: S603 - this very program
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            check=False,  # why it failed comes through the pipe
            timeout=_TAKE_OFFICE_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise refuse(
            Code.UNAVAILABLE,
            f"The keeper of the embedded PostgreSQL in {layout.data_dir} did not take office within "
            f"{_TAKE_OFFICE_SECONDS:.0f} s",
            "This machine is too busy, or its disk does not answer: try again",
        ) from error


def _environment() -> dict[str, str]:
    """Return our environment with the place of this very package first: `-P` keeps the working directory out."""
    here = str(Path(__file__).resolve().parents[2])
    there = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{there}" if there else here}
