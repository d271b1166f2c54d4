"""A real witness in a process of its own: PyPI's witness-log, a C2SP witness in Rust, behind HTTP on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAME = "witness.example/real"
PROGRAM = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from witness_log import WitnessService

state, name, *logs = sys.argv[1:]
WitnessService.create_state(state)
witness = WitnessService.new(name, bytes(32), state)
for log in logs:
    origin = log.split("+", 1)[0]
    witness.add_log(origin, log)

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, kind, text = witness.handle_add_checkpoint_http(body)
        if self.path != "/add-checkpoint":
            status, kind, text = 404, "text/plain", "what?"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, witness.vkey(), flush=True)
server.serve_forever()
"""


@dataclass(frozen=True, slots=True)
class RealWitness:
    """A witness that runs."""

    url: str
    vkey: str


@contextmanager
def witness_process(folder: Path, *logs: str) -> Iterator[RealWitness]:
    """Run a witness that knows the logs with these vkeys."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(folder / "state"), NAME, *logs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port, vkey = process.stdout.readline().split()
            yield RealWitness(f"http://127.0.0.1:{port}", vkey)
        finally:
            process.kill()
