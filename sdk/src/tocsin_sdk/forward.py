"""A forwarder on loopback: any client, in any language, keeps its DSN but for host and port, and loses nothing.

Each POST is written to the spool, then answered as its client expects, then delivered for as long as it takes.

    python -m tocsin_sdk.forward --to https://tocsin.example.org --spool /var/spool/tocsin
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import secrets
import signal
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from tocsin_sdk import clock
from tocsin_sdk.delivery import Answer as Delivered
from tocsin_sdk.delivery import Verdict
from tocsin_sdk.sender import Bundle, Sender
from tocsin_sdk.spool import Parcel, Spool, SpoolUnusableError

DEFAULT_LISTEN = "127.0.0.1:8421"
MAX_BODY_BYTES = 20_971_520
"""As much as the server takes in one request."""
MAX_HEAD_BYTES = 32_768
"""Path and kept headers of a request: they lie in the spool beside its body."""
MAX_CONNECTIONS = 256
CROWDED_CONNECTIONS = 192
"""From here on connections are not kept open, so that new clients find a place."""
MAX_LARGE_BODIES = 4
LARGE_BODY_BYTES = 1_048_576
"""Larger bodies are read a few at a time: what is in memory stays bounded."""
PIECE_BYTES = 65_536
MAX_CHUNK_LINE_BYTES = 1_024
MAX_TRAILERS = 100
IDLE_SECONDS = 15.0
MAX_BODY_SECONDS = 60.0
STOP_SECONDS = 5.0
LAST_SENDING_SECONDS = 1.0
LOCKED_SECONDS = 300.0
"""When a request is tried again that the server did not let in: somebody has to repair something first."""
MAX_LOCKED = 1_000
"""Keys and paths that are remembered as not let in."""
RETRY_AFTER_SECONDS = 5
MAX_PEEKED_BYTES = 1_048_576
"""As much of a body is decompressed to find the event id that the answer names."""
STOPPED_AT_ONCE = 130

KEY_HEADERS = frozenset({"authorization", "x-routing-key", "x-sentry-auth", "x-tocsin-key"})
KEPT_HEADERS = KEY_HEADERS | {"content-encoding", "content-type", "idempotency-key", "origin", "user-agent"}
"""What the server reads of a request. Cookies and the like are nobody's business here."""
KEPT_PREFIX = "ce-"
"""CloudEvents in binary mode carry their attributes in headers."""
SENTRY_ENDS = ("/envelope", "/store")
CORS = (("Access-Control-Allow-Origin", "*"),)
PREFLIGHT = (
    *CORS,
    ("Access-Control-Allow-Methods", "POST, OPTIONS"),
    ("Access-Control-Allow-Headers", "Authorization, Content-Encoding, Content-Type, X-Sentry-Auth"),
    ("Access-Control-Max-Age", "3600"),
)
JSON = "application/json"


class UnreadableError(Exception):
    """A request that cannot be taken: the status that says so, and the words."""

    def __init__(self, status: HTTPStatus, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a client is told."""

    status: int
    content_type: str = JSON
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, status: int, document: object, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
        """Return an answer in JSON."""
        return cls(status, body=json.dumps(document).encode(), headers=headers)


def answer_to(parcel: Parcel) -> tuple[Parcel, Answer]:
    """Return what to keep of a request, and the answer that its client takes for delivered.

    Raises UnreadableError for an event of PagerDuty's API that is none: there is no key that could be answered.
    """
    path = urlsplit(parcel.path).path.rstrip("/")
    headers = {name.lower(): value for name, value in parcel.headers}
    if path.endswith(SENTRY_ENDS):
        event_id = _sentry_event_id(parcel.body, headers.get("content-encoding", ""), whole=path.endswith("/store"))
        return parcel, Answer.of(200, {"id": event_id} if event_id else {}, CORS)
    if path.endswith("/enqueue"):
        return _pagerduty(parcel)
    if path.startswith("/v1/"):
        return parcel, _otlp(headers.get("content-type", ""))
    if path.endswith("/api/v1/errors"):
        # What becomes of each report only the server knows; both lists stand here for clients that look into them.
        return parcel, Answer.of(202, {"accepted": [], "rejected": [], "kept": True})
    return parcel, Answer(200)


def _pagerduty(parcel: Parcel) -> tuple[Parcel, Answer]:
    try:
        event = json.loads(parcel.body)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise UnreadableError(HTTPStatus.BAD_REQUEST, "The body is not an event: a JSON object is expected.")
    if not event.get("dedup_key"):
        # The client is told the key now, so it is made now: the server must not make another one.
        event["dedup_key"] = secrets.token_hex(16)
        parcel = Parcel(parcel.path, json.dumps(event).encode(), parcel.headers)
    told = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
    return parcel, Answer.of(202, told)


def _otlp(content_type: str) -> Answer:
    """Answer in the request's own content type; an empty protobuf message is no bytes at all."""
    is_json = content_type.partition(";")[0].strip().lower() == JSON
    return Answer(200) if is_json else Answer(200, "application/x-protobuf", b"")


def _sentry_event_id(body: bytes, encoding: str, *, whole: bool) -> str | None:
    """Return the event's id from an envelope's first line, or from a stored event; None if it cannot be seen here."""
    try:
        text = _peeked(body, encoding.strip().lower())
        document = json.loads(text if whole else text.partition(b"\n")[0])
    except (ValueError, RecursionError, zlib.error):
        return None
    event_id = document.get("event_id") if isinstance(document, dict) else None
    return event_id if isinstance(event_id, str) else None


def _peeked(body: bytes, encoding: str) -> bytes:
    if encoding in ("gzip", "x-gzip", "deflate"):
        # 47: zlib's or gzip's header, whichever it is.
        return zlib.decompressobj(47).decompress(body, MAX_PEEKED_BYTES)
    return body[:MAX_PEEKED_BYTES]


@dataclass(frozen=True)
class Voice:
    """Says what happens: lines for people, or one JSON object a line."""

    as_json: bool

    def say(self, event: str, words: str, **facts: object) -> None:
        """Tell what was asked for, on standard output."""
        self._write(sys.stdout, event, words, facts)

    def warn(self, event: str, words: str) -> None:
        """Tell of trouble, on standard error."""
        self._write(sys.stderr, event, words, {})

    def _write(self, stream: Any, event: str, words: str, facts: dict[str, object]) -> None:
        line = json.dumps({"event": event, "detail": words, **facts}) if self.as_json else f"tocsin forward: {words}"
        # Whoever closed the stream does not want to hear it; keeping and delivering must go on.
        with contextlib.suppress(OSError, ValueError):
            stream.write(line + "\n")
            stream.flush()


class SharedSender(Sender):
    """Sends for many clients: a request with a wrong key or path waits aside, and holds up nobody else's."""

    def __init__(self, spool: Spool, base_url: str, *, on_problem: Callable[[str], None]) -> None:
        super().__init__(spool, base_url, on_problem=on_problem)
        self._locked: dict[Parcel, float] = {}

    def _send(self, bundle: Bundle) -> tuple[Verdict, float]:
        """Send a request, unless another one with the same key was just not let in."""
        until = self._locked.get(_door(bundle.first), 0.0)
        return self._wait_aside(bundle, until) if clock.now() < until else super()._send(bundle)

    def _settle(self, bundle: Bundle, answer: Delivered) -> tuple[Verdict, float]:
        if answer.verdict is not Verdict.LOCKED:
            return super()._settle(bundle, answer)
        path = urlsplit(bundle.first.path).path
        self._say("locked", f"{self._base_url} does not let a request for {path} in: {answer.reason}. It is kept")
        door, until = _door(bundle.first), clock.now() + LOCKED_SECONDS
        if _shows_its_key(door):
            if len(self._locked) >= MAX_LOCKED:
                self._locked.clear()
            self._locked[door] = until
        return self._wait_aside(bundle, until)

    def _wait_aside(self, bundle: Bundle, until: float) -> tuple[Verdict, float]:
        self._spool.again(bundle.ids, until)
        # It is settled. What was joined has one key, so none of it is asked for again by itself.
        return Verdict.DONE, 0.0


def _door(parcel: Parcel) -> Parcel:
    """Return what a request shows in order to be let in: all of its head but what tells it from the next one."""
    return Parcel(parcel.path, b"", tuple(one for one in parcel.headers if one[0].lower() != "idempotency-key"))


def _shows_its_key(door: Parcel) -> bool:
    """Return whether the key is in the head: some clients have it in the body, where it may be another each time."""
    return "?" in door.path or any(name.lower() in KEY_HEADERS for name, _ in door.headers)


class Forwarder(ThreadingHTTPServer):
    """Takes requests, keeps them, and has them delivered."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily, spool: Spool, to: str, voice: Voice):
        self.address_family = family
        self.spool = spool
        self.to = to
        self.voice = voice
        self.sender = SharedSender(spool, to, on_problem=self._on_problem)
        self.large_bodies = threading.BoundedSemaphore(MAX_LARGE_BODIES)
        self.is_stopping = False
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._counting = threading.Condition()
        self._connections = 0
        self._requests = 0
        self._is_full = False
        self._last_problem: str | None = None
        super().__init__(address, Taker)

    @property
    def url(self) -> str:
        """Where clients reach it."""
        name, port = self.socket.getsockname()[:2]
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def is_crowded(self) -> bool:
        """Tell whether connections should be given up after their answer."""
        return self.is_stopping or self._connections > CROWDED_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, as soon as there is a place for it."""
        while not self._places.acquire(timeout=0.5):
            if self.is_stopping:
                self.shutdown_request(request)
                return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        with self._counting:
            self._connections += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._counting:
                self._connections -= 1
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # the base class has them
        """Say in one line what went wrong with a connection; a client that has gone is no news."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self.voice.warn("failed", f"a request failed, and was not taken: {type(error).__name__}: {error}")

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Count a request, so that stopping waits for its answer."""
        with self._counting:
            self._requests += 1
        try:
            yield
        finally:
            with self._counting:
                self._requests -= 1
                self._counting.notify_all()

    def keep(self, parcel: Parcel) -> Answer | None:
        """Write a request to the disk; return the refusal if that is not possible."""
        if self.is_stopping:
            return _unavailable("The forwarder is stopping.")
        try:
            is_kept = self.spool.put(parcel)
        except SpoolUnusableError as error:
            self.voice.warn("failed", f"the spool cannot be written, so a request was refused: {error}")
            return _unavailable("The spool cannot be written.")
        self._note(has_room=is_kept)
        if not is_kept:
            return _unavailable("The spool is full.")
        self.sender.wake()
        return None

    def _note(self, *, has_room: bool) -> None:
        if has_room != self._is_full:
            return  # as it was
        self._is_full = not has_room
        if has_room:
            self.voice.warn("room", "the spool has room again.")
        else:
            self.voice.warn("full", f"the spool is full: requests get 503 until {self.to} has taken some of them.")

    def health(self) -> Answer:
        """Tell how much is waiting, refused and lost."""
        try:
            counts = self.spool.counts()
        except SpoolUnusableError as error:
            return Answer.of(503, {"status": "broken", "to": self.to, "lastProblem": str(error)})
        state = "stopping" if self.is_stopping else "full" if self._is_full else "ok"
        document = {
            "status": state,
            "to": self.to,
            "waiting": counts.waiting,
            "refused": counts.refused,
            "dropped": counts.dropped,
            "lastProblem": self._last_problem,
        }
        return Answer.of(200 if state == "ok" else 503, document)

    def _on_problem(self, words: str) -> None:
        if not self.is_stopping:
            self._last_problem = words
            self.voice.warn("problem", words)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; then answer what is under way, and leave the rest on the disk."""
        self.sender.start()
        serving = threading.Thread(target=self.serve_forever, args=(0.1,), name="tocsin-forward", daemon=True)
        serving.start()
        stop.wait()
        self.is_stopping = True
        self.shutdown()
        self.server_close()
        with self._counting:
            self._counting.wait_for(lambda: self._requests == 0, STOP_SECONDS)
        self.sender.close(LAST_SENDING_SECONDS)


def _unavailable(words: str) -> Answer:
    retry_after = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
    return Answer.of(503, {"detail": words, "hint": "Nothing was kept: send it again."}, retry_after)


class Taker(BaseHTTPRequestHandler):
    """Takes one connection's requests."""

    server: Forwarder
    protocol_version = "HTTP/1.1"
    server_version = "tocsin-forward"
    sys_version = ""
    timeout = IDLE_SECONDS
    # Head and body of an answer are two writes: the second must not wait for the first one's acknowledgment.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Keep a request, then answer it."""
        with self.server.under_way():
            try:
                answer = self._take()
            except UnreadableError as error:
                # How much of the body was read is not known: what follows on the connection is not a request.
                self.close_connection = True
                answer = Answer.of(error.status, {"status": "invalid", "message": str(error), "detail": str(error)})
            self._give(answer)

    def _take(self) -> Answer:
        length = self._length()
        is_large = length is None or length > LARGE_BODY_BYTES
        with self.server.large_bodies if is_large else contextlib.nullcontext():
            body = _chunked(self.rfile) if length is None else _exactly(self.rfile, length, _deadline())
            parcel, answer = answer_to(Parcel(self.path, body, self._kept_headers()))
            return self.server.keep(parcel) or answer

    def _length(self) -> int | None:
        """Return how long the body is, None if it comes in chunks. Raises UnreadableError (RFC 9112, section 6.3)."""
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise UnreadableError(HTTPStatus.BAD_REQUEST, "Only `chunked` is understood, without a Content-Length.")
            return None
        if not lengths:
            return 0
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 20):
            raise UnreadableError(HTTPStatus.BAD_REQUEST, "The Content-Length is not one number.")
        if int(lengths[0]) > MAX_BODY_BYTES:
            raise _too_large()
        return int(lengths[0])

    def _kept_headers(self) -> tuple[tuple[str, str], ...]:
        kept = [
            (name, value)
            for name, value in self.headers.items()
            if name.lower() in KEPT_HEADERS or name.lower().startswith(KEPT_PREFIX)
        ]
        if not any(name.lower() == "idempotency-key" for name, _ in kept):
            # Should an answer of the server be lost, the same request goes out again: by this it is known as the same.
            kept.append(("Idempotency-Key", secrets.token_hex(16)))
        if len(self.path) + sum(len(name) + len(value) for name, value in kept) > MAX_HEAD_BYTES:
            raise UnreadableError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"Path and headers are larger than {MAX_HEAD_BYTES:,} bytes.",
            )
        return tuple(kept)

    def handle_expect_100(self) -> bool:
        """Ask for the body only if it will be taken."""
        try:
            self._length()
        except UnreadableError:
            return True  # do_POST says why, and nothing more is read
        return super().handle_expect_100()

    def do_OPTIONS(self) -> None:
        """Tell a browser that any page may report its errors here."""
        if urlsplit(self.path).path.rstrip("/").endswith(SENTRY_ENDS):
            self._give(Answer(204, headers=PREFLIGHT))
        else:
            self._give(Answer(204, headers=(("Allow", "POST, OPTIONS"),)))

    def do_GET(self) -> None:
        """Answer /healthz; nothing else is to be had here."""
        if urlsplit(self.path).path == "/healthz":
            self._give(self.server.health())
        else:
            words = f"The forwarder takes POST requests for {self.server.to}; GET /healthz tells how it is."
            self._give(Answer.of(404, {"detail": words}))

    def _give(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        has_body = answer.status != HTTPStatus.NO_CONTENT
        if has_body:
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection or self.server.is_crowded():
            self.send_header("Connection", "close")
        self.end_headers()
        if has_body:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing of a request: its path may carry a key."""


def _too_large() -> UnreadableError:
    return UnreadableError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_BODY_BYTES:,} bytes. Send it in parts."
    )


def _deadline() -> float:
    return monotonic() + MAX_BODY_SECONDS


def _exactly(stream: BufferedIOBase, length: int, deadline: float) -> bytes:
    pieces = []
    while length:
        piece = stream.read1(min(length, PIECE_BYTES))
        if not piece:
            raise ConnectionError("the client went away in the middle of a body")
        if monotonic() > deadline:
            raise UnreadableError(HTTPStatus.REQUEST_TIMEOUT, f"The body took more than {MAX_BODY_SECONDS:g} seconds.")
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _chunked(stream: BufferedIOBase) -> bytes:
    """Return a body that comes in chunks (RFC 9112, section 7.1)."""
    deadline = _deadline()
    body = bytearray()
    while size := _chunk_size(stream):
        if len(body) + size > MAX_BODY_BYTES:
            raise _too_large()
        body += _exactly(stream, size, deadline)
        if _line(stream):
            raise UnreadableError(HTTPStatus.BAD_REQUEST, "A chunk is longer than it says.")
    for _ in range(MAX_TRAILERS):
        if not _line(stream):
            return bytes(body)
    raise UnreadableError(HTTPStatus.BAD_REQUEST, f"There are more than {MAX_TRAILERS} trailers.")


def _chunk_size(stream: BufferedIOBase) -> int:
    text = _line(stream).partition(b";")[0].strip()
    if not text or len(text) > 16 or text.strip(b"0123456789abcdefABCDEF"):
        raise UnreadableError(HTTPStatus.BAD_REQUEST, "A chunk does not begin with its size.")
    return int(text, 16)


def _line(stream: BufferedIOBase) -> bytes:
    line = stream.readline(MAX_CHUNK_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise UnreadableError(HTTPStatus.BAD_REQUEST, "A line between the chunks does not end.")
    return line.strip(b"\r\n")


class UsageError(Exception):
    """What was asked for cannot be done; the words say what to change."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the forwarder until SIGTERM or SIGINT. Return 0 then, 1 when it could not start."""
    options = _options(arguments)
    voice = Voice(options.json)
    try:
        return _run(options, voice)
    except (UsageError, OSError) as error:
        voice.warn("failed", str(error))
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tocsin_sdk.forward",
        description="Take requests for a Tocsin server on this machine, keep them on the disk, and deliver them.",
    )
    parser.add_argument("--to", required=True, metavar="URL", help="the server, such as https://tocsin.example.org")
    parser.add_argument("--listen", default=DEFAULT_LISTEN, metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--spool", default=_default_spool(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--allow-remote", action="store_true", help="listen where other machines can reach it, too")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args(arguments)


def _default_spool() -> str:
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "tocsin", "forward")


def _run(options: argparse.Namespace, voice: Voice) -> int:
    to = _server_url(options.to)
    family, address = _address(options.listen, allow_remote=options.allow_remote)
    stop = threading.Event()
    _stop_on_signals(stop)
    spool = Spool(options.spool, on_problem=lambda words: voice.warn("spool", words))
    try:
        with Forwarder(address, family, spool, to, voice) as forwarder:
            _welcome(forwarder, options.spool)
            forwarder.run(stop)
        waiting = spool.counts().waiting
        words = (
            f"stopped; {waiting} waiting in {options.spool}, to be delivered at the next start."
            if waiting
            else "stopped."
        )
        voice.say("stopped", words, waiting=waiting)
    finally:
        spool.close()
    return 0


def _server_url(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise UsageError(f"--to {text} is not a URL such as https://tocsin.example.org.")
    if url.username is not None:
        raise UsageError("--to carries a key; it is the clients that bring their keys. Leave out what is before the @.")
    return text.rstrip("/")


def _address(text: str, *, allow_remote: bool) -> tuple[socket.AddressFamily, tuple[str, int]]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"--listen {text} is not HOST:PORT, such as {DEFAULT_LISTEN}.")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"--listen {text} names no address of this machine: {error}.") from error
    name = str(found[4][0])
    if not allow_remote and not ipaddress.ip_address(name.partition("%")[0]).is_loopback:
        raise UsageError(
            f"{name} can be reached from other machines, and whoever reaches it may fill the spool. "
            "Listen on 127.0.0.1, or mean it: --allow-remote."
        )
    return found[0], (name, int(port))


def _stop_on_signals(stop: threading.Event) -> None:
    def stop_or_leave(*_: object) -> None:
        if stop.is_set():
            # Whatever was answered is on the disk.
            os._exit(STOPPED_AT_ONCE)
        stop.set()

    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop_or_leave)


def _welcome(forwarder: Forwarder, directory: str) -> None:
    waiting = forwarder.spool.counts().waiting
    url = forwarder.url
    facts = {"url": url, "to": forwarder.to, "spool": directory, "waiting": waiting}
    forwarder.voice.say("ready", f"{url} delivers to {forwarder.to}; {waiting} waiting in {directory}.", **facts)
    if forwarder.voice.as_json:
        return
    forwarder.voice.say(
        "ready",
        f"""paste into your programs, keeping their keys:
  Sentry client    http://KEY@{url.removeprefix("http://")}/PROJECT
  Tocsin's JSON    POST {url}/api/v1/errors
  OpenTelemetry    OTEL_EXPORTER_OTLP_ENDPOINT={url}
  PagerDuty        {url}/v2/enqueue
Stop it with Ctrl-C; what is not delivered then is delivered at the next start.""",
    )


if __name__ == "__main__":
    sys.exit(main())
