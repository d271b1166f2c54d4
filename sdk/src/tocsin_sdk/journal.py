"""A file in front of the spool's database: to add to it takes one write and one wait for the disk, and little else.

It has its size from the beginning, for a file that grows is slower, and the processes that share the spool add to it in
turns (flock). It begins with a mark, drawn anew whenever the file is emptied, and so does each record: what bears
another mark has been moved to the database before. A record that was cut off has a wrong checksum, and nobody was told
that it was kept: the next one takes its place.

Who moves the records empties the file after the commit. Killed in between, it leaves what will be moved, and sent,
twice: the server knows it by its event id.
"""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Callable

from tocsin_sdk import files

IS_SUPPORTED = sys.platform != "win32"
"""Where it is not, nothing fits in: the database takes everything."""
if sys.platform != "win32":
    import fcntl

Row = tuple[str, str, bytes]
"""A parcel as the database has it: path, headers (JSON), body."""

BUSY_SECONDS = 5.0
"""How long another process may hold the file."""
_LOOK_SECONDS = 0.001

_MAGIC = b"tocsinj1"
_MARK_BYTES = 8
_HEAD = struct.Struct(f"<8s{_MARK_BYTES}sI")
"""Magic, mark, and its checksum."""
_FIRST = 32
"""Where the first record begins."""
_RECORD = struct.Struct(f"<{_MARK_BYTES}sI")
"""Mark and checksum; then come the lengths, and the three parts of a row."""
_LENGTHS = struct.Struct("<III")
_BEGINNING = _RECORD.size + _LENGTHS.size

# Of what a system can do, this is the least that brings data to the disk.
_sync = getattr(os, "fdatasync", os.fsync)


def write(file: str, rows: Sequence[Row]) -> None:
    """Bring rows to a file of their own, which is there as a whole or not at all."""
    unfinished = file + ".part"
    size = _FIRST + sum(len(_record(bytes(_MARK_BYTES), row)) for row in rows)
    journal = Journal(unfinished, size, _ignore)
    journal.add(rows)
    journal.close()
    files.rename(unfinished, file)


def _ignore(_: str) -> None:
    """Take no notice of damage: the file is new."""


class Journal:
    """Rows in a file, in their order. Not for two threads at a time; any method may raise OSError."""

    def __init__(self, file: str, size: int, on_problem: Callable[[str], None]) -> None:
        """Name the file, which is made when it is first needed.

        Args:
            file: its directory is made (0700) with it.
            size: of the file (bytes).
            on_problem: is told of damage.
        """
        self._file, self._size = file, size
        self._on_problem = on_problem
        self._handle = -1
        self._room = 0
        self._head: bytes | None = None
        self._mark = b""
        self._end = _FIRST

    def add(self, rows: Sequence[Row]) -> bool:
        """Bring rows to the disk; False, and nothing is done, if they do not fit in."""
        if not IS_SUPPORTED:
            return False
        with self._looked_at():
            data = b"".join([_record(self._mark, row) for row in rows])
            if self._end + len(data) > self._room:
                return False
            _write(self._handle, data, self._end)
            _sync(self._handle)
            self._end += len(data)
            return True

    @contextmanager
    def emptied(self) -> Iterator[list[Row]]:
        """Give all rows to a block that moves them elsewhere, and empty the file if that went well."""
        if not IS_SUPPORTED:
            yield []
            return
        with self._looked_at():
            rows = self._rows()
            yield rows
            if rows:
                self._begin_anew()
            if not os.fstat(self._handle).st_nlink:
                self.close()  # Somebody deleted it: what is written into it from now on would be gone.

    def is_empty(self) -> bool:
        """Return whether there is no row."""
        if not IS_SUPPORTED:
            return True
        with self._looked_at():
            return self._end == _FIRST

    def rows(self) -> list[Row]:
        """Return all rows, and leave them where they are."""
        if not IS_SUPPORTED:
            return []
        with self._looked_at():
            return self._rows()

    def close(self) -> None:
        """Close the file; the next use opens it again. In a forked child this leaves the parent's lock alone."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        self._head = None

    def __del__(self) -> None:
        """Close what was not closed."""
        self.close()

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        """Hold the file's lock for a block, and know first what others have done to the file."""
        self._lock()
        try:
            self._look()
            yield
        finally:
            self._unlock()

    def _lock(self) -> None:
        if self._handle < 0:
            files.make(self._file)
            self._handle = os.open(self._file, os.O_RDWR)
        deadline = time.monotonic() + BUSY_SECONDS
        while not is_locked(self._handle):
            if time.monotonic() >= deadline:
                raise OSError(f"{self._file} is locked by another program")
            time.sleep(_LOOK_SECONDS)

    def _unlock(self) -> None:
        if self._handle >= 0:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _look(self) -> None:
        """See what others have done: emptied the file, or added to it."""
        head = os.pread(self._handle, _HEAD.size, 0)
        if head != self._head:
            self._read_head(head)
        while length := self._length_at(self._end):
            self._end += length

    def _length_at(self, place: int) -> int:
        """Return the length of the record at a place; 0 if there is none."""
        beginning = os.pread(self._handle, _BEGINNING, place)
        if not beginning.startswith(self._mark) or len(beginning) < _BEGINNING:
            return 0
        length = _BEGINNING + sum(_LENGTHS.unpack_from(beginning, _RECORD.size))
        is_whole = place + length <= self._room and _read(os.pread(self._handle, length, place), 0)
        return length if is_whole else 0

    def _read_head(self, head: bytes) -> None:
        """Begin with a file that another process has made or emptied, or that is new."""
        content = self._content()
        if not _is_head(head):
            if content.strip(b"\0"):
                self._replace()
                return
            content = bytes(self._size)
            _write(self._handle, content, 0)
            os.fsync(self._handle)  # before the head: where that is, the file has its size
            self._begin_anew()
        else:
            self._head, self._mark = head, head[len(_MAGIC) : len(_MAGIC) + _MARK_BYTES]
            self._end = max((end for _, _, end in _records(content, self._mark)), default=_FIRST)
        self._room = len(content)

    def _replace(self) -> None:
        """Move a file aside that holds something, and is no journal; go on with a new one, and its lock."""
        if os.path.samestat(os.fstat(self._handle), os.stat(self._file)):
            aside = files.move_aside(self._file)
            self._on_problem(f"the spool's journal was damaged; it is kept as {aside}, and a new one is begun")
        self.close()
        self._lock()
        self._look()

    def _begin_anew(self) -> None:
        mark = os.urandom(_MARK_BYTES)
        head = _HEAD.pack(_MAGIC, mark, zlib.crc32(mark))
        _write(self._handle, head, 0)
        self._head, self._mark, self._end = head, mark, _FIRST

    def _rows(self) -> list[Row]:
        if self._end == _FIRST:
            return []
        rows: list[Row] = []
        damaged, expected = 0, _FIRST
        for row, begin, end in _records(self._content(), self._mark):
            rows.append(row)
            damaged += begin - expected
            expected = end
        if damaged:
            self._on_problem(f"{damaged:,} bytes of the spool's journal were damaged: what they held is lost")
        return rows

    def _content(self) -> bytes:
        # Not with fstat: after it Linux 6.13 writes the file's times anew, which costs the next record as much again.
        return os.pread(self._handle, os.lseek(self._handle, 0, os.SEEK_END), 0)


def is_locked(handle: int) -> bool:
    """Lock a file, unless another process has it; return whether it is ours."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_head(head: bytes) -> bool:
    if len(head) < _HEAD.size:
        return False
    magic, mark, checksum = _HEAD.unpack(head)
    return bool(magic == _MAGIC and checksum == zlib.crc32(mark))


def _record(mark: bytes, row: Row) -> bytes:
    path, headers, body = row[0].encode(), row[1].encode(), row[2]
    content = b"".join((_LENGTHS.pack(len(path), len(headers), len(body)), path, headers, body))
    return _RECORD.pack(mark, zlib.crc32(content)) + content


def _records(data: bytes, mark: bytes) -> Iterator[tuple[Row, int, int]]:
    """Give each row with its place. What is damaged is passed over: behind it may be more."""
    begin = data.find(mark, _FIRST)
    while begin >= 0:
        found = _read(data, begin)
        end = begin + (found[1] if found else 1)
        if found:
            yield found[0], begin, end
        begin = data.find(mark, end)


def _read(data: bytes, begin: int) -> tuple[Row, int] | None:
    """Return the row at a place and the length of its record; None if it is not whole."""
    if len(data) < begin + _BEGINNING:
        return None
    _, checksum = _RECORD.unpack_from(data, begin)
    lengths = _LENGTHS.unpack_from(data, begin + _RECORD.size)
    end = begin + _BEGINNING + sum(lengths)
    if end > len(data) or zlib.crc32(data[begin + _RECORD.size : end]) != checksum:
        return None
    headers = begin + _BEGINNING + lengths[0]
    body = headers + lengths[1]
    return (data[begin + _BEGINNING : headers].decode(), data[headers:body].decode(), data[body:end]), end - begin


def _write(handle: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(handle, data, place)
        data, place = data[written:], place + written
