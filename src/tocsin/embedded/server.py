"""Using the embedded server: join, wait until it answers, and get it back should its keeper die."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import psycopg
from psycopg.conninfo import make_conninfo

from tocsin.clock import monotonic_seconds
from tocsin.embedded import binaries, cluster
from tocsin.embedded.launch import Launch, keeper_is_absent
from tocsin.embedded.layout import PORT, Layout
from tocsin.embedded.locks import FileLock, insist
from tocsin.embedded.log import tail
from tocsin.errors import Code, TocsinError, refuse

_log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 120.0
"""How long a start may take: after a crash PostgreSQL replays up to a gigabyte of its log first."""

_ROUND_SECONDS = 0.05
_WATCH_SECONDS = 0.5
_WATCH_AFTER_FAILURE_SECONDS = 5.0
_RECOVERING_AFTER_SECONDS = 2.0
_CONTAINER_STOP_SECONDS = 8.0  # `docker stop` kills after ten

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class EmbeddedServer:
    """A running server that this process uses. It stays while anybody does; `release` when done."""

    superuser = cluster.SUPERUSER
    port = PORT

    def __init__(self, layout: Layout, programs: Path, settings: Mapping[str, str], users: FileLock) -> None:
        """For `acquire`: take over its share of `users.lock`, and watch the keeper from now on."""
        self._layout = layout
        self._programs = programs
        self._settings = settings
        self._users = users
        self._released = threading.Event()
        self._watchdog = threading.Thread(target=self._watch, name="tocsin-embedded-watchdog", daemon=True)
        self._watchdog.start()

    @property
    def socket_dir(self) -> Path:
        """The directory of the Unix socket: what libpq takes as the host."""
        return self._layout.socket_dir

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self._layout.log_file

    def conninfo(self, user: str, dbname: str) -> str:
        """Return a libpq connection string for a role and a database, which the server need not have yet."""
        return _conninfo(self._layout, user, dbname)

    def release(self) -> None:
        """Stop using the server; the last one to do so is followed by the server. May be repeated."""
        if self._released.is_set():
            return
        self._released.set()
        self._watchdog.join()
        self._users.close()
        if os.getpid() == 1:
            # A container ends with its first process, and everything in it at that instant: let the server stop in
            # peace, or its next start has to recover.
            insist(lambda: keeper_is_absent(self._layout), _CONTAINER_STOP_SECONDS)

    def _watch(self) -> None:
        pause = _WATCH_SECONDS
        while not self._released.wait(pause):
            pause = _WATCH_SECONDS
            try:
                if keeper_is_absent(self._layout):
                    _log.warning("The keeper of the embedded PostgreSQL is gone: starting another")
                    self._relaunch()
            except (TocsinError, OSError) as error:
                _log.warning("The embedded PostgreSQL does not come back, trying again: %s", error)
                pause = _WATCH_AFTER_FAILURE_SECONDS

    def _relaunch(self) -> None:
        with Launch(self._layout, self._programs, self._settings) as launch:
            while not launch.ended and not self._released.is_set():
                launch.listen(_WATCH_SECONDS, _log.info)


@contextmanager
def use(
    data_dir: Path,
    *,
    progress: Callable[[str], None] | None = None,
    settings: Mapping[str, str] = _NO_SETTINGS,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Iterator[EmbeddedServer]:
    """Use the embedded server of a data directory within a `with` statement. Arguments and errors as for `acquire`."""
    server = acquire(data_dir, progress=progress, settings=settings, patience_seconds=patience_seconds)
    try:
        yield server
    finally:
        server.release()


def acquire(
    data_dir: Path,
    *,
    progress: Callable[[str], None] | None = None,
    settings: Mapping[str, str] = _NO_SETTINGS,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> EmbeddedServer:
    """Return the server of a data directory, created and started if need be, when it has answered.

    Blocks; the first time ever for a second or two. `progress` is told what is being waited for. `settings` are
    PostgreSQL's, such as {"fsync": "off"} for tests; they hold for the server that this call starts, and a server that
    runs already keeps its own. Raises TocsinError: MISCONFIGURED when the directory or the programs cannot be used,
    UNAVAILABLE when the server does not start or does not answer within `patience_seconds`.
    """
    layout = Layout.at(data_dir)
    programs = binaries.installed()
    waiting = _Waiting(layout, programs, settings, progress or _say_nothing, patience_seconds)
    with ExitStack() as undo:
        try:
            _make_directory(layout.data_dir)
            users = FileLock(layout.users_lock)
            undo.callback(users.close)
            waiting.join(users)
            waiting.until_it_answers()
        except OSError as error:
            raise cluster.unusable(layout.data_dir, error) from error
        undo.pop_all()
    return EmbeddedServer(layout, programs, settings, users)


class _Waiting:
    """One process on its way to the server: every wait of it ends at one deadline."""

    def __init__(
        self,
        layout: Layout,
        programs: Path,
        settings: Mapping[str, str],
        progress: Callable[[str], None],
        patience_seconds: float,
    ) -> None:
        self._layout = layout
        self._programs = programs
        self._settings = settings
        self._progress = progress
        self._patience_seconds = patience_seconds
        self._may_recover = layout.pgdata.exists()
        self._begin = monotonic_seconds()
        self._said = ""

    def join(self, users: FileLock) -> None:
        """Take our share of `users.lock`; a keeper that is leaving holds it until its server has stopped."""
        while not users.try_shared():
            self._check_deadline()
            if self._elapsed() > 1.0:
                self._say("Waiting for the embedded PostgreSQL to stop first…")
            time.sleep(_ROUND_SECONDS)

    def until_it_answers(self) -> None:
        """Wait until there is a keeper and its server accepts a connection; start a keeper whenever there is none."""
        while True:
            if keeper_is_absent(self._layout):
                self._launch()
            elif _answers(self._layout):
                return
            else:
                time.sleep(_ROUND_SECONDS)
                self._mention_recovery()
            self._check_deadline()

    def _launch(self) -> None:
        with Launch(self._layout, self._programs, self._settings) as launch:
            while not launch.ended and not _answers(self._layout):
                self._check_deadline()
                launch.listen(_ROUND_SECONDS, self._say)
                self._mention_recovery()

    def _mention_recovery(self) -> None:
        if self._may_recover and self._elapsed() > _RECOVERING_AFTER_SECONDS and self._layout.pid_file.exists():
            self._say("PostgreSQL is recovering…")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._progress(text)

    def _elapsed(self) -> float:
        return monotonic_seconds() - self._begin

    def _check_deadline(self) -> None:
        if self._elapsed() > self._patience_seconds:
            raise refuse(
                Code.UNAVAILABLE,
                f"The embedded PostgreSQL in {self._layout.data_dir} does not answer after "
                f"{self._patience_seconds:.0f} s. Its last words:\n{tail(self._layout.log_file)}",
                f"It may still be recovering: look at {self._layout.log_file}, then try again",
            )


def _answers(layout: Layout) -> bool:
    """Return whether the keeper's server accepts connections: by its own word, then by trying."""
    postmaster = layout.keeper_lock.read_text()  # empty until this keeper has started it: an orphan is not it
    if not cluster.is_ready(layout, postmaster) or not layout.socket_is_private():
        return False  # no attempt yet: each would leave a line in the server's log
    conninfo = _conninfo(layout, cluster.SUPERUSER, "postgres")
    try:
        psycopg.connect(conninfo, connect_timeout=10).close()
    except psycopg.OperationalError:
        return False
    return True


def _conninfo(layout: Layout, user: str, dbname: str) -> str:
    return make_conninfo(host=str(layout.socket_dir), port=PORT, user=user, dbname=dbname)


def _make_directory(data_dir: Path) -> None:
    """Make the directory and the missing ones above it; as root such that another account can pass through."""
    missing = [directory for directory in (data_dir, *data_dir.parents) if not directory.exists()]
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            directory.chmod(0o711)
    if not data_dir.is_dir():
        raise NotADirectoryError(None, "Not a directory", str(data_dir))


def _say_nothing(_text: str) -> None:
    """Be the progress callback of a caller who has none."""
