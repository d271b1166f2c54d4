"""`tocsin up`, `serve` and `worker`: the programs that run on, until they are told to stop or a part of them dies."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tocsin import bootstrap
from tocsin.app.accounts import FirstStart, first_start
from tocsin.app.projects import dsn
from tocsin.app.vouch import Voucher
from tocsin.app.watchdog import Watchdog
from tocsin.app.work import App
from tocsin.bootstrap import Sources
from tocsin.channels import Channel
from tocsin.cli import event_loop, logs
from tocsin.cli.options import call_of
from tocsin.cli.output import Call, styled
from tocsin.cli.running import database
from tocsin.clock import monotonic_seconds
from tocsin.errors import Code, TocsinError, refuse
from tocsin.settings import Settings, load_settings
from tocsin.signing.signer import Signer

STOP_SECONDS = 30.0
"""How long what is under way may take to end; longer than a delivery may take by default."""
INTERRUPTED = 130
VACATE_SECONDS = 5.0
"""How long a taken port may take to become free: web processes whose parent was killed finish what is under way."""
_LOOK_SECONDS = 0.1
_HIGHLIGHT = "bold yellow"

HostOption = Annotated[str | None, typer.Option("--host", help="The address to listen on, instead of TOCSIN_HOST.")]
PortOption = Annotated[
    int | None, typer.Option("--port", min=0, max=65_535, help="The port, instead of TOCSIN_PORT; 0 takes a free one.")
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes", min=0, max=64, help="Web processes, instead of TOCSIN_WEB_PROCESSES; 0: one for each core."
    ),
]


def up(
    context: typer.Context,
    host: HostOption = None,
    port: PortOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Run everything on this machine.

    Database, migrations, web, API and worker. Without TOCSIN_DATABASE_URL an embedded PostgreSQL is started in
    TOCSIN_DATA_DIR. The first start makes a superadmin and a project, and prints the sign-in and the DSN: once.
    Ctrl-C stops it cleanly; started again it goes on where it was.

    \b
    Example:
      tocsin up
      tocsin up --host 0.0.0.0 --port 8420

    Next: paste the DSN into your application, or try it with `tocsin report`.
    """
    call = call_of(context)
    _run(_up(call, _settings(host=host, port=port, web_processes=processes)))


def serve(
    context: typer.Context,
    host: HostOption = None,
    port: PortOption = None,
    processes: ProcessesOption = None,
) -> None:
    """Run the web and API half.

    Several processes share its port, one for each core up to four; `--processes 1` is all in one. Start
    `tocsin worker` beside it, on this machine or another. It never migrates: where the schema is behind, it
    refuses and says so. On a database without users it makes the first superadmin, as `tocsin up` does.

    \b
    Example:
      tocsin migrate && tocsin serve --host 0.0.0.0

    Next: `tocsin worker`, for without one nobody is paged.
    """
    call = call_of(context)
    _run(_serve(call, _settings(host=host, port=port, web_processes=processes)))


def worker(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="How this worker is called; else by host and process.")] = None,
) -> None:
    """Run the half that delivers pages and escalates.

    Any number of workers may run, nothing happens twice. They also keep the log; the one that has the signer's
    directory (TOCSIN_SIGNER_DIR) signs it. It never migrates: where the schema is behind, it
    refuses and says so.

    \b
    Example:
      tocsin worker --name pager-1

    Next: `tocsin doctor` tells whether it was seen, and whether pages can leave.
    """
    call = call_of(context)
    _run(_work(call, load_settings(), (name or _own_name())[:200]))


def _run(main: Coroutine[Any, Any, None]) -> None:
    logs.for_services()
    event_loop.run(main)


def _settings(**given: object) -> Settings:
    return load_settings(**{name: value for name, value in given.items() if value is not None})


async def _up(call: Call, settings: Settings) -> None:
    settings = await _with_a_port(settings)
    await until_port_is_free(call, settings.host, settings.port)
    async with AsyncExitStack() as stack:
        sources = await stack.enter_async_context(database(call, settings, create=True))
        first = await bootstrap.prepare(sources, settings)
        _tell_sign_in(call, first)
        # Each half has connections of its own: a storm of reports must not keep the pager waiting for one.
        web, pager = [await stack.enter_async_context(bootstrap.wired(sources, settings)) for _ in range(2)]
        channels = await stack.enter_async_context(bootstrap.outbound_channels(settings))
        _warn_if_nobody_is_mailed(call, channels)
        signer = _signer(call, settings, alone=True)
        vouchers = await stack.enter_async_context(bootstrap.vouchers_of(settings))
        watchdog = await stack.enter_async_context(bootstrap.watchdog_of(settings))
        stop = asyncio.Event()
        parts = {
            "web server": _web(web, sources, stop, lambda url: _tell_ready(call, settings, url, first)),
            "worker": _pager(pager, channels, _own_name(), signer, vouchers, watchdog, stop),
        }
        await run_parts(call, stop, parts)


async def _serve(call: Call, settings: Settings) -> None:
    settings = await _with_a_port(settings)
    await until_port_is_free(call, settings.host, settings.port)
    async with AsyncExitStack() as stack:
        sources = await stack.enter_async_context(database(call, settings))
        app = await stack.enter_async_context(bootstrap.wired(sources, settings))
        async with app.work() as work:
            first = await first_start(work)
        _tell_sign_in(call, first)
        stop = asyncio.Event()
        web = _web(app, sources, stop, lambda url: _tell_ready(call, settings, url, first))
        await run_parts(call, stop, {"web server": web})


async def _work(call: Call, settings: Settings, name: str) -> None:
    async with AsyncExitStack() as stack:
        sources = await stack.enter_async_context(database(call, settings))
        app = await stack.enter_async_context(bootstrap.wired(sources, settings))
        channels = await stack.enter_async_context(bootstrap.outbound_channels(settings))
        _warn_if_nobody_is_mailed(call, channels)
        signer = _signer(call, settings, alone=False)
        vouchers = await stack.enter_async_context(bootstrap.vouchers_of(settings))
        watchdog = await stack.enter_async_context(bootstrap.watchdog_of(settings))
        stop = asyncio.Event()
        call.say(f"Worker {name} is running. Stop it with Ctrl-C.")
        await run_parts(call, stop, {"worker": _pager(app, channels, name, signer, vouchers, watchdog, stop)})


def _web(app: App, sources: Sources, stop: asyncio.Event, on_ready: Callable[[str], None]) -> Coroutine[Any, Any, None]:
    """Be the web server in this process, or keep several that are."""
    if app.settings.number_of_web_processes > 1:
        from tocsin.cli import web_processes  # noqa: PLC0415  # who runs them needs no web server

        return web_processes.serve(app, sources, stop, on_ready)
    from tocsin.web.server import serve as serve_web  # noqa: PLC0415  # short commands need not load a web server

    return serve_web(app, stop, host=app.settings.host, port=app.settings.port, on_ready=on_ready)


def _pager(
    app: App,
    channels: Mapping[str, Channel],
    name: str,
    signer: Signer | None,
    vouchers: Sequence[Voucher],
    watchdog: Watchdog | None,
    stop: asyncio.Event,
) -> Coroutine[Any, Any, None]:
    from tocsin.worker.run import Worker  # noqa: PLC0415  # nor a worker

    return Worker(app, channels, name, signer=signer, vouchers=vouchers, watchdog=watchdog).run(stop)


def _signer(call: Call, settings: Settings, *, alone: bool) -> Signer | None:
    """Return the log's signer, if it is here. One that was asked for must work; without it the rest goes on."""
    try:
        return bootstrap.signer_of(settings, alone=alone)
    except TocsinError as error:
        if settings.signer_dir is not None:
            raise
        call.note(styled(f"WARNING: nobody signs the log. {error.refusal.message} {error.refusal.hint}", _HIGHLIGHT))
        return None


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


async def run_parts(call: Call, stop: asyncio.Event, parts: Mapping[str, Coroutine[Any, Any, None]]) -> None:
    """Run the parts until a signal sets `stop` or one of them dies; the others are stopped then, and it is raised.

    Raises UNAVAILABLE when a part ended that should run on, or did not end in time when told to.
    """
    with _stopping_on_signals(call, stop):
        tasks = {asyncio.create_task(part, name=name): name for name, part in parts.items()}
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, told], return_when=asyncio.FIRST_COMPLETED)
            asked_to_stop = stop.is_set()
            ended = [tasks[task] for task in tasks if task.done()]
            stop.set()
            _, late = await asyncio.wait(tasks, timeout=STOP_SECONDS)
        finally:
            told.cancel()
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, told, return_exceptions=True)
    for outcome in outcomes[:-1]:
        if isinstance(outcome, Exception):
            raise outcome
    if late:
        names = ", ".join(tasks[task] for task in late)
        raise refuse(
            Code.UNAVAILABLE,
            f"The {names} did not end within {STOP_SECONDS:g} seconds and was cut off.",
            "What was under way is done again at the next start.",
        )
    if not asked_to_stop:
        raise refuse(
            Code.UNAVAILABLE, f"The {', '.join(ended)} ended by itself.", "Start it again; the log above may say why."
        )


@contextmanager
def _stopping_on_signals(call: Call, stop: asyncio.Event) -> Iterator[None]:
    def stop_or_leave() -> None:
        if stop.is_set():
            call.note("Stopped at once. What was under way is done again at the next start.")
            # Nothing may be waited for any more, not even by the interpreter; the database minds its own end.
            os._exit(INTERRUPTED)
        call.note("Stopping… (again to stop at once)")
        stop.set()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for one in signals:
        loop.add_signal_handler(one, stop_or_leave)
    try:
        yield
    finally:
        for one in signals:
            loop.remove_signal_handler(one)


async def _with_a_port(settings: Settings) -> Settings:
    """Return the settings with a free port where any will do: pages and messages name the one that is listened on."""
    if settings.port:
        return settings
    from tocsin.web.listener import listen  # noqa: PLC0415  # short commands need not load a web server

    with await listen(settings.host, 0) as probe:
        return settings.model_copy(update={"port": probe.getsockname()[1]})


async def until_port_is_free(call: Call, host: str, port: int) -> None:
    """Return when nobody listens there, before anything else is started for nothing; raise CONFLICT if somebody stays.

    What else may be wrong with the address, the web server says when it listens.
    """
    if not _is_taken(host, port):
        return
    deadline = monotonic_seconds() + VACATE_SECONDS
    with call.progress() as progress:
        progress(f"Port {port} of {host} is taken, waiting for it to become free…")
        while _is_taken(host, port):
            if monotonic_seconds() >= deadline:
                raise refuse(
                    Code.CONFLICT,
                    f"Port {port} of {host} is taken, perhaps by a Tocsin that runs already.",
                    "Stop that one, or choose another port: `--port 8421` or TOCSIN_PORT=8421.",
                )
            await asyncio.sleep(_LOOK_SECONDS)


def _is_taken(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _tell_sign_in(call: Call, first: FirstStart | None) -> None:
    """Print the secrets as soon as they are recorded: should anything fail from here on, they would be lost."""
    if first is None:
        return
    call.say(
        styled("Welcome to Tocsin. This is shown once:", "bold"),
        f"  sign in as   {first.email}",
        f"  password     {first.password}",
        f"  intake key   {first.key}  (project {first.project_id})",
    )


def _tell_ready(call: Call, settings: Settings, url: str, first: FirstStart | None) -> None:
    base_url = settings.public_url.rstrip("/") if settings.public_url else url.rstrip("/")
    call.say(styled(f"Tocsin is running at {base_url}", "bold green"))
    if first is not None:
        where = "your database" if settings.database_url else str(settings.data_dir)
        its_dsn = dsn(base_url, first.key, first.project_id)
        call.say(
            f"  DSN          {its_dsn}",
            f"  data         {where}",
            f"  API docs     {base_url}/docs",
            f"1. Sign in at {base_url} as {first.email}, with the password above.",
            "2. Let a program of yours fail: pip install sentry-sdk, and in the program",
            "     import sentry_sdk",
            f'     sentry_sdk.init(dsn="{its_dsn}")',
            "     1 / 0",
            "   or report an error by hand:",
            f"     curl {base_url}/api/v1/errors -H 'Authorization: Bearer {first.key}' \\",
            """       -d '{"severity": "HIGH", "type": "FirstError", "message": "does the bell ring?"}'""",
            "   It stands on the page within seconds. If not, init(..., debug=True) prints why.",
            f"Then: {_to_type()} incidents list",
        )
    call.note("Stop it with Ctrl-C.")


def _to_type() -> str:
    """Return what to type for this program: where no directory of PATH has it, the path where it is installed."""
    return "tocsin" if shutil.which("tocsin") else str(Path(sys.executable).with_name("tocsin"))


def _warn_if_nobody_is_mailed(call: Call, channels: Mapping[str, Channel]) -> None:
    if "email" not in channels:
        call.note(
            styled(
                "WARNING: no mail server is set, so pages cannot be mailed: they are tried for about nine hours.",
                _HIGHLIGHT,
            ),
            styled(
                "  Set TOCSIN_SMTP_HOST (and TOCSIN_SMTP_PORT, _USERNAME, _PASSWORD, _SENDER) and start again,",
                _HIGHLIGHT,
            ),
            styled(
                "  or page over another channel: `tocsin users contact add --help`. `tocsin doctor` checks it.",
                _HIGHLIGHT,
            ),
        )
