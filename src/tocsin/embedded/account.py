"""Which operating-system account runs PostgreSQL: ours, or another one when we are root, as which it refuses to run."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tocsin.embedded.layout import Layout
from tocsin.errors import Code, refuse

_FOR_ROOT = ("postgres", "nobody")

_FIRST_CLOSED = 'for path; do test -x "$path" || { printf %s "$path"; exit; }; done'


@dataclass(frozen=True, slots=True)
class Account:
    """An account, in the form that `subprocess` takes; all None means: as we are."""

    name: str
    user: int | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None

    def own(self, path: Path) -> None:
        """Give a file or directory that we made to the account."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group, follow_symlinks=False)


def account_for(layout: Layout) -> Account:
    """Return the account that runs the server of this data directory.

    As an ordinary user: that user. As root: who owns the cluster, else who owns the data directory, so that the owner
    can go on without root; if that is root, then `postgres` if it exists, else `nobody`.
    """
    if os.geteuid() != 0:
        return Account(name=f"uid {os.geteuid()}")
    home = layout.pgdata if layout.pgdata.exists() else layout.data_dir
    owner = home.stat()
    if owner.st_uid != 0:
        return Account(f"uid {owner.st_uid}", owner.st_uid, owner.st_gid, ())
    for name in _FOR_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, ())
    raise refuse(
        Code.MISCONFIGURED,
        "PostgreSQL does not run as root, and neither user 'postgres' nor 'nobody' exists to run it",
        "Run Tocsin as an ordinary user, or create the user: useradd --system postgres",
    )


def first_closed(path: Path, account: Account) -> Path | None:
    """Return the outermost directory on the way to `path`, itself included, that the account cannot enter, or None.

    The account itself is asked, through `test -x`: access lists and security modules have their say too.
    """
    if account.user is None:
        return None
    way = [*reversed(path.parents), path]
    answer = subprocess.run(  # noqa: S603 - fixed program, our own paths
        ["/bin/sh", "-c", _FIRST_CLOSED, "sh", *way],
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
    ).stdout
    return Path(os.fsdecode(answer)) if answer else None
