"""Python environments for programs that the project does not depend on: made with pip, in a directory of the run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_SECONDS = 600.0


def made_environment(place: Path, packages: Sequence[str]) -> Path:
    """Make the environment unless it is there; return the directory of its programs. Raises SystemExit if it fails."""
    programs = place / "bin"
    done = place / "installed"
    if done.exists():
        return programs
    try:
        subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True, timeout=INSTALL_SECONDS)
        subprocess.run(
            [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
            check=True,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"could not install {', '.join(packages)}: {str(error.stderr)[-500:]}") from None
    done.touch()
    return programs
