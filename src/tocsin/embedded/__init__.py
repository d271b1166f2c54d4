"""The embedded PostgreSQL: the wheel's programs under a supervisor of our own, for POSIX systems.

`use(data_dir)` gives a running server and shares it with every other process that uses the same directory. The last
one to leave, however it leaves, is followed by the server within seconds. Who does what:

- `server` is what a program calls: it joins, waits for the server, and keeps an eye on the keeper.
- `launch` starts a keeper and reads what it reports until the server is ready.
- `keeper` is the process that runs PostgreSQL as its child; its docstring explains the locks.
- `cluster` creates the database cluster and knows its settings; `layout` says where everything lies.
- `binaries`, `account`, `processes`, `log` and `locks` each know the one thing they are named after.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tocsin.embedded.server import EmbeddedServer, acquire, use

__all__ = ["EmbeddedServer", "acquire", "use"]


def __getattr__(name: str) -> object:
    """Import `server` at its first use: it brings the database driver, and the keeper, which is in this package,
    starts three times as fast and stays at a third of the memory without it (measured: 13 against 35 MB).
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tocsin.embedded import server  # noqa: PLC0415

    return getattr(server, name)
