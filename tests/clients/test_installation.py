"""What the tests with real clients need is locked, portable, and stays quiet on the machine where it is installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import dev
import pytest

JAVASCRIPT = Path(dev.JAVASCRIPT)


def test_the_javascript_lock_names_no_host_and_has_a_hash_of_every_package() -> None:
    text = (JAVASCRIPT / "package-lock.json").read_text()
    assert re.findall(r"[a-z+]+://\S+", text) == []
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert len(packages) > 20
    assert [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []


def test_the_javascript_lock_fits_what_is_asked_for() -> None:
    asked = json.loads((JAVASCRIPT / "package.json").read_text())["dependencies"]
    packages = json.loads((JAVASCRIPT / "package-lock.json").read_text())["packages"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in asked} == asked


def test_a_package_that_another_one_provides_is_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text("#!/bin/sh\necho 'installed, nodejs, npm (= 11), nodejs-dev'\necho 'config-files, chromium, '\n")
    query.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    missing = dev.missing_packages()
    assert {"nodejs", "npm"} & missing.keys() == set()
    assert {"chromium", "prometheus"} <= missing.keys()


def test_services_of_packages_for_the_tests_are_masked_and_settings_of_the_machine_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = tmp_path / "postgresql-common" / "createcluster.conf"
    monkeypatch.setattr(dev, "UNITS", tmp_path)
    monkeypatch.setattr(dev, "CLUSTER_CONFIG", cluster)
    (tmp_path / "prometheus.service").write_text("[Unit]\n")
    dev.keep_services_off(["chromium", "prometheus", "prometheus-alertmanager"])
    dev.keep_services_off(["prometheus-alertmanager"])
    assert (tmp_path / "prometheus-alertmanager.service").readlink() == Path("/dev/null")
    assert not (tmp_path / "prometheus.service").is_symlink()
    assert not (tmp_path / "chromium.service").exists()
    assert cluster.read_text() == "create_main_cluster = false\n"
