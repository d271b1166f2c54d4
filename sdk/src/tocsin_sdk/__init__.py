"""Reports a program's failures to Tocsin: on the disk first, then sent until the server has them.

    import tocsin_sdk
    tocsin_sdk.init("http://KEY@HOST:PORT/PROJECT", service="shop")

Nothing here raises into the host once `init` has returned, and nothing blocks it longer than `max_capture_seconds`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Callable

from tocsin_sdk import complaints as _complaints

if TYPE_CHECKING:
    from tocsin_sdk.client import BeforeSend, Client

__all__ = ["capture_exception", "capture_message", "close", "flush", "init", "problems"]

DSN_VARIABLE = "TOCSIN_DSN"
EXIT_SECONDS = 2.0
"""How long a program that ends is held up to send its last reports. What is left then is sent by the next process."""

_client: Client | None = None
_removals: list[Callable[[], None]] = []


def init(
    dsn: str | None = None,
    *,
    spool_directory: str | os.PathLike[str] | None = None,
    service: str | None = None,
    environment: str = "",
    release: str = "",
    server_name: str | None = None,
    before_send: BeforeSend | None = None,
    install_hooks: bool = True,
    logging_level: int | None = 40,
    max_capture_seconds: float = 0.05,
    timeout_seconds: float = 10.0,
) -> None:
    """Begin to report. Calling it again replaces what was set before.

    Args:
        dsn: where reports go; TOCSIN_DSN if it is not given.
        spool_directory: where reports wait, for one project and service alone. If it is not given: one below
            TOCSIN_SPOOL or the user's state directory.
        service: what this program is called; the name of its script if it is not given.
        environment: "production", "staging" or the like.
        release: the program's version.
        server_name: the machine; its host name if it is not given.
        before_send: is given each report as plain JSON, already scrubbed; what it returns is sent, and None is not.
        install_hooks: whether uncaught exceptions of the program and its threads are reported.
        logging_level: log records from this level on are reported; None for none of them. Needs `install_hooks`.
        max_capture_seconds: a report that is not on the disk after this time is written behind the caller's back.
        timeout_seconds: for each step of a request to the server.

    Raises:
        ValueError: there is no DSN, or it is none. This is the one error that a host ever sees.
    """
    global _client  # noqa: PLW0603  # a process has one client, as it has one sys.excepthook
    from tocsin_sdk.client import Client, Options
    from tocsin_sdk.directories import earlier_spool
    from tocsin_sdk.directories import spool_directory as default_directory
    from tocsin_sdk.dsn import Dsn
    from tocsin_sdk.report import Origin, program_name

    where = Dsn.parse(_chosen(dsn))
    name = program_name() if service is None else service
    options = Options(
        dsn=where,
        spool_directory=os.fspath(spool_directory or default_directory(where, name)),
        earlier_spool=None if spool_directory else earlier_spool(),
        origin=Origin(name, environment, release, _host_name() if server_name is None else server_name),
        before_send=before_send,
        max_capture_seconds=max_capture_seconds,
        timeout_seconds=timeout_seconds,
    )
    before, client = _client, Client(options)
    client.start()
    _client = client
    _remove_hooks()
    if install_hooks:
        from tocsin_sdk import hooks

        _removals.extend(hooks.install(client, logging_level))
    if before is None:
        atexit.register(_at_exit)
    else:
        before.stop(EXIT_SECONDS)  # It is not closed: what other threads are about to report to it is kept.


def capture_exception(
    error: BaseException | None = None,
    *,
    severity: str = "HIGH",
    tags: Mapping[str, object] | None = None,
    context: Mapping[str, object] | None = None,
    trace_id: str = "",
    user_id: str = "",
) -> str:
    """Report an exception, by default the one being handled; return the event id, "" if nothing was reported."""
    try:
        client = current()
        if client is None:
            return ""
        details = client.details(tags, context, trace_id, user_id)
        return client.capture_exception(error, severity=severity, details=details)
    except RecursionError:
        _complaints.unsaid += 1
        return ""


def capture_message(
    message: str,
    *,
    severity: str = "HIGH",
    template: str = "",
    tags: Mapping[str, object] | None = None,
    context: Mapping[str, object] | None = None,
    trace_id: str = "",
    user_id: str = "",
) -> str:
    """Report a message; return the event id, "" if nothing was reported.

    `template` is the message before its parameters were filled in: it tells which failure this is.
    """
    try:
        client = current()
        if client is None:
            return ""
        details = client.details(tags, context, trace_id, user_id)
        return client.capture_message(message, severity=severity, template=template, details=details)
    except RecursionError:
        _complaints.unsaid += 1
        return ""


def flush(timeout_seconds: float = 2.0) -> bool:
    """Send now; return whether the server had everything in time."""
    return _client is None or _client.flush(timeout_seconds)


def close(timeout_seconds: float = 2.0) -> bool:
    """Flush, stop, and take the hooks out; return whether the server had everything in time."""
    global _client
    client, _client = _client, None
    if client is None:
        return True
    _remove_hooks()
    return client.close(timeout_seconds)


def problems() -> int:
    """Return how often something went wrong in this package and process. Each is said on stderr, if it can be."""
    return _complaints.count()


def current() -> Client | None:
    """Return the client that `init` made, for integrations; without one it is said that something was lost."""
    if _client is None:
        _complaints.say("a failure is not reported: tocsin_sdk.init has not been called, or close already has")
    return _client


def _remove_hooks() -> None:
    while _removals:
        _removals.pop()()


def _at_exit() -> None:
    """Send what there is, and stay able to keep what finalizers report."""
    if _client is not None:
        _client.stop(EXIT_SECONDS)


def _chosen(dsn: str | None) -> str:
    chosen = dsn or os.environ.get(DSN_VARIABLE)
    if not chosen:
        raise ValueError(f"There is no DSN: give init one, or set {DSN_VARIABLE}. `tocsin projects add` prints one.")
    return chosen


def _host_name() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
