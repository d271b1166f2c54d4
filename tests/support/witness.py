"""A C2SP witness in a process of its own: the one of PyPI's `witness-log`, behind Python's HTTP server.

    python -m tests.support.witness STATE NAME VKEY…    serves on a free port, after a line of JSON with url and vkey

It keeps what it cosigned in the file STATE, and its key comes of NAME: stopped and started again, it is the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import witness_log

ROOT = Path(__file__).parents[2]
NAME = "witness.example/w1"
STOP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Witness:
    """Where a running witness listens (add-checkpoint is below that), and the key of its cosignatures."""

    url: str
    vkey: str


@contextmanager
def witnessing(state: Path, *logs: str, name: str = NAME) -> Iterator[Witness]:
    """Run a witness for the logs with these vkeys; it remembers in the file `state`, made if it is missing."""
    command = [sys.executable, "-m", "tests.support.witness", str(state), name, *logs]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Witness(**json.loads(process.stdout.readline()))
        finally:
            process.kill()
            process.wait(STOP_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    service: witness_log.WitnessService

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        status, content_type, answer = 404, "text/plain", "not here\n"
        if self.path == "/add-checkpoint":
            status, content_type, answer = self.service.handle_add_checkpoint_http(body)
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as the base class names it
        """Say nothing: the tests read the answers."""


def main(state: str, name: str, *logs: str) -> None:
    if not Path(state).exists():
        witness_log.WitnessService.create_state(state)
    _Handler.service = witness_log.WitnessService.new(name, sha256(name.encode()).digest(), state)
    for vkey in logs:
        _Handler.service.add_log(vkey.partition("+")[0], vkey)
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        print(
            json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "vkey": _Handler.service.vkey()}), flush=True
        )
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
