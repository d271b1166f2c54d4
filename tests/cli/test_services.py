"""`tocsin up`, `serve` and `worker` as an operator meets them: processes, signals, ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Answer, Cli, environment
from tests.support.servers import temporary_directory
from tocsin.cli.output import Call
from tocsin.cli.service import run_parts, until_port_is_free
from tocsin.errors import Code, TocsinError, refuse

PATIENCE_SECONDS = 60


@dataclass(slots=True)
class Service:
    """A running `tocsin up` and the like."""

    child: subprocess.Popen[str]
    said: str = ""

    def until(self, sign: str) -> str:
        """Read standard output until the sign stands there."""
        assert self.child.stdout is not None
        # Past the stream's own buffer: `select` knows nothing of what waits in there.
        descriptor = self.child.stdout.fileno()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while sign not in self.said:
            readable = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))[0]
            part = os.read(descriptor, 65_536) if readable else b""
            assert part, f"it did not say {sign!r}: {self.stop(signal.SIGKILL)}"
            self.said += part.decode()
        return self.said

    def stop(self, *signals: signal.Signals) -> Answer:
        """Send signals and wait for the end."""
        for one in signals:
            self.child.send_signal(one)
        out, err = self.child.communicate(timeout=PATIENCE_SECONDS)
        return Answer(self.child.returncode, self.said + out, err)


@contextlib.contextmanager
def running(variables: Mapping[str, str], directory: Path, *arguments: str) -> Iterator[Service]:
    with subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(variables),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield Service(child)
        finally:
            if child.poll() is None:
                child.kill()


def call(variables: Mapping[str, str], directory: Path, *arguments: str, stdin: str = "") -> Answer:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(variables),
        cwd=directory,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return Answer(ended.returncode, ended.stdout, ended.stderr)


def home_of(url: str, said: str) -> str:
    """Sign in with what the first start said; return the first page."""
    email, password = (re.findall(rf"{name} +(\S+)", said)[0] for name in ("sign in as", "password"))
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    form = urllib.parse.urlencode({"email": email, "password": password, "next": "/"}).encode()
    with browser.open(f"{url}/sign-in", form, timeout=10) as home:
        page: str = home.read().decode()
    return page


@pytest.fixture
def place() -> Iterator[tuple[dict[str, str], Path]]:
    with temporary_directory() as path:
        yield {"TOCSIN_DATA_DIR": str(path / "data"), "TOCSIN_PORT": "0"}, path


@pytest.mark.slow
def test_up_starts_from_nothing_takes_an_incident_through_its_life_and_goes_on_after_ctrl_c(
    place: tuple[dict[str, str], Path],
) -> None:
    variables, path = place
    with running(variables, path, "up") as first:
        block = first.until("Then: ")
        assert "password     " in block
        key, port = re.findall(r"DSN +http://(\w{32})@127\.0\.0\.1:(\d+)/1", block)[0]
        url = f"http://127.0.0.1:{port}"
        assert f"@127.0.0.1:{port}/1" in home_of(url, block), "any free port was asked for: the pages name the real one"
        report = ("report", "--severity", "HIGH", "--type", "Carts", "--message", "empty", "--url", url, "--json")
        told = call({**variables, "TOCSIN_KEY": key}, path, *report)
        assert (told.code, told.json["reports"][0]["outcome"]) == (0, "opened"), told.err
        wrong = call({**variables, "TOCSIN_KEY": "0" * 32}, path, *report)
        assert (wrong.code, wrong.problem["code"]) == (1, "UNAUTHORIZED")
        out_of_order = call(variables, path, "incidents", "resolve", "1", "--summary", "gone")
        assert (out_of_order.code, out_of_order.err.count("\n")) == (1, 1)
        assert call(variables, path, "incidents", "ack", "1", "--notes", "on it").code == 0
        ended = first.stop(signal.SIGINT)
        assert (ended.code, "Traceback" in ended.err) == (0, False), ended.err
        assert "no mail server is set" in ended.err
    with running(variables, path, "up") as second:
        said = second.until("Tocsin is running at http://127.0.0.1:")
        assert "password" not in said
        port = said.strip().rsplit(":", 1)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as health:
            assert json.load(health)["status"]
        cause = ("--summary", "s", "--category", "CONFIGURATION", "--remediation", "r")
        assert call(variables, path, "incidents", "root-cause", "1", *cause).code == 0
        whole = ("--summary", "s", "--lessons", "l", "--follow-up", "f")
        assert "is CLOSED" in call(variables, path, "incidents", "resolve", "1", *whole).out
        verified = call(variables, path, "verify", "--db", "--json")
        assert verified.json["intact"] is True
        assert second.stop(signal.SIGTERM).code == 0


@pytest.mark.slow
def test_a_taken_port_is_told_in_one_line_before_anything_is_started(place: tuple[dict[str, str], Path]) -> None:
    variables, path = place
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = call(variables, path, "up", "--port", str(taken.getsockname()[1]))
    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert "--port" in answer.err
    assert not (path / "data").exists()


@pytest.mark.slow
def test_the_halves_make_a_whole_on_a_database_of_ones_own(fresh_cli: Cli) -> None:
    variables = {**fresh_cli.variables, "TOCSIN_PORT": "0"}
    fresh_cli.sql("SELECT tocsin_guard.suspend()")
    fresh_cli.sql("DROP SCHEMA tocsin CASCADE")
    assert "`tocsin migrate`" in fresh_cli.process("worker").err
    fresh_cli.done("migrate")
    with running(variables, fresh_cli.directory, "serve") as web:
        assert "This is shown once" in web.until("Tocsin is running at http://tocsin.test"), "there was no user"
        with running(variables, fresh_cli.directory, "worker", "--name", "pager-1") as worker:
            worker.until("Worker pager-1 is running")
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not fresh_cli.sql("SELECT name FROM tocsin.workers WHERE name = 'pager-1'"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert worker.stop(signal.SIGTERM).code == 0
        assert fresh_cli.sql("SELECT name FROM tocsin.workers WHERE name = 'pager-1'") == []
        assert web.stop(signal.SIGINT).code == 0


async def test_when_a_part_dies_the_others_are_stopped_and_its_reason_is_raised() -> None:
    stop, stopped = asyncio.Event(), []

    async def lives() -> None:
        await stop.wait()
        stopped.append(True)

    async def dies() -> None:
        raise refuse(Code.UNAVAILABLE, "it died")

    with pytest.raises(TocsinError, match="it died"):
        await run_parts(Call(), stop, {"web server": lives(), "worker": dies()})
    assert stopped == [True]


async def test_a_part_that_ends_by_itself_is_a_failure_and_named() -> None:
    stop = asyncio.Event()

    async def ends() -> None:
        return

    async def lives() -> None:
        await stop.wait()

    with pytest.raises(TocsinError, match="The worker ended by itself"):
        await run_parts(Call(), stop, {"web server": lives(), "worker": ends()})


async def test_a_part_that_does_not_stop_is_cut_off_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tocsin.cli.service.STOP_SECONDS", 0.05)
    stop = asyncio.Event()

    async def hangs() -> None:
        await asyncio.Event().wait()

    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
    with pytest.raises(TocsinError, match="The worker did not end within"):
        await run_parts(Call(), stop, {"worker": hangs()})
    assert "Stopping" in capsys.readouterr().err


async def test_a_port_that_becomes_free_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        waiting = asyncio.create_task(until_port_is_free(Call(), "127.0.0.1", listener.getsockname()[1]))
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


@pytest.mark.slow
def test_services_tell_an_unreachable_database_in_one_line(idle_cli: Cli) -> None:
    for command in ("serve", "worker", "up"):
        answer = idle_cli.process(command)
        assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1), command
        assert answer.err.startswith("tocsin: The database cannot be used: ")


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    program = (
        "import asyncio\n"
        "from tocsin.cli.output import Call\n"
        "from tocsin.cli.service import run_parts\n"
        "async def hangs():\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(run_parts(Call(), asyncio.Event(), {'worker': hangs()}))\n"
    )
    with subprocess.Popen(
        [COMMAND[0], "-c", program], env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert "Stopping" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_SECONDS) == 130
        assert "Stopped at once" in child.stderr.read()
