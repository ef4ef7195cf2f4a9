"""Logs: structured, to standard error, without the values of local variables (no secrets).

What is logged by way of the standard library (by the embedded servers' supervisor, the broker
adapters, libraries) comes out in the same form, with the name of its logger.
"""

from __future__ import annotations

import io
import logging
import sys
from contextlib import suppress

import structlog


class _IntoStructlog(logging.Handler):
    """Hands the standard library's log records on."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record as one of ours."""
        try:
            structlog.get_logger().log(
                record.levelno,
                record.getMessage(),
                logger=record.name,
                **({"exc_info": record.exc_info} if record.exc_info else {}),
            )
        except Exception:  # noqa: BLE001  # a line that cannot be logged must not stop its writer
            self.handleError(record)


class _StandardError(io.StringIO):
    """Standard error as it is when a line is written, whoever has put another in its place.

    One that takes nothing (a pipe whose reader is gone, a full disk) loses the line: what is logged
    stands in the middle of the path to capital, and must not break it.
    """

    def write(self, written: str) -> int:
        with suppress(OSError, ValueError):
            sys.stderr.write(written)
        return len(written)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure_logs(level: str, form: str) -> None:
    """Log from `level` up, as `console` lines for people or `json` lines for machines."""
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(_StandardError()),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("trade_engine").setLevel(level.upper())
    root = logging.getLogger()
    if not any(isinstance(handler, _IntoStructlog) for handler in root.handlers):
        root.addHandler(_IntoStructlog())
