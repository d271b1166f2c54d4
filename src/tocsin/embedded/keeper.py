"""The keeper: one process per data directory that runs PostgreSQL as its child, for as long as anybody uses it.

Internal: started by `launch` as `python -m tocsin.embedded.keeper`. Two locks, both released by the kernel when their
holder dies, say everything that is to be known:

- `keeper.lock`, exclusive: the keeper in office. Only who holds it may create, start, stop or clean up.
- `users.lock`, shared: everybody who uses the server, from before looking for a keeper until leaving.

A user takes `users.lock` first, then looks at `keeper.lock`, starts a keeper if that is free, and looks again in every
round of its waiting. The keeper takes `keeper.lock` first. To leave, it must get `users.lock` *exclusively*, and it
keeps that while it stops the server. So nobody can arrive exactly while the keeper leaves: who came before holds the
lock shared, and the keeper stays; who comes later waits for `users.lock` until the keeper is gone. The keeper gives up
`keeper.lock` before `users.lock`, so that the one who waited finds the office free. No deadlock: the keeper never waits
for `users.lock`, it tries and goes on; and a user never waits for `keeper.lock`.

What dies, and who notices: a user — the kernel frees its share, the keeper sees it in the next round. PostgreSQL — its
parent, the keeper, starts it again. The keeper — the kernel sends PostgreSQL SIGINT, the users' watchdogs start another
keeper, which first ends what is left of the old server.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tocsin.clock import monotonic_seconds
from tocsin.embedded import binaries, cluster
from tocsin.embedded.account import account_for
from tocsin.embedded.layout import Layout
from tocsin.embedded.locks import FileLock, insist
from tocsin.embedded.log import ServerLog
from tocsin.embedded.processes import STOP, die_with_parent
from tocsin.errors import Refusal, TocsinError

_ROUND_SECONDS = 0.1
_GRACE_SECONDS = 1.5
"""How long the server outlives its last user: the next command of a script finds it warm."""

_OFFICE_SECONDS = 1.0
"""Users probe the lock for microseconds; who does not get it in this time has met another keeper."""

_FIRST_ATTEMPTS = 3
_STEADY_SECONDS = 30.0
"""A server that ran this long has not failed to start, however it ended."""

_BACKOFF_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""The pause before each further start of a server that keeps ending; the last one from then on."""


class Report:
    """The keeper's end of the pipe to whoever started it (see `launch`), who may be gone."""

    def __init__(self) -> None:
        self._open = True

    def progress(self, text: str) -> None:
        """Say what is being done."""
        self._say({"progress": text})

    def refused(self, refusal: Refusal) -> None:
        """Say why there will be no server."""
        self._say({"refused": {"code": refusal.code, "message": refusal.message, "hint": refusal.hint}})

    def close(self, log: ServerLog) -> None:
        """Let the listener go: from now on what this process has to say goes to the log."""
        os.dup2(log.descriptor, 1)
        os.dup2(log.descriptor, 2)
        self._open = False

    def _say(self, news: Mapping[str, object]) -> None:
        if self._open:
            try:
                os.write(1, json.dumps(news).encode() + b"\n")
            except BrokenPipeError:  # it was killed; others may be waiting for the server all the same
                self._open = False


class Keeper:
    """Runs the server while it has users. Its holder has `keeper.lock`."""

    def __init__(
        self, layout: Layout, programs: Path, settings: Mapping[str, str], office: FileLock, report: Report
    ) -> None:
        """Open what the keeper needs. Raises OSError."""
        self._layout = layout
        self._programs = programs
        self._settings = settings
        self._office = office
        self._report = report
        self._users = FileLock(layout.users_lock)
        self._log = ServerLog(layout.log_file)
        self._account = account_for(layout)
        self._server: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_after = 0.0
        self._failures = 0
        self._was_ready = False
        self._unused_since: float | None = None
        self._grace_seconds = _GRACE_SECONDS

    def run(self) -> None:
        """Do the whole duty: prepare, run the server, leave. Raises TocsinError, OSError when it cannot start."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._be_quick)
        try:
            self._programs = binaries.reachable(self._programs, self._layout, self._account)
            cluster.ensure(
                self._layout,
                self._programs,
                self._account,
                settings=self._settings,
                log=self._log,
                progress=self._report.progress,
            )
            while not self._may_leave():
                self._tend()
                time.sleep(_ROUND_SECONDS)
        finally:
            self._stop()

    def _be_quick(self, _number: int, _frame: object) -> None:
        """Asked to end, by `systemctl stop` say: the users are asked too and still need the server, but no grace."""
        self._grace_seconds = 0.0

    def _may_leave(self) -> bool:
        """Return whether nobody uses the server any more; if so, `users.lock` is ours until this process ends."""
        if self._office.was_replaced():
            self._log.note("the data directory was removed")
            return True
        if not self._users.try_exclusive():
            self._unused_since = None
            return False
        now = monotonic_seconds()
        if self._unused_since is None:
            self._unused_since = now
        if now - self._unused_since >= self._grace_seconds:
            return True
        self._users.unlock()
        return False

    def _tend(self) -> None:
        now = monotonic_seconds()
        if self._server is None:
            if now >= self._start_after:
                self._start()
        elif self._server.poll() is not None:
            self._note_its_end(self._server.returncode, now)
        elif not self._was_ready and cluster.is_ready(self._layout, str(self._server.pid)):
            self._was_ready = True
            self._report.close(self._log)
        self._log.bound()

    def _start(self) -> None:
        self._report.progress("Starting the embedded PostgreSQL…")
        cluster.make_startable(self._layout, self._account)
        self._server = subprocess.Popen(  # noqa: S603 - the wheel's own program
            cluster.server_command(self._layout, self._programs, self._settings),
            stdin=subprocess.DEVNULL,
            stdout=self._log.descriptor,
            stderr=self._log.descriptor,
            cwd="/",
            env=cluster.ENVIRONMENT,
            start_new_session=True,
            user=self._account.user,
            group=self._account.group,
            extra_groups=self._account.extra_groups,
            preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - this process has one thread
        )
        self._started_at = monotonic_seconds()
        self._office.write(f"{self._server.pid}")

    def _note_its_end(self, status: int, now: float) -> None:
        self._server = None
        steady = self._was_ready and now - self._started_at >= _STEADY_SECONDS
        self._failures = 1 if steady else self._failures + 1
        self._log.note(f"PostgreSQL has ended with status {status}, {self._failures} in a row")
        if not self._was_ready and self._failures >= _FIRST_ATTEMPTS:
            raise cluster.does_not_start(self._layout, self._log.tail())
        self._start_after = now + _BACKOFF_SECONDS[min(self._failures, len(_BACKOFF_SECONDS)) - 1]

    def _stop(self) -> None:
        if self._server is None:
            return
        for number, seconds in STOP:
            self._server.send_signal(number)
            try:
                self._server.wait(seconds)
            except subprocess.TimeoutExpired:
                self._log.note(f"PostgreSQL has not stopped {seconds:.0f} s after {number.name}")
            else:
                return


def main(arguments: list[str]) -> int:
    """Take the office if it is free, and fork the keeper that does the duty; return the status of this process."""
    parser = argparse.ArgumentParser(prog="tocsin.embedded.keeper", description="Internal to Tocsin.")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("programs", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    options = parser.parse_args(arguments)
    layout, report = Layout(options.data_dir), Report()
    try:
        office = FileLock(layout.keeper_lock)
        if not insist(office.try_exclusive, _OFFICE_SECONDS):
            return 0
        office.write("")  # a predecessor's server is not ours: nobody shall take it for the one to use
        # The lock belongs to the open file, so the child has it too: when whoever started us sees this process end,
        # the keeper is in office. And it is nobody's child that would have to be waited for.
        if os.fork() != 0:
            return 0
        settings = dict(setting.split("=", 1) for setting in options.settings)
        keeper = Keeper(layout, options.programs, settings, office, report)
        keeper.run()
        office.close()  # before `users.lock`, which goes with this process
    except TocsinError as error:
        report.refused(error.refusal)
    except OSError as error:
        report.refused(cluster.unusable(layout.data_dir, error).refusal)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
