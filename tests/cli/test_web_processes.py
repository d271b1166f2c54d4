"""`tocsin serve` in several processes: they answer on one port, and no death loses what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_services import PATIENCE_SECONDS, Service, running
from tests.conftest import ADMIN_EMAIL, INTAKE_KEY
from tests.support.servers import Server
from tocsin.app.work import App
from tocsin.bootstrap import Sources
from tocsin.cli import web_processes
from tocsin.errors import Code, TocsinError

pytestmark = pytest.mark.slow

PROCESSES = 2
REPORTS = 150
CLIENTS = 6
KILLS = 4


@dataclass(frozen=True, slots=True)
class Web:
    """A running `tocsin serve`."""

    service: Service
    port: int

    @property
    def pid(self) -> int:
        return self.service.child.pid

    def processes(self) -> list[int]:
        """Return the living web processes."""
        return processes_of(self.pid)

    def ask(self, method: str, path: str, body: object = None, key: str = INTAKE_KEY) -> tuple[int, str]:
        """Make a request on a connection of its own; raise what a connection may raise that is cut."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(line):
            line.request(method, path, json.dumps(body) if body else None, {"Authorization": f"Bearer {key}"})
            answer = line.getresponse()
            return answer.status, answer.read().decode()

    def report(self, event_id: str) -> int:
        """Report an error until an answer comes; return its status."""
        document = {"severity": "HIGH", "type": "Carts", "message": "empty", "eventId": event_id}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.ask("POST", "/api/v1/errors", document)[0]
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < deadline

    @contextlib.contextmanager
    def under_way(self) -> Iterator[Callable[[], bytes]]:
        """Have a request taken up; the function sends the rest of it, and returns what comes of it."""
        body = b'{"severity": "HIGH", "type": "Slow", "message": "m", "eventId": "%032x"}' % 1
        head = f"POST /api/v1/errors HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {INTAKE_KEY}\r\n"
        head += f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as line:
            line.sendall(head.encode())
            # The server asks for the body when the door is about to read it.
            assert line.recv(1_000).startswith(b"HTTP/1.1 100")

            def rest() -> bytes:
                line.sendall(body)
                return line.recv(10_000)

            yield rest


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def processes_of(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found if "tocsin.cli.web_process" in command_of(int(pid))]


def connections(pid: int, port: int) -> int:
    """Count the clients that are connected to this process (proc(5), net/tcp: 01 is ESTABLISHED)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01"}
    return sum(os.readlink(entry) in established for entry in Path(f"/proc/{pid}/fd").iterdir())


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def all_gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any("web_process" in command_of(pid) for pid in pids)


@contextlib.contextmanager
def serving(cli: Cli, processes: int = PROCESSES, port: int = 0) -> Iterator[Web]:
    variables = {**cli.variables, "TOCSIN_PORT": str(port), "TOCSIN_PUBLIC_URL": ""}
    variables |= {"TMPDIR": str(cli.directory)}
    with running(variables, cli.directory, "serve", "--processes", str(processes)) as service:
        found = re.search(r"running at http://127\.0\.0\.1:(\d+)\n", service.until("Tocsin is running at http"))
        assert found
        yield Web(service, int(found[1]))


def test_each_of_several_processes_answers_and_the_url_is_told_once(fresh_cli: Cli) -> None:
    with serving(fresh_cli, 3) as web:
        pids = web.processes()
        assert len(pids) == 3
        for alone in pids:
            others = [pid for pid in pids if pid != alone]
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            assert web.ask("GET", "/healthz")[0] == 200
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        # As `systemctl stop` does; but it is the parent's to say what that means.
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert web.ask("GET", "/healthz")[0] == 200
        assert web.processes() == pids
        ended = web.service.stop(signal.SIGTERM)
    assert (ended.code, ended.out.count("is running at")) == (0, 1), ended.err
    assert "Traceback" not in ended.err
    assert all_gone(pids)()


def test_kills_of_web_processes_under_load_lose_no_accepted_report_and_open_an_incident(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web, ThreadPoolExecutor(CLIENTS) as clients:
        events = [f"{number:032x}" for number in range(REPORTS)]
        answers = [clients.submit(web.report, event) for event in events]
        for kill in range(1, KILLS + 1):
            answers[kill * REPORTS // (KILLS + 1)].result()
            os.kill(web.processes()[0], signal.SIGKILL)
        assert {answer.result() for answer in answers} == {201}
        assert web.ask("GET", "/healthz")[0] == 200
        died = "SELECT title FROM tocsin.incidents WHERE project_id = 0"
        wait_until(lambda: fresh_cli.sql(died), "no incident")
        wait_until(lambda: len(web.processes()) == PROCESSES, "not started again")
        # The last one may not listen yet, neither to clients nor to its parent: it must hear this all the same.
        ended = web.service.stop(signal.SIGTERM)
    found = "SELECT event_id FROM tocsin.audit_logs WHERE project_id = 1 ORDER BY event_id"
    assert [event for (event,) in fresh_cli.sql(found)] == events
    assert fresh_cli.sql(died) == [("WebProcessDied: A web process was ended by SIGKILL.",)]
    assert (ended.code, ended.err.count("web.process_died")) == (0, KILLS), ended.err


def test_sigterm_lets_a_request_under_way_finish_and_takes_no_other(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web:
        pids = web.processes()
        with web.under_way() as rest:
            web.service.child.send_signal(signal.SIGTERM)

            def refused() -> bool:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", web.port)).close()
                    return False
                return True

            wait_until(refused, "it still listens")
            assert rest().startswith(b"HTTP/1.1 201")
        ended = web.service.stop()
    assert ended.code == 0, ended.err
    assert all_gone(pids)()


def test_a_second_ctrl_c_ends_the_processes_with_their_requests(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web:
        pids = web.processes()
        with web.under_way():
            web.service.child.send_signal(signal.SIGINT)
            # One of them has nothing to finish.
            wait_until(lambda: len(web.processes()) == 1, "nobody stopped")
            ended = web.service.stop(signal.SIGINT)
            wait_until(all_gone(pids), "one is left")
    assert list(fresh_cli.directory.iterdir()) == []
    assert ended.code == 130
    assert "Stopped at once" in ended.err


def test_when_the_parent_is_killed_requests_are_finished_and_nobody_is_left(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web:
        pids = web.processes()
        with web.under_way() as rest:
            os.kill(web.pid, signal.SIGKILL)
            web.service.child.wait(PATIENCE_SECONDS)
            assert rest().startswith(b"HTTP/1.1 201")
        wait_until(all_gone(pids), "one is left")
    assert list(fresh_cli.directory.iterdir()) == []


def test_a_server_that_was_killed_starts_again_though_its_processes_still_hold_the_port(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web:
        pids = web.processes()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        os.kill(web.pid, signal.SIGKILL)
        web.service.child.wait(PATIENCE_SECONDS)

        def resume() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

        resuming = threading.Timer(1.0, resume)
        resuming.start()
        with serving(fresh_cli, port=web.port) as again:
            assert again.report(f"{1:032x}") == 201
        resuming.join()


def test_a_process_that_ends_badly_does_not_cut_off_what_another_has_under_way(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web:
        with web.under_way() as rest:
            (idle,) = [pid for pid in web.processes() if not connections(pid, web.port)]
            os.kill(idle, signal.SIGSTOP)
            web.service.child.send_signal(signal.SIGTERM)
            assert web.service.child.stderr is not None
            while "Stopping" not in web.service.child.stderr.readline():
                pass
            os.kill(idle, signal.SIGKILL)
            wait_until(all_gone([idle]), "it cannot be killed")
            assert rest().startswith(b"HTTP/1.1 201")
        ended = web.service.stop()
    assert (ended.code, "A web process was ended by SIGKILL." in ended.err) == (1, True), ended.err


def test_counters_are_whole_whichever_process_is_scraped_and_survive_a_death(fresh_cli: Cli) -> None:
    made = fresh_cli.done("tokens", "add", ADMIN_EMAIL, "--name", "prometheus", "--json").json
    token = str(made["token"])
    with serving(fresh_cli) as web:

        def counted() -> set[float]:
            pages = [web.ask("GET", "/metrics", key=token)[1] for _ in range(6)]
            counters = re.compile(r"^tocsin_reports_total\S* ([\d.]+)", re.MULTILINE)
            return {sum(map(float, counters.findall(page))) for page in pages}

        for number in range(8):
            assert web.report(f"{number:032x}") == 201
        assert counted() == {8}
        for pid in web.processes():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(web.processes()) == PROCESSES, "not started again")
        assert web.report(f"{8:032x}") == 201
        assert counted() == {9}
        assert web.service.stop(signal.SIGTERM).code == 0


def test_a_process_that_cannot_be_started_again_yet_is_tried_until_it_can(fresh_cli: Cli) -> None:
    with serving(fresh_cli) as web:
        fresh_cli.sql("SELECT tocsin_guard.suspend()")
        fresh_cli.sql("ALTER SCHEMA tocsin RENAME TO away")
        for pid in web.processes():
            os.kill(pid, signal.SIGKILL)
        said = threading.Event()

        def listen() -> None:
            assert web.service.child.stderr is not None
            for line in web.service.child.stderr:
                if "schema is not up to date" in line:
                    said.set()

        thread = threading.Thread(target=listen)
        thread.start()
        assert said.wait(PATIENCE_SECONDS)
        fresh_cli.sql("ALTER SCHEMA away RENAME TO tocsin")
        assert web.ask("GET", "/healthz")[0] == 200
        web.service.child.send_signal(signal.SIGTERM)
        assert web.service.child.wait(PATIENCE_SECONDS) == 0
        thread.join()


async def test_what_the_first_processes_refuse_ends_the_whole(app: App, server: Server) -> None:
    empty = server.conninfo("postgres", user="tocsin_app")
    told: list[str] = []
    with pytest.raises(ExceptionGroup) as raised:
        await web_processes.serve(several(app), Sources(empty, empty, embedded=False), asyncio.Event(), told.append)
    (refused,) = raised.value.exceptions
    assert isinstance(refused, TocsinError)
    assert refused.refusal.code is Code.MISCONFIGURED
    assert "`tocsin migrate`" in refused.refusal.hint
    assert told == []


async def test_a_start_that_is_cut_off_leaves_no_process(app: App) -> None:
    starting = asyncio.create_task(
        web_processes.serve(several(app), Sources("", "", embedded=False), asyncio.Event(), print)
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (pids := processes_of(os.getpid())):
            await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert all_gone(pids)()
    assert processes_of(os.getpid()) == []


def several(app: App) -> App:
    settings = app.settings.model_copy(update={"port": 0, "web_processes": PROCESSES})
    return App(app.database, settings, app.clock)
