"""A newcomer's path by real programs: from `tocsin up` in an empty directory to the first own error on the page."""

from __future__ import annotations

import http.cookiejar
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_services import running
from tests.support.servers import temporary_directory

WITHIN_SECONDS = 120
BETWEEN_LOOKS_SECONDS = 0.2


class Browser:
    """As much of a browser as signing in and reading takes: cookies, forms, redirects."""

    def __init__(self, url: str) -> None:
        self._url = url
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(jar)

    def read(self, path: str, **said: str) -> str:
        """Open a page, or send a form to it."""
        body = urllib.parse.urlencode(said).encode() if said else None
        with self._opener.open(self._url + path, body, timeout=30) as answer:
            return str(answer.read().decode())


class Watch:
    """What took how long since the start."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.parts: list[str] = []

    def lap(self, part: str) -> None:
        """Note what was reached."""
        now = time.monotonic()
        self.parts.append(f"{now - self._last:6.1f} s  {part}")
        self._last = now

    @property
    def total(self) -> float:
        """Return the seconds until what was reached last."""
        return self._last - self._began


@pytest.fixture
def place() -> Iterator[tuple[dict[str, str], Path]]:
    with temporary_directory() as path:
        # Not port 0: the pages name the address that the settings say.
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        yield {"TOCSIN_DATA_DIR": str(path / "data"), "TOCSIN_PORT": str(port)}, path


def _fails(path: Path, lines: str) -> None:
    """Run a program that consists of the lines that somebody pasted; it ends by its own error."""
    program = path / "mine.py"
    program.write_text(lines)
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "ZeroDivisionError" in ended.stderr) == (1, True), ended.stderr


def _until_shown(browser: Browser, text: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while text not in (page := browser.read("/")):
        assert time.monotonic() < deadline, page
        time.sleep(BETWEEN_LOOKS_SECONDS)


@pytest.mark.slow
def test_the_first_own_error_stands_on_the_page_in_two_minutes(
    place: tuple[dict[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    variables, path = place
    watch = Watch()
    with running(variables, path, "up") as server:
        printed = server.until("Then: ")
        watch.lap("`tocsin up` in an empty directory, until it says that it is running")
        browser, said = _signed_in(printed)
        watch.lap("sign in with what it printed; the empty page says how to begin")
        _fails(path, said)
        watch.lap("run the lines that it printed")
        _until_shown(browser, "ZeroDivisionError")
        watch.lap("until the error stands on the page")
        ended = server.stop(signal.SIGINT)
    with capsys.disabled():
        print("", *watch.parts, f"{watch.total:6.1f} s  in all", sep="\n")
    assert ended.code == 0, ended.err
    assert watch.total < WITHIN_SECONDS


@pytest.mark.slow
def test_the_lines_with_a_key_that_was_made_on_the_empty_page_do_as_well(
    place: tuple[dict[str, str], Path],
) -> None:
    variables, path = place
    with running(variables, path, "up") as server:
        browser, _ = _signed_in(server.until("Then: "))
        csrf, action = _first_form(browser.read("/"))
        page = browser.read(action, csrf=csrf)
        _fails(path, f"import sentry_sdk\n{re.findall(r'^sentry_sdk.init.*[)]', page, re.MULTILINE)[0]}\n1 / 0\n")
        _until_shown(browser, "ZeroDivisionError")
        server.stop(signal.SIGINT)


def _signed_in(printed: str) -> tuple[Browser, str]:
    """Sign in as the printed block says; return the browser, and the program that the block gives."""
    email, password = re.findall(r"sign in as +(\S+)\n +password +(\S+)", printed)[0]
    url = re.findall(r"1\. Sign in at (\S+) as", printed)[0]
    browser = Browser(url)
    assert "Sign in to Tocsin" in browser.read("/")
    home = browser.read("/sign-in", email=email, password=password, next="/")
    assert "All is quiet" in home
    lines = re.findall(r"^ +(import sentry_sdk|sentry_sdk\.init.*|1 / 0)$", printed, re.MULTILINE)
    assert f"{url.replace('://', '://KEY@')}/1" in home
    return browser, "\n".join(lines) + "\n"


def _first_form(page: str) -> tuple[str, str]:
    action = re.findall(r'action="(/admin/projects/\d+/keys)"', page)[0]
    return re.findall(r'name="csrf" value="([0-9a-f]{96})"', page)[0], action
