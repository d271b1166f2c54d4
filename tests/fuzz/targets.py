"""Every parser that reads a stranger's bytes, in one table, and the promise that all of them keep.

The promise: nothing but `TocsinError` escapes; what is read can be stored and has a fingerprint; an arrival agrees with
its report; and no input takes more than its size allows. `tools/fuzz.py` and the tests beside this file use the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import thread_time

import msgspec

from tests.intake.agreement import whole
from tests.intake.samples import RECEIVED_AT, new_ids
from tocsin.domain.arrival import Arrival
from tocsin.domain.fingerprint import fingerprint
from tocsin.domain.report import ErrorReport, document
from tocsin.errors import TocsinError
from tocsin.intake import alertmanager, check_in, cloudevents, generic, grafana, native, otlp, pagerduty, sentry
from tocsin.intake.decoding import decode_body, parse_json
from tocsin.intake.field_mapping import parse_mapping

CORPUS = Path(__file__).with_name("corpus")
SECONDS_PER_MEGABYTE = 0.1
PLAIN_SECONDS = 0.1
"""What any input may take, however small it is: as many records as a request may bring, a first import."""
MAX_DECODED_BYTES = 1_000_000

Read = Callable[[bytes], Iterable[object]]


class BrokenPromiseError(Exception):
    """An input for which a parser does not keep the promise."""


def _decoding(encoding: str) -> Read:
    def read(body: bytes) -> Iterable[object]:
        decoded = decode_body(body, encoding, MAX_DECODED_BYTES)
        if len(decoded) > MAX_DECODED_BYTES:
            raise BrokenPromiseError(f"{len(decoded):,} bytes were decompressed")
        return ()

    return read


def _native(content_type: str) -> Read:
    return lambda body: native.parse(body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids())


def _sentry_envelope(body: bytes) -> Iterable[object]:
    read = sentry.parse_envelope(body, received_at=RECEIVED_AT, new_event_id=new_ids())
    return [*read.arrivals, *(check_in.read(index, payload) for index, payload in enumerate(read.check_ins))]


def _sentry_auth(body: bytes) -> Iterable[object]:
    text = body.decode("utf-8", "replace")
    keys = [sentry.parse_auth(text, None), sentry.parse_auth(None, text), sentry.parse_auth(None, None, text)]
    if any(key is not None and not 1 <= len(key) <= 64 for key in keys):
        raise BrokenPromiseError(f"this is no key: {keys}")
    sentry.envelope_dsn(body)
    return ()


def _logs(content_type: str) -> Read:
    return lambda body: otlp.parse_logs(body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids())


def _traces(content_type: str) -> Read:
    return lambda body: otlp.parse_traces(body, content_type, received_at=RECEIVED_AT, new_event_id=new_ids())


def _generic(body: bytes) -> Iterable[object]:
    return generic.parse_generic(body, MAPPING, received_at=RECEIVED_AT, new_event_id=new_ids())


def _cloudevents(content_type: str, headers: Mapping[str, str] | None = None) -> Read:
    return lambda body: cloudevents.parse(
        body, content_type, headers or {}, None, received_at=RECEIVED_AT, new_event_id=new_ids()
    )


def _cloudevents_headers(body: bytes) -> Iterable[object]:
    """The input is the headers' lines, and the data after an empty one."""
    head, _, data = body.partition(b"\n\n")
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\n"))
    headers = {name.lower(): value for name, _, value in pairs}
    return _cloudevents("application/json", headers)(data)


MAPPING = parse_mapping(
    {
        "items": "alerts",
        "fields": {
            "severity": ["labels.severity", {"value": "error"}],
            "message": ["annotations.summary", "title"],
            "type": "labels.alertname",
            "occurredAt": "startsAt",
            "fingerprint": ["labels.alertname", "labels.instance"],
            "tags.host": "/labels/instance",
            "service": "$.receiver",
            "signal": "status",
        },
        "severities": {"page": "critical"},
        "signals": {"resolved": "resolve"},
    }
)

TARGETS: dict[str, Read] = {
    "native": _native(""),
    "native-lines": _native("application/x-ndjson"),
    "sentry-envelope": _sentry_envelope,
    "sentry-store": lambda body: [sentry.parse_store(body, received_at=RECEIVED_AT, new_event_id=new_ids())],
    "sentry-auth": _sentry_auth,
    "check-in": lambda body: [check_in.parse(body)],
    "gzip": _decoding("gzip"),
    "deflate": _decoding("deflate"),
    "br": _decoding("br"),
    "zstd": _decoding("zstd"),
    "alertmanager-webhook": lambda body: alertmanager.parse_webhook(
        body, received_at=RECEIVED_AT, new_event_id=new_ids()
    ),
    "alertmanager-alerts": lambda body: alertmanager.parse_alerts(
        body, received_at=RECEIVED_AT, new_event_id=new_ids()
    ),
    "pagerduty": lambda body: [pagerduty.parse_enqueue(body, received_at=RECEIVED_AT, new_event_id=new_ids()).report],
    "otlp-logs": _logs("application/x-protobuf"),
    "otlp-logs-json": _logs("application/json"),
    "otlp-traces": _traces("application/x-protobuf"),
    "otlp-traces-json": _traces("application/json"),
    "grafana": lambda body: grafana.parse_webhook(body, received_at=RECEIVED_AT, new_event_id=new_ids()),
    "generic": _generic,
    "field-mapping": lambda body: [parse_mapping(parse_json(body))],
    "cloudevents": _cloudevents(cloudevents.STRUCTURED),
    "cloudevents-batch": _cloudevents(cloudevents.BATCH),
    "cloudevents-headers": _cloudevents_headers,
}


def keeps_promise(name: str, body: bytes, *, slowness: float = 1.0) -> None:
    """Raise whatever is wrong with what a target makes of an input.

    Args:
        name: of TARGETS.
        body: anything.
        slowness: how many times longer it may take than it should, where the code is instrumented.
    """
    started = thread_time()
    try:
        items = list(TARGETS[name](body))
    except TocsinError:
        items = []
    seconds = thread_time() - started
    allowed = (PLAIN_SECONDS + SECONDS_PER_MEGABYTE * len(body) / 1e6) * slowness
    if seconds > allowed:
        raise BrokenPromiseError(f"{name} took {seconds:.3f} s for {len(body):,} bytes, more than {allowed:.3f} s")
    for item in items:
        report = whole(item) if isinstance(item, Arrival) else item
        if isinstance(report, ErrorReport):
            fingerprint(report)
            msgspec.json.encode(document(report))


def seeds(name: str) -> list[bytes]:
    """Return what a fuzzer starts from: what real clients sent, or a format's own documentation shows."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
