"""Log lines over OTLP/HTTP, to Loki or whatever else takes OpenTelemetry's logs; needs ``pip install 'roost[otlp]'``.

Asked for by OpenTelemetry's own variables, ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_LOGS_ENDPOINT``,
which the local nodes of a coordinator inherit. A line is the same JSON as in the log file. They are sent in the
background, some at a time; a collector that is away costs lines, never the work that they tell of.
"""

import logging
import os

from roost.observe.log import silence

ENDPOINTS = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SEND_LIMIT_S = 5
"""For one request with its repetitions, so also how long the end of a process waits for a collector that is away."""
QUEUE_MAX = 4096
PIECE_MAX = 512
EVERY_MS = 2000


def is_wanted() -> bool:
    """Whether the environment names somebody to send to."""
    return any(os.environ.get(name) for name in ENDPOINTS)


class OtlpHandler(logging.Handler):
    """Sends what its formatter makes of each record. `name` is that of the log, ``service.instance.id`` there.
    ImportError without the extra."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource

        silence("opentelemetry")  # that a collector is away is no news a line a second
        self._provider = LoggerProvider(
            Resource.create({"service.name": "roost", "service.instance.id": name}), shutdown_on_exit=False
        )
        self._provider.add_log_record_processor(
            BatchLogRecordProcessor(
                OTLPLogExporter(timeout=SEND_LIMIT_S), schedule_delay_millis=EVERY_MS, max_queue_size=QUEUE_MAX,
                max_export_batch_size=PIECE_MAX,
            )
        )  # fmt: skip
        self._logger = self._provider.get_logger("roost")

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        from opentelemetry._logs import SeverityNumber

        try:
            grave = {"WARNING": SeverityNumber.WARN}.get(record.levelname) or SeverityNumber[record.levelname]
            self._logger.emit(
                timestamp=int(record.created * 1e9), severity_number=grave,
                severity_text=record.levelname, body=self.format(record),
            )  # fmt: skip
        except Exception:  # supervised: as every handler's, an error of a log line is the log's own affair
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging names it so
        """Say nothing: the line is in the file."""

    def close(self) -> None:
        """Send what is queued, within `SEND_LIMIT_S`."""
        self._provider.shutdown()
        super().close()
