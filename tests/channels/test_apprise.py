"""Apprise: a real one, in its own process, against real receivers; and what its process may not do."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apprise
import msgspec
import pytest
from aiohttp import web

from tests.channels.conftest import MESSAGE
from tests.channels.peers import answering, raw_peer, receiver
from tocsin.address_guard import AddressGuard, AddressRefusedError, parse_networks
from tocsin.channels import Delivered, Outcome, Rejected, Retry
from tocsin.channels import apprise as channel
from tocsin.channels.apprise import AppriseChannel
from tocsin.channels.apprise_child import Said, Wall
from tocsin.domain.contact_method import APPRISE_SCHEMAS, address_problem

pytestmark = pytest.mark.anyio

LOOPBACK = AddressGuard(parse_networks("127.0.0.0/8"))
LOCAL = {"blink1", "dbus", "kde", "qt", "glib", "gio", "gnome", "macosx", "windows", "syslog", "aprs"}
KEYED_BY_FILES = {"fcm", "vapid", "deltachat", "deltachats"}


async def send(address: str, guard: AddressGuard = LOOPBACK, timeout_seconds: float = 20) -> Outcome:
    return await AppriseChannel(guard, timeout_seconds=timeout_seconds).send(address, MESSAGE)


def as_json(url: str) -> str:
    return url.replace("http://", "json://")


async def test_page_arrives_by_apprise() -> None:
    seen: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(await request.json())
        return web.Response()

    async with receiver(answer) as url:
        assert await send(as_json(url)) == Delivered("Sent JSON POST notification.")
    [document] = seen
    assert document["title"] == MESSAGE.subject
    assert MESSAGE.text.split("\n")[0] in document["message"]
    assert MESSAGE.acknowledge_url in document["message"]
    assert document["type"] == "failure"


@pytest.mark.slow
@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_failure_is_tried_again_with_what_apprise_said(status: int) -> None:
    async with answering(status) as url:
        outcome = await send(as_json(url))
    assert isinstance(outcome, Retry)
    assert f"error={status}" in outcome.answer


@pytest.mark.slow
async def test_url_cannot_call_a_failure_a_success() -> None:
    async with answering(500) as url:
        assert isinstance(await send(as_json(url) + "?optional=yes&retry=3"), Retry)


@pytest.mark.slow
async def test_inside_is_refused_whichever_plugin_connects() -> None:
    accepted = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1

    async with raw_peer(count) as port:
        for address in (
            f"json://localhost:{port}/",
            f"mailto://user:password@localhost:{port}?to=a@b.example",
            f"irc://user:password@localhost:{port}/channel",
            f"ntfy://localhost:{port}/topic",
            f"rsyslog://127.0.0.1:{port}/daemon",
        ):
            outcome = await send(address, AddressGuard())
            assert isinstance(outcome, Rejected), (address, outcome)
            assert "is inside (loopback)" in outcome.answer, (address, outcome)
    assert accepted == 0


@pytest.mark.slow
async def test_redirect_is_not_followed() -> None:
    requests: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with receiver(answer) as url:
        outcome = await send(as_json(url))
    assert isinstance(outcome, Retry)
    assert requests == ["/hook"]


@pytest.mark.slow
async def test_hanging_receiver_is_cut_off_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[asyncio.subprocess.Process] = []
    launch = channel._launched

    async def recorded() -> asyncio.subprocess.Process:
        launched.append(await launch())
        return launched[-1]

    monkeypatch.setattr(channel, "_launched", recorded)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_peer(hang) as port, asyncio.timeout(15):
        outcome = await send(f"json://127.0.0.1:{port}/", timeout_seconds=2)
    assert outcome == Retry("Apprise did not finish within 2 seconds")
    assert launched[0].returncode is not None


@pytest.mark.slow
async def test_process_whose_parent_was_killed_ends_by_itself() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_peer(hang) as port, asyncio.timeout(20):
        order = channel.Order(
            f"json://127.0.0.1:{port}/?rto=60", "t", "t", urgent=True, allowed=("127.0.0.0/8",), seconds=2
        )
        process = await channel._launched()
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(order))
        process.stdin.write_eof()
        assert await process.wait() == -signal.SIGALRM


@pytest.mark.slow
async def test_giant_answer_is_bounded() -> None:
    async with answering(400, "x" * 2_000_000) as url:
        assert len((await send(as_json(url))).answer) <= 500


@pytest.mark.slow
async def test_refused_connection_is_tried_again_and_no_secret_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await send(f"json://user:hunter22@127.0.0.1:{unused.getsockname()[1]}/topsecret")
    assert isinstance(outcome, Retry)
    assert "hunter22" not in outcome.answer
    assert "topsecret" not in outcome.answer


@pytest.mark.slow
async def test_address_that_apprise_cannot_use_is_final_and_not_repeated() -> None:
    outcome = await send("tgram://123456789:abcdefg_hijklmnop/lead2gold/")
    assert isinstance(outcome, Rejected | Retry)
    assert "abcdefg_hijklmnop" not in outcome.answer


async def test_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "available", lambda: False)
    assert await send("json://x.example/") == Retry("The channel apprise is not configured: install tocsin[apprise].")


async def test_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_CHILD", "tocsin.no_such_module")
    assert await send("json://x.example/") == Retry(
        "not sent by Apprise: its process ended with code 1 and said nothing"
    )


@pytest.mark.slow
async def test_more_messages_than_processes_wait_for_room() -> None:
    async with answering(200) as url:
        one = AppriseChannel(LOOPBACK, timeout_seconds=30)
        outcomes = await asyncio.gather(*(one.send(as_json(url), MESSAGE) for _ in range(channel.MAX_PROCESSES + 2)))
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_schema_of_apprise_is_allowed_or_known_to_be_local() -> None:
    manager: Any = apprise.NotificationManager  # it has no types
    known = manager()
    known.load_modules()
    assert set(known.schemas()) - LOCAL - KEYED_BY_FILES == APPRISE_SCHEMAS


@pytest.mark.parametrize("schema", sorted(LOCAL | KEYED_BY_FILES | {"file", "exec", "http", "https", ""}))
async def test_what_acts_on_this_machine_is_refused_before_a_process_starts(schema: str) -> None:
    assert address_problem("apprise", f"{schema}://localhost/x") is not None
    assert isinstance(await send(f"{schema}://localhost/x"), Rejected)


@pytest.mark.parametrize("option", ["redirect=yes", "keyfile=/etc/passwd", "pgp=yes", "a=b&PGPKEY=x&pgppub=y"])
def test_options_that_weaken_the_guard_are_refused(option: str) -> None:
    assert address_problem("apprise", f"mailto://user:pass@mail.example/?{option}") is not None


WALL_REFUSES: dict[str, Callable[[Path], object]] = {
    "a program": lambda _: subprocess.run(["true"], check=False),
    "a file": lambda folder: (folder / "x").write_text("x"),
    "a connection": lambda _: socket.create_connection(("127.0.0.1", 9), 1),
    "a datagram": lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    "a unix socket": lambda folder: socket.socket(socket.AF_UNIX).connect(str(folder / "s")),
    "a name": lambda _: socket.socket().connect(("localhost", 9)),
}


@pytest.mark.parametrize("deed", WALL_REFUSES)
def test_wall_of_the_process_refuses(deed: str, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import tests.channels.test_apprise as t\n"
        "wall = t.Wall(t.AddressGuard()); sys.dont_write_bytecode = True; sys.addaudithook(wall)\n"
        "try: t.WALL_REFUSES[sys.argv[1]](Path(sys.argv[2]))\n"
        "except t.AddressRefusedError as refused: print('refused', refused); sys.exit(7)\n"
    )
    import sys

    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, deed, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 7, ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_wall_judges_ipv6_with_a_zone_and_what_a_connected_socket_sends() -> None:
    wall = Wall(AddressGuard())
    with pytest.raises(AddressRefusedError, match="link-local"):
        wall("socket.connect", (None, ("fe80::1%eth0", 1, 0, 2)))
    wall("socket.sendmsg", (None, None))
    wall("socket.connect", (None, ("93.184.216.34", 443)))
    assert "link-local" in wall.refused


def test_log_lines_lose_every_piece_of_the_address() -> None:
    import logging

    said = Said("mailto://user:s%40cret@mail.example.org/box?to=boss@corp.example")
    said.emit(
        logging.LogRecord("apprise", logging.INFO, "", 0, "to boss@corp.example by s@cret, mail.example.org", (), None)
    )
    text = said.text()
    assert not any(piece in text for piece in ("boss", "corp", "s@cret", "cret", "mail.example.org")), text
    assert json.dumps(text)


@pytest.mark.slow
async def test_text_beyond_the_bound_is_cut() -> None:
    seen: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(len((await request.json())["message"]))
        return web.Response()

    async with receiver(answer) as url:
        long = replace(MESSAGE, text="x" * 300_000)
        assert isinstance(await AppriseChannel(LOOPBACK, timeout_seconds=20).send(as_json(url), long), Delivered)
    assert seen[0] <= channel.MAX_TEXT_CHARACTERS + 200
