"""Files that commands write: whole or not at all, for half of one must not lie there under its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tocsin.cli.output import Call
from tocsin.errors import Code, refuse


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, named so when the block has ended well; raise INVALID where it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as opened:
            yield opened
        draft.replace(path)
    except OSError as error:
        raise refuse(Code.INVALID, f"Cannot write {path}: {error.strerror}.", "Name another file.") from None
    finally:
        draft.unlink(missing_ok=True)


def hand_out(call: Call, data: bytes, output: Path | None, then: str = "") -> None:
    """Write to a file, and say so and what comes `then`; without a file, to standard output alone."""
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with whole_file(output) as opened:
        opened.write(data)
    done = {"file": str(output), "bytes": len(data)}
    call.answer(done, lambda: call.say(f"Wrote {len(data):,} bytes to {output}.{then}"))
