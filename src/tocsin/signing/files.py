"""Small private files, each written whole or not at all, and on the disk when the function returns."""

from __future__ import annotations

import os
from pathlib import Path

from tocsin.errors import Code, TocsinError, refuse

PRIVATE_FILE, PRIVATE_DIRECTORY = 0o600, 0o700
OTHERS = 0o077
MAX_FILE_BYTES = 65_536


def make_directory(directory: Path) -> None:
    """Make a directory that only we may enter, unless it is there."""
    try:
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(directory, error) from None


def write(path: Path, text: str) -> None:
    """Write a file, or replace it: whoever reads it sees the old text or the new one, after a crash too."""
    draft = path.with_name(f"{path.name}.draft")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise unusable(path, error) from None


def rename(path: Path, to: Path) -> None:
    """Rename a file within its directory, durably."""
    try:
        path.replace(to)
        sync_directory(to.parent)
    except OSError as error:
        raise unusable(path, error) from None


def read(path: Path) -> str | None:
    """Return what a private file says; None when there is none. Raises MISCONFIGURED when others may read it too."""
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise refuse(Code.MISCONFIGURED, f"Others may read {path}.", f"Let nobody: `chmod 600 {path}`.")
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise unusable(path, error) from None


def sync_directory(directory: Path) -> None:
    """Put the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unusable(path: Path, error: Exception) -> TocsinError:
    """Return the refusal for a file that cannot be read or written."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return refuse(
        Code.MISCONFIGURED,
        f"The signer cannot use {path}: {reason}.",
        "Set TOCSIN_SIGNER_DIR to a directory that this user can write and that is on a disk of this machine.",
    )
