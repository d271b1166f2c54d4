"""What the pages about clients say can be pasted: their lines are run as they stand, and their settings are looked at.

Only KEY and the server's address are put in, as every reader does.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.alerts.process import needs
from tests.clients.conftest import PATIENCE_SECONDS, TOCSIN, Live, bare_environment, eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pages")]

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
ADDRESS = "127.0.0.1:8420"

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


def _blocks(page: str, language: str, live: Live) -> list[str]:
    """Return the blocks of a page in a language, filled in."""
    text = (HOW_TO / page).read_text("utf-8")
    found = [block["text"] for block in _BLOCK.finditer(text) if block["language"] == language]
    return [block.replace(ADDRESS, f"127.0.0.1:{live.port}").replace("KEY", live.key) for block in found]


def _pasted(lines: str, live: Live, folder: Path) -> str:
    """Run lines in a shell; return what they print."""
    environment = bare_environment(folder) | {"TOCSIN_DATABASE_URL": live.database}
    environment["PATH"] = f"{Path(TOCSIN).parent}:{environment['PATH']}"
    ended = subprocess.run(
        ["/bin/sh", "-euc", lines],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("clients/curl.md", "BackupFailed: exit code 3"),
        ("send-errors.md", "DiskFull: no space left on /var"),
        ("clients/cloudevents.md", "org.example.backup.failed: no space left on /var"),
    ],
)
def test_the_lines_for_a_shell_report_an_error(live: Live, tmp_path: Path, page: str, title: str) -> None:
    line = next(block for block in _blocks(page, "sh", live) if block.startswith("curl"))
    _pasted(line, live, tmp_path)
    assert live.by_title()[title]["incident"]["severity"] == "HIGH"


def test_the_field_mapping_reads_what_stands_beside_it(live: Live, tmp_path: Path) -> None:
    page = "clients/generic-json.md"
    store, send = _blocks(page, "sh", live)
    (mapping,) = _blocks(page, "json", live)
    (tmp_path / "mapping.json").write_text(mapping)
    _pasted(store, live, tmp_path)
    # A project is looked up again after two seconds.
    eventually(lambda: json.loads(_pasted(send, live, tmp_path)).get("accepted") == 1)
    error = live.by_title()["no space left on /var"]["error"]
    assert (error["eventId"], error["service"], error["serverName"]) == ("42", "storage", "backup-1")


@needs("amtool")
def test_alertmanager_takes_its_settings(live: Live, tmp_path: Path) -> None:
    (receivers,) = _blocks("clients/alertmanager.md", "yaml", live)
    (events,) = _blocks("clients/pagerduty.md", "yaml", live)
    settings = tmp_path / "alertmanager.yml"
    settings.write_text(f"route: {{ receiver: tocsin }}\n{receivers}{_indented(events, 4)}")
    _pasted(f"amtool check-config {settings}", live, tmp_path)


@needs("promtool")
def test_prometheus_takes_its_settings(live: Live, tmp_path: Path) -> None:
    (alerting,) = _blocks("clients/prometheus.md", "yaml", live)
    settings = tmp_path / "prometheus.yml"
    settings.write_text(alerting)
    _pasted(f"promtool check config {settings}", live, tmp_path)


@pytest.mark.parametrize(
    ("page", "more", "title"),
    [
        ("clients/sentry-python.md", "sentry_sdk.capture_message('pasted', level='fatal')", "pasted"),
        ("send-errors.md", "sentry_sdk.capture_message('pasted too', level='fatal')", "pasted too"),
    ],
)
def test_the_lines_for_python_report_an_error(live: Live, tmp_path: Path, page: str, more: str, title: str) -> None:
    lines = _blocks(page, "python", live)[0]
    program = tmp_path / "program.py"
    program.write_text(f"{lines}\n{more}\nsentry_sdk.flush({PATIENCE_SECONDS})\n")
    _pasted(f"{sys.executable} {program}", live, tmp_path)
    assert live.by_title()[title]["incident"]["severity"] == "CRITICAL"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Debian's package nodejs")
def test_the_lines_for_node_report_an_error(live: Live, tmp_path: Path, node_modules: Path) -> None:
    (lines,) = _blocks("clients/sentry-node.md", "js", live)
    (tmp_path / "node_modules").symlink_to(node_modules)
    program = tmp_path / "program.mjs"
    program.write_text(
        f"{lines}\nSentry.captureMessage('pasted in JavaScript', 'fatal');\nawait Sentry.flush(10_000);\n"
    )
    _pasted(f"node {program}", live, tmp_path)
    assert live.by_title()["pasted in JavaScript"]["incident"]["severity"] == "CRITICAL"


def _indented(text: str, spaces: int) -> str:
    return "".join(f"{' ' * spaces}{line}\n" for line in text.splitlines())
