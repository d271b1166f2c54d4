"""A program that fails, with OpenTelemetry's own SDK and exporters: `failing_shop.py URL COMPRESSION`.

Run in a process of its own, because it hooks the process's logging; and so that the handler of the SDK, which is
deprecated in favour of one that sends the same, may say so without failing a test.
"""

from __future__ import annotations

import logging
import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_, URL, COMPRESSION = sys.argv
RESOURCE = Resource.create(
    {
        "service.name": "shop",
        "service.version": "1.2.3",
        "deployment.environment.name": "production",
        "host.name": "web-1",
    }
)

logs = LoggerProvider(resource=RESOURCE)
logs.add_log_record_processor(
    BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{URL}/v1/logs", compression=Compression(COMPRESSION)))
)
spans = TracerProvider(resource=RESOURCE)
spans.add_span_processor(
    BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{URL}/v1/traces", compression=Compression(COMPRESSION)))
)
tracer = spans.get_tracer("shop.tracing")
logger = logging.getLogger("shop.orders")
logger.addHandler(LoggingHandler(logger_provider=logs))


def find(order: int) -> None:
    raise LookupError(f"no such order {order}")


def pay(order: int) -> None:
    try:
        find(order)
    except LookupError as error:
        raise ValueError(f"cannot pay order {order}") from error


logger.warning("the till is nearly empty", extra={"coins": 3})
for number in (17, 18):
    logger.critical("the shop burns at %d degrees", 800 + number)
try:
    with tracer.start_as_current_span("POST /orders"):
        try:
            pay(17)
        except ValueError:
            logger.exception("payment failed")
            raise
except ValueError:
    print("over")
logs.shutdown()
spans.shutdown()
