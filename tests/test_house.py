"""The scaffolding keeps its promises: dev.py can speak on an old Python, and the lock files are whole and portable."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
LOCKS = ["runtime.txt", "dev.txt"]
PINNED = re.compile(r"^([a-z0-9-]+)==\S+( ; [^\\]+)? \\$", re.MULTILINE)


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _lock(name: str) -> str:
    return (ROOT / "requirements" / name).read_text()


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower().replace("_", "-") for line in requirements}


def test_an_old_python_can_parse_dev_py_and_hear_which_one_it_needs() -> None:
    ast.parse((ROOT / "dev.py").read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host_no_url_and_no_path_of_a_machine(name: str) -> None:
    text = _lock(name).replace("-c requirements/dev.txt", "")
    assert re.findall(r".*(?:[a-z]+://|/|\\\S|--(?!hash=sha256:)|@).*", text) == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_hashes(name: str) -> None:
    entries = re.split(r"\n(?=[a-z])", _lock(name))[1:]
    assert len(entries) > 20
    for entry in entries:
        assert PINNED.match(entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_every_dependency_is_locked() -> None:
    pyproject = _pyproject()
    project = pyproject["project"]
    runtime = _names([*project["dependencies"], *project["optional-dependencies"]["demo"]])
    extras = project["optional-dependencies"]["apprise"]
    development = _names([*pyproject["dependency-groups"]["dev"], *pyproject["build-system"]["requires"], *extras])
    assert runtime - {name for name, _ in PINNED.findall(_lock("runtime.txt"))} == set()
    assert (runtime | development) - {name for name, _ in PINNED.findall(_lock("dev.txt"))} == set()


def test_operators_get_the_versions_that_were_tested() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", _lock(name), re.MULTILINE))

    tested = versions("dev.txt")
    assert {name: tested.get(name) for name in versions("runtime.txt")} == versions("runtime.txt")
