"""Where everything of an embedded server lies: names only, nothing is created here."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

PORT = 5432
"""Only the name of the socket file contains it: no TCP port is ever opened."""

_SOCKET_PATH_BYTES = 103
"""Longest socket path: `sun_path` holds 107 bytes and a zero on Linux, 103 and a zero on macOS and the BSDs."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The data directory and the names below it. `data_dir` is absolute, with symbolic links resolved."""

    data_dir: Path

    @classmethod
    def at(cls, data_dir: Path) -> Layout:
        """Return the layout of this directory, which need not exist yet."""
        return cls(data_dir.expanduser().resolve())

    @property
    def pgdata(self) -> Path:
        """The cluster itself. It appears by a rename, so that what has this name is complete."""
        return self.data_dir / "pgdata"

    @property
    def users_lock(self) -> Path:
        """Held shared by everybody who uses the server."""
        return self.data_dir / "users.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held exclusively by the keeper in office; its text is the process id of the postmaster that it started."""
        return self.data_dir / "keeper.lock"

    @property
    def log_file(self) -> Path:
        """What PostgreSQL, initdb and the keeper have to say."""
        return self.data_dir / "postgres.log"

    @property
    def pid_file(self) -> Path:
        """PostgreSQL's own lock file: the postmaster's process id in line 1, its status in line 8."""
        return self.pgdata / "postmaster.pid"

    @property
    def identity(self) -> str:
        """Sixteen hex digits that stand for this directory in names that must be short."""
        return hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:16]

    @property
    def cluster_name(self) -> str:
        """PostgreSQL's `cluster_name`: it stands in the title of each of its processes and proves whose they are."""
        return f"tocsin-{self.identity}"

    @property
    def socket_dir(self) -> Path:
        """The directory of the socket: in the data directory, or in /tmp where that path cannot be a socket's.

        It depends on the path alone and on no environment variable (XDG_RUNTIME_DIR, TMPDIR): the shell, the service
        and the cron job of one user must find one server; and a runtime directory vanishes at its owner's logout.
        """
        inside = self.data_dir / "socket"
        name = os.fsencode(inside / f".s.PGSQL.{PORT}")
        if len(name) <= _SOCKET_PATH_BYTES and b"," not in name:  # libpq reads a comma as a list of hosts
            return inside
        return Path("/tmp") / self.cluster_name  # noqa: S108 - ownership and mode are checked before each use

    def socket_is_private(self) -> bool:
        """Return whether the socket directory belongs to the owner of the cluster, and to nobody else.

        Anybody may create names in /tmp: a server in a foreign directory must not be spoken to.
        """
        try:
            found = self.socket_dir.lstat()
            owner = self.pgdata.stat().st_uid
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077
