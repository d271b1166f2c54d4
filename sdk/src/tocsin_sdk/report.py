"""Makes a report of an exception or a message, in the server's own JSON: bounded, and scrubbed of secrets."""

from __future__ import annotations

import json
import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from tocsin_sdk.bounds import (
    MAX_EXCEPTION_MESSAGE_CHARACTERS,
    MAX_EXCEPTIONS,
    MAX_FINGERPRINT_PART_CHARACTERS,
    MAX_FINGERPRINT_PARTS,
    MAX_FRAME_NAME_CHARACTERS,
    MAX_FRAMES,
    MAX_MESSAGE_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_SOURCE_LINE_CHARACTERS,
    MAX_TAG_KEY_CHARACTERS,
    MAX_TAG_VALUE_CHARACTERS,
    MAX_TAGS,
    MAX_TYPE_CHARACTERS,
    cut,
    tail,
)
from tocsin_sdk.scrub import SCRUBBED, is_secret_name, scrub_context, scrub_source, scrubbed

SEVERITIES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
MAX_CACHED_LINES = 4_096
"""Places in the code of which file, source line and ownership are remembered."""
MAX_WALKED_FRAMES = 10_000

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_library: list[str] = []

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False).encode


class _Place(dict[str, Any]):
    """A frame, which is a place in the code, and its JSON: most of a report's text, and the same in every report."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)
        self.text = encode(self)


_places: dict[tuple[str, int, str, str], _Place] = {}


@dataclass(frozen=True)
class Origin:
    """What all reports of a program have in common."""

    service: str = ""
    environment: str = ""
    release: str = ""
    server_name: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the fields of a report, without the empty ones."""
        named = {
            "service": self.service,
            "environment": self.environment,
            "release": self.release,
            "serverName": self.server_name,
        }
        return {"platform": "python", **{name: cut(text, MAX_NAME_CHARACTERS) for name, text in named.items() if text}}


@dataclass(frozen=True)
class Details:
    """What a caller may add to a report."""

    tags: Mapping[str, object] | None = None
    context: Mapping[str, object] | None = None
    trace_id: str = ""
    user_id: str = ""
    logger: str = ""
    fingerprint: Sequence[str] = ()

    def fields(self) -> dict[str, Any]:
        """Return the fields of a report, without the empty ones."""
        fields: dict[str, Any] = {
            name: scrubbed(str(text), MAX_NAME_CHARACTERS)
            for name, text in (("traceId", self.trace_id), ("userId", self.user_id), ("logger", self.logger))
            if text
        }
        if self.fingerprint:
            parts = list(self.fingerprint)[:MAX_FINGERPRINT_PARTS]
            fields["fingerprint"] = [cut(str(part), MAX_FINGERPRINT_PART_CHARACTERS) for part in parts]
        if self.tags:
            fields["tags"] = _tags(self.tags)
        if self.context:
            fields["context"] = scrub_context(self.context)
        return fields


def of_exception(error: BaseException, *, handled: bool) -> dict[str, Any]:
    """Return the fields that tell of an exception: its chain with stacks, cause first."""
    chain = _chain(error)
    share = MAX_FRAMES // len(chain)
    exceptions = [_exception(one, share) for one in chain]
    exceptions[-1]["handled"] = handled
    fields = {"type": exceptions[-1]["type"], "message": exceptions[-1]["message"], "exceptions": exceptions}
    culprit = _culprit(exceptions[-1]["frames"])
    return {**fields, "culprit": culprit} if culprit else fields


def of_message(message: str, template: str = "") -> dict[str, Any]:
    """Return the fields that tell of a message; `template` is what it was before its parameters were filled in."""
    # The server refuses a report that says nothing.
    told = message if message.strip() else "<empty message>"
    fields = {"message": scrubbed(told, MAX_MESSAGE_CHARACTERS)}
    if template and template != message:
        fields["template"] = scrubbed(template, MAX_MESSAGE_CHARACTERS)
    return fields


def encode_made(report: Mapping[str, Any]) -> str:
    """Return a report that was made here as JSON: what `encode` returns, but for the order, in less time."""
    exceptions = report.get("exceptions")
    if not exceptions:
        return encode(report)
    texts = [_with(one, "frames", [frame.text for frame in one["frames"]]) for one in exceptions]
    return _with(report, "exceptions", texts)


def _with(fields: Mapping[str, Any], name: str, items: list[str]) -> str:
    """Return an object as JSON, of which the items of one list are JSON already."""
    rest = dict(fields)
    del rest[name]
    return f'{encode(rest)[:-1]},"{name}":[{",".join(items)}]}}'


def _tags(tags: Mapping[str, object]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for key, value in list(tags.items())[:MAX_TAGS]:
        name = cut(str(key), MAX_TAG_KEY_CHARACTERS)
        kept[name] = SCRUBBED if is_secret_name(name) else scrubbed(_text_of(value), MAX_TAG_VALUE_CHARACTERS)
    return kept


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception and what caused it, cause first. Of a long chain the ends are kept."""
    chain: list[BaseException] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(chain) < MAX_WALKED_FRAMES:
        seen.add(id(current))
        chain.append(current)
        current = _cause(current)
    if len(chain) > MAX_EXCEPTIONS:
        half = MAX_EXCEPTIONS // 2
        chain = chain[:half] + chain[-half:]
    return chain[::-1]


def _cause(error: BaseException) -> BaseException | None:
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is None:
        # A group has several causes, a report one chain: the first stands for all, and the message says how many.
        members = looked_up(error, "exceptions")
        if isinstance(members, tuple) and members and isinstance(members[0], BaseException):
            return members[0]
    return cause


def _exception(error: BaseException, max_frames: int) -> dict[str, Any]:
    kind = type(error)
    # The server refuses a report that says nothing, and a class made by a program may have no name.
    name = kind.__qualname__ if kind.__qualname__.strip() else "<nameless exception>"
    return {
        "type": cut(name, MAX_TYPE_CHARACTERS),
        "message": scrubbed(_text_of(error), MAX_EXCEPTION_MESSAGE_CHARACTERS),
        "module": cut(str(kind.__module__), MAX_TYPE_CHARACTERS),
        "frames": [_frame(frame, line) for frame, line in _stack(error.__traceback__, max_frames)],
    }


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # it is the host's code, and it is failing already
        return f"<{type(value).__name__} that has no text: {type(error).__name__}>"


def _stack(traceback: TracebackType | None, limit: int) -> list[tuple[FrameType, int]]:
    """Return the outermost and the innermost frames, `limit` together."""
    walked: list[TracebackType] = []
    while traceback is not None and len(walked) < MAX_WALKED_FRAMES:
        walked.append(traceback)
        traceback = traceback.tb_next
    half = max(1, limit // 2)
    kept = walked if len(walked) <= 2 * half else walked[:half] + walked[-half:]
    return [(one.tb_frame, one.tb_lineno or 0) for one in kept]


def _frame(frame: FrameType, line: int) -> _Place:
    code = frame.f_code
    function = getattr(code, "co_qualname", code.co_name)
    module = str(frame.f_globals.get("__name__", ""))
    key = (code.co_filename, line, function, module)
    place = _places.get(key)
    if place is None:
        if len(_places) >= MAX_CACHED_LINES:
            _places.clear()
        place = _places[key] = _Place(
            function=cut(function, MAX_FRAME_NAME_CHARACTERS),
            module=cut(module, MAX_FRAME_NAME_CHARACTERS),
            filename=tail(code.co_filename, MAX_FRAME_NAME_CHARACTERS),
            line=line,
            sourceLine=_source_line(frame, line),
            inApp=_is_in_app(code.co_filename),
        )
    return place


def _source_line(frame: FrameType, line: int) -> str:
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return scrubbed(text, MAX_SOURCE_LINE_CHARACTERS, scrub_source)


def _is_in_app(filename: str) -> bool:
    if filename.startswith("<frozen") or any(part in filename for part in _INSTALLED):
        return False
    if not _library:
        _library.append(os.path.dirname(os.__file__) + os.sep)
        _library.append(os.path.dirname(__file__) + os.sep)
    return not filename.startswith(tuple(_library))


def _culprit(frames: Sequence[dict[str, Any]]) -> str:
    """Return the innermost place that is the program's own."""
    for frame in reversed(frames):
        if frame["inApp"]:
            return cut(f"{frame['module']}.{frame['function']}", MAX_NAME_CHARACTERS)
    return ""


def program_name() -> str:
    """Return what the running program is called: its script, or the module that was run."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    return main.name.removesuffix(".__main__") if main else os.path.basename(sys.argv[0] or "python")


def looked_up(error: BaseException, name: str) -> object:
    """Return an attribute of an exception; None if there is none, or its class looks them up by itself and fails."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001
        return None
