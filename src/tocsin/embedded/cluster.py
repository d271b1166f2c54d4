"""The database cluster: its creation, its version, its settings, and the state in which it can be started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tocsin.embedded.account import Account, first_closed
from tocsin.embedded.binaries import major_version
from tocsin.embedded.layout import PORT, Layout
from tocsin.embedded.log import ServerLog
from tocsin.embedded.processes import die_with_parent, end_leftovers, is_alive
from tocsin.errors import Code, TocsinError, refuse

SUPERUSER = "postgres"

ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""What PostgreSQL sees of our environment: nothing, so that no PGDATA or PGOPTIONS of a shell changes the server."""

_INITDB_SECONDS = 300.0
_UNFINISHED = "pgdata.new-"
_SPACE_TO_START = 32 * 1024 * 1024
"""Bytes: two segments of the write-ahead log. With less, a server that does not start lacks room, whatever it says."""

_FIRST_SETTINGS = {
    "max_connections": "120",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
}
"""Written to postgresql.conf once, when the cluster is created: from then on the operator's to tune."""


def server_command(layout: Layout, programs: Path, settings: Mapping[str, str]) -> list[str]:
    """Return the command that runs the server in the foreground; what stands here wins over postgresql.conf."""
    fixed = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": '"{}"'.format(str(layout.socket_dir).replace('"', '""')),
        "unix_socket_permissions": "0700",
        "cluster_name": layout.cluster_name,
        "logging_collector": "off",
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        # Not in /dev/shm: a container has 64 MB there, and logind empties it when its owner logs out (RemoveIPC),
        # after which such a server accepts no new connection.
        "dynamic_shared_memory_type": "mmap",
    }
    command = [str(programs / "postgres"), "-D", str(layout.pgdata)]
    for name, value in {**fixed, **settings}.items():
        command += ["-c", f"{name}={value}"]
    return command


def ensure(
    layout: Layout,
    programs: Path,
    account: Account,
    *,
    settings: Mapping[str, str],
    log: ServerLog,
    progress: Callable[[str], None],
) -> None:
    """Create the cluster unless it is there; prove that these programs can run it. Raises TocsinError, OSError."""
    _require_reachable(layout, account)
    _require_not_a_cluster_itself(layout)
    _remove_unfinished(layout, log)
    if layout.pgdata.exists():
        _require_same_version(layout, programs)
        return
    progress("Creating the embedded PostgreSQL database…")
    _create(layout, programs, account, settings=settings, log=log)


def make_startable(layout: Layout, account: Account) -> None:
    """Clear away what would keep a server from starting. Raises TocsinError, OSError.

    For the keeper in office alone, before each start.
    """
    end_leftovers(layout)
    _remove_reused_pid_file(layout)
    directory = layout.socket_dir
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.lstat().st_uid == os.geteuid():
        account.own(directory)
    if not layout.socket_is_private():
        raise refuse(
            Code.MISCONFIGURED,
            f"The socket directory {directory} is not private to the owner of {layout.pgdata}",
            f"Find out who made it, then remove it: rm -r {directory}",
        )
    # No server of ours runs, and the directory is ours alone: what lies here is stale, whatever its number says.
    for stale in directory.glob(".s.PGSQL.*"):
        stale.unlink()


def is_ready(layout: Layout, postmaster: str) -> bool:
    """Return whether the postmaster with this process id says that it accepts connections."""
    try:
        lines = layout.pid_file.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return len(lines) >= 8 and lines[0].strip() == postmaster and lines[7].strip() == "ready"


def does_not_start(layout: Layout, said: str) -> TocsinError:
    """Return the refusal for a server (or initdb) that ended instead of starting; `said`: the last lines of its log."""
    free = shutil.disk_usage(layout.data_dir).free
    if free < _SPACE_TO_START:
        return refuse(
            Code.UNAVAILABLE,
            f"The embedded PostgreSQL in {layout.data_dir} does not start: its disk is full ({free >> 10} KiB free)\n"
            f"{said}",
            "Make room on that disk, then try again: nothing that was committed is lost",
        )
    return refuse(
        Code.UNAVAILABLE,
        f"The embedded PostgreSQL in {layout.data_dir} does not start. Its last words:\n{said}",
        f"Remove the cause that it names, then try again. The whole log: {layout.log_file}",
    )


def unusable(data_dir: Path, error: OSError) -> TocsinError:
    """Return the refusal for a data directory in which the operating system does not let us work."""
    what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return refuse(
        Code.MISCONFIGURED,
        f"Cannot use {data_dir} as the data directory ({what})",
        "Make the directory writable for this user, make room on its disk, or choose another: TOCSIN_DATA_DIR",
    )


def _require_reachable(layout: Layout, account: Account) -> None:
    closed = first_closed(layout.data_dir, account)
    if closed is not None:
        raise refuse(
            Code.MISCONFIGURED,
            f"PostgreSQL does not run as root, and user {account.name!r} cannot enter {closed}",
            "Choose a data directory that every user can reach, such as TOCSIN_DATA_DIR=/var/lib/tocsin, "
            "or run Tocsin as an ordinary user",
        )


def _require_not_a_cluster_itself(layout: Layout) -> None:
    if (layout.data_dir / "PG_VERSION").exists():
        raise refuse(
            Code.MISCONFIGURED,
            f"{layout.data_dir} is the data directory of another PostgreSQL server",
            "Choose another directory, or start that server and use it: set TOCSIN_DATABASE_URL",
        )


def _require_same_version(layout: Layout, programs: Path) -> None:
    theirs, ours = (layout.pgdata / "PG_VERSION").read_text().strip(), major_version(programs)
    if theirs != ours:
        raise refuse(
            Code.MISCONFIGURED,
            f"{layout.pgdata} was written by PostgreSQL {theirs}; the installed programs are PostgreSQL {ours}",
            f"Nothing was changed. Either run it with a PostgreSQL {theirs} server of your own (TOCSIN_DATABASE_URL), "
            f"or dump it with version {theirs} (pg_dumpall), move {layout.pgdata} away, and restore into the new one",
        )


def _remove_unfinished(layout: Layout, log: ServerLog) -> None:
    """Remove what an interrupted creation left. Should some of it stay, that is ugly and harmless; the log says so."""

    def report(_function: object, path: str, error: tuple[object, BaseException, object]) -> None:
        log.note(f"cannot remove {path}: {error[1]}")

    for unfinished in layout.data_dir.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished, onerror=report)


def _create(layout: Layout, programs: Path, account: Account, *, settings: Mapping[str, str], log: ServerLog) -> None:
    # A new name each time: an initdb that outlives its keeper must not write into its successor's work.
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=layout.data_dir))
    account.own(unfinished)
    command = [
        *(str(programs / "initdb"), "-D", str(unfinished), "-U", SUPERUSER),
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *("--auth-local=trust", "--auth-host=reject", "--data-checksums", "--no-instructions"),
        *(f"--set={name}={value}" for name, value in _FIRST_SETTINGS.items()),
    ]
    if settings.get("fsync") == "off":
        command.append("--no-sync")
    try:
        subprocess.run(  # noqa: S603 - the wheel's own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=log.descriptor,
            stderr=log.descriptor,
            cwd="/",
            env=ENVIRONMENT,
            check=True,
            timeout=_INITDB_SECONDS,
            user=account.user,
            group=account.group,
            extra_groups=account.extra_groups,
            preexec_fn=die_with_parent(signal.SIGKILL),  # safe: the keeper has one thread
        )
    except subprocess.SubprocessError as error:
        refusal = does_not_start(layout, log.tail())
        shutil.rmtree(unfinished, ignore_errors=True)  # else a full disk stays full; the next start tries again
        raise refusal from error
    unfinished.rename(layout.pgdata)
    _sync_directory(layout.data_dir)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_reused_pid_file(layout: Layout) -> None:
    """Remove a postmaster.pid whose number now belongs to a stranger: PostgreSQL would take that for a server.

    All processes of this cluster have been ended, so whoever bears the number is none of them. A number that nobody
    bears is left to PostgreSQL, which then also looks for users of the old shared memory.
    """
    try:
        first = layout.pid_file.read_text(errors="replace").partition("\n")[0].strip()
    except FileNotFoundError:
        return
    if not first.isdecimal() or is_alive(int(first)):
        layout.pid_file.unlink()
