"""`tocsin forward`: the loopback forwarder of the package `tocsin-sdk`, for programs in any language.

This process becomes that one. Neither package imports the other: the forwarder also runs where Tocsin does not.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tocsin.cli.options import JsonOption, call_of
from tocsin.errors import Code, refuse

PACKAGE = "tocsin_sdk"


def forward(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The server, such as https://tocsin.example.org.")],
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where programs of this machine reach it.")
    ] = "127.0.0.1:8421",
    spool: Annotated[
        Path | None,
        typer.Option("--spool", metavar="DIR", help="Where requests are kept; else in the user's state directory."),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen where other machines can reach it, too.")
    ] = False,
    _json: JsonOption = False,
) -> None:
    """Keep this machine's reports on disk and deliver them.

    Any client keeps its DSN but for host and port. Each request is on the disk before it is answered, and is sent
    until the server has it: a server that is down, or a kill of the forwarder, loses nothing.

    \b
    Example:
      tocsin forward --to https://tocsin.example.org --spool /var/spool/tocsin

    Next: put 127.0.0.1:8421 into the DSN of your programs; `curl 127.0.0.1:8421/healthz` tells what is waiting.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise refuse(
            Code.MISCONFIGURED,
            "The forwarder is part of the package tocsin-sdk, which is not installed here.",
            "Install it beside Tocsin: `pip install ./sdk` in a clone of its repository.",
        )
    command = [sys.executable, "-m", f"{PACKAGE}.forward", "--to", to, "--listen", listen]
    command += ["--spool", str(spool)] if spool is not None else []
    command += ["--allow-remote"] if allow_remote else []
    command += ["--json"] if call_of(context).json else []
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  # the same interpreter; no shell looks at the arguments
