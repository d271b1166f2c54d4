"""`tocsin demo`, as a newcomer runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOCSIN = str(Path(sys.executable).with_name("tocsin"))
GONE_WITHIN_SECONDS = 20


def _processes_of(demo: int) -> list[str]:
    """Return the command lines that name the demo's directory."""
    mark = f"tocsin-demo-{demo}-"
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended while we looked
            continue
        if mark in line:
            found.append(line)
    return found


@pytest.mark.slow
def test_the_demo_shows_everything_it_promises_within_a_minute() -> None:
    done = subprocess.run([TOCSIN, "demo"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    story = done.stdout
    for promise in (
        "INC-1 HIGH REPORTED, 5 occurrences",
        "mail to noor@shop.example: [HIGH] INC-1",
        "HTTP 409 NOT_ACKNOWLEDGED",
        "(CLOSED) refused: it does not lead from REPORTED to CLOSED",
        "close        → CLOSED",
        "permission denied for table incident_root_causes",
        "UPDATE on incident_root_causes refused: what was recorded cannot be changed",
        "dora@shop.example: Still no root cause",
        "NO_ACK_1HR, NO_ACK_4HR, NO_ROOT_CAUSE_24HR",
        "all as they were recorded",
        "\u2014 localhost/tocsin/",
        "changed since it was recorded: root_cause_summary",
        "INC-2 entry 4",
        "it is in the log, and its row is gone",
    ):
        assert promise in story, story
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_demo_killed_in_the_middle_leaves_nothing_running(how: signal.Signals) -> None:
    demo = subprocess.Popen([TOCSIN, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("2."):
            break
    assert _processes_of(demo.pid)
    demo.send_signal(how)
    _, errors = demo.communicate(timeout=GONE_WITHIN_SECONDS)
    assert "Traceback" not in errors
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while (left := _processes_of(demo.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    assert how == signal.SIGKILL or not list(Path("/tmp").glob(f"tocsin-demo-{demo.pid}-*"))
