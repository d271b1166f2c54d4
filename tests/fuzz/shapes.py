"""A megabyte of the worst kind for each parser: as many of the smallest parts as a request may bring, or the widest."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.intake.samples import MEGABYTE, filled

_ALERT = b'{"status":"firing","labels":{"alertname":"a"},"startsAt":"2026-01-01T00:00:00Z"},'
_LABELS = b",".join(b'"l%d":"%d"' % (number, number) for number in range(60))
_ATTRIBUTES = b",".join(b'{"key":"k%d","value":{"stringValue":"v"}}' % number for number in range(100))
_EXCEPTION = b'{"name":"exception","attributes":[{"key":"exception.type","value":{"stringValue":"E"}}]}'
_LOGS = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":['
_END = b"{}]}]}]}"


def protobuf_logs(attributes: int) -> bytes:
    """Return a megabyte of log records with so many attributes each."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    while request.ByteSize() < MEGABYTE:
        for _ in range(200):
            record = records.add()
            record.severity_number, record.body.string_value = 17, "x"
            for number in range(attributes):
                added = record.attributes.add()
                added.key, added.value.string_value = f"k{number}", "v"
    return bytes(request.SerializeToString())


def protobuf_exceptions() -> bytes:
    """Return a megabyte of exceptions, each with a stack of its own as small as one can be."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    while request.ByteSize() < MEGABYTE:
        for _ in range(200):
            number = len(records)
            record = records.add(time_unix_nano=1_790_000_000_000_000_000 + number)
            for name, said in (
                ("type", f"E{number}"),
                ("message", f"{number}"),
                ("stacktrace", f'Traceback (most recent call last):\n  File "{number}", line 1\nE'),
            ):
                added = record.attributes.add()
                added.key, added.value.string_value = f"exception.{name}", said
    return bytes(request.SerializeToString())


def protobuf_messages(said: Callable[[int], str]) -> bytes:
    """Return a megabyte of log records, each with what is said by its number."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    while request.ByteSize() < MEGABYTE:
        for _ in range(200):
            records.add().body.string_value = said(len(records))
    return bytes(request.SerializeToString())


def _numbers(number: int) -> str:
    return f"{number}" + "+1" * 90


def _noise(number: int) -> str:
    """Return a text in which nearly every character could begin something that varies, and no word is common."""
    return "".join(Random(number).choices("1+-.:, e@afgx0_", k=180))


SHAPES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "smallest alerts": ("alertmanager-webhook", lambda: filled(_ALERT, b'{"version":"4","alerts":[', b"{}]}")),
    "empty alerts": ("alertmanager-alerts", lambda: filled(b"{},", b"[", b"{}]")),
    "alerts of labels": ("alertmanager-alerts", lambda: filled(b'{"labels":{' + _LABELS + b"}},", b"[", b"{}]")),
    "smallest alerts of Grafana": ("grafana", lambda: filled(_ALERT, b'{"version":"1","alerts":[', b"{}]}")),
    "smallest log records in JSON": (
        "otlp-logs-json",
        lambda: filled(b'{"severityNumber":17,"body":{"stringValue":"x"}},', _LOGS, _END),
    ),
    "empty log records in JSON": ("otlp-logs-json", lambda: filled(b"{},", _LOGS, _END)),
    "log records of attributes in JSON": (
        "otlp-logs-json",
        lambda: filled(b'{"attributes":[' + _ATTRIBUTES + b"]},", _LOGS, _END),
    ),
    "deep log records in JSON": (
        "otlp-logs-json",
        lambda: filled(b'{"body":' + b'{"arrayValue":{"values":[' * 25 + b"]}}" * 25 + b"},", _LOGS, _END),
    ),
    "smallest spans in JSON": (
        "otlp-traces-json",
        lambda: filled(
            b'{"events":[' + _EXCEPTION + b"]},", b'{"resourceSpans":[{"scopeSpans":[{"spans":[', b"{}]}]}]}"
        ),
    ),
    "smallest log records": ("otlp-logs", lambda: protobuf_logs(0)),
    "log records of attributes": ("otlp-logs", lambda: protobuf_logs(60)),
    "messages of numbers": ("otlp-logs", lambda: protobuf_messages(_numbers)),
    "messages of noise": ("otlp-logs", lambda: protobuf_messages(_noise)),
    "smallest exceptions": ("otlp-logs", protobuf_exceptions),
    "log records in Latin-1": ("otlp-logs", lambda: protobuf_logs(10).replace(b"\x0a\x01x", b"\x0a\x01\xfc")),
    "smallest items": ("generic", lambda: filled(b'{"message":1},', b"[", b"{}]")),
    "wide items": ("generic", lambda: b"[" + b",".join([b'{"message":{"a":[' + b"1," * 480 + b"1]}}"] * 1_000) + b"]"),
    "smallest reports": ("native", lambda: filled(b'{"severity":"low","message":"x"},', b"[", b"{}]")),
    "smallest events": (
        "cloudevents-batch",
        lambda: filled(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"message":"x"}},', b"[", b"{}]"),
    ),
}
"""By name: the target of `targets.TARGETS`, and what makes the megabyte."""
