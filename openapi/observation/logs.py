"""Structured logs on standard error, for our modules and for libraries."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog

from domain.log_texts import redact_for_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, ExcInfo, Processor


def set_up_logs(log_format: str, level: str) -> None:
    """Configure one line per log entry: JSON for machines, or aligned text for a console."""
    processors: list[Processor]
    factory: Callable[..., Any]
    if log_format == "json":
        processors, factory = [_render_json], structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_trace)
        processors, factory = [_add_level_and_time, console], structlog.WriteLoggerFactory(sys.stderr)
    # Bind loggers for each entry, which takes 2 µs: a cached logger would keep an older configuration.
    structlog.configure(
        processors=processors,
        wrapper_class=_build_logger_class(level),
        logger_factory=factory,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(allow=())],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors, _to_text],
        )
    )
    # Libraries may log their arguments, so only their warnings and errors are logged.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _build_logger_class(level: str) -> type[Any]:
    """Return structlog's loggers from a level on, which here convert and copy the fields of a line fewer times."""
    base: Any = structlog.make_filtering_bound_logger(level)

    class Logger(base):  # type: ignore[misc]  # The class depends on the level.
        def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> None:
            line: Any = self._context | fields if self._context else fields
            line["event"] = event
            try:
                for process in self._processors:
                    line = process(self._logger, method_name, line)
            except structlog.DropEvent:
                return
            self._logger.msg(line)

    return Logger


def _add_level_and_time(_logger: object, level: str, entry: "EventDict") -> "EventDict":
    entry["level"] = level
    # orjson formats times in a third of the time that Python takes.
    entry["timestamp"] = orjson.dumps(datetime.now(UTC), option=orjson.OPT_UTC_Z)[1:-1].decode()
    return entry


def _render_json(logger: object, level: str, entry: "EventDict") -> bytes:
    """Return an entry as JSON in ASCII, which survives any encoding of standard error.

    It is one processor, because most entries have no exception, and each processor costs all of them.
    """
    entry = _add_level_and_time(logger, level, entry)
    if "exc_info" in entry:
        entry = _shorten_errors(_render_exception(logger, level, entry))
    try:
        text = orjson.dumps(entry, default=repr)
    except orjson.JSONEncodeError:
        text = b""
    # The encoder of Python takes four times as long.
    return text if text.isascii() and text else json.dumps(entry, separators=(",", ":"), default=repr).encode()


# Tracebacks without local variables, which may contain data of callers.
_render_exception = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _to_text(_logger: object, _level: str, line: Any) -> str:
    return line.decode() if isinstance(line, bytes) else str(line)


def _write_trace(stream: TextIO, exc_info: "ExcInfo") -> None:
    """Write a traceback for people, with the first line of the error only."""
    kind, error, trace = exc_info
    stream.write("".join(traceback.format_tb(trace)))
    stream.write(f"{kind.__name__}: {_redact_first_line(str(error))}")


def _redact_first_line(text: str) -> str:
    return redact_for_log(text.split("\n", 1)[0])


def _shorten_errors(entry: "EventDict") -> "EventDict":
    """Reduce error messages to their first line, because databases add whole rows in the following lines."""
    for error in entry.get("exception") or ():
        error["exc_value"] = _redact_first_line(error["exc_value"])
    return entry
