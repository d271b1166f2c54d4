// A program that logs over OTLP/HTTP with JSON. Where to and with which key is said by OTEL_EXPORTER_OTLP_ENDPOINT and
// OTEL_EXPORTER_OTLP_HEADERS, as every OpenTelemetry SDK reads them.
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";

const processor = new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() });
const resource = resourceFromAttributes({ "service.name": "shop", "service.version": "1.2.3" });
const provider = new LoggerProvider({ resource, processors: [processor] });
const logger = provider.getLogger("shop.pay");

function readCard() {
  throw new TypeError("the card is not a card");
}

try {
  readCard();
} catch (error) {
  logger.emit({
    severityNumber: 17,
    severityText: "ERROR",
    body: "cannot pay order 17",
    attributes: {
      "exception.type": error.name,
      "exception.message": error.message,
      "exception.stacktrace": error.stack,
    },
  });
}
logger.emit({ severityNumber: 13, severityText: "WARN", body: "the till is nearly empty", attributes: { till: 2 } });
logger.emit({ severityNumber: 21, severityText: "FATAL", body: "the shop burns" });
// Done when the server has answered, retries included.
await provider.shutdown();
