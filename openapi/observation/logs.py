"""Structured logs on standard error, for our modules and for libraries."""

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import structlog

from domain.log_texts import redact_for_log

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo, Processor


def set_up_logs(log_format: str, level: str) -> None:
    """Configure one line per log entry: JSON for machines, or aligned text for a console."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor]
    if log_format == "json":
        # Tracebacks without local variables, which may contain data of callers.
        traces = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderer = [
            structlog.processors.ExceptionRenderer(traces),
            _shorten_errors,
            structlog.processors.JSONRenderer(_to_json),
        ]
    else:
        renderer = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_trace)]
    # Bind loggers for each entry, which takes 2 µs: a cached logger would keep an older configuration.
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=())],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    # Libraries may log their arguments, so only their warnings and errors are logged.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _to_json(entry: "EventDict", **options: Any) -> str:
    """Return an entry as JSON in ASCII, which survives any encoding of standard error."""
    try:
        text = orjson.dumps(entry, **options).decode()
    except orjson.JSONEncodeError:
        text = ""
    # The encoder of Python takes four times as long.
    return text if text.isascii() and text else json.dumps(entry, separators=(",", ":"), **options)


def _write_trace(stream: TextIO, exc_info: "ExcInfo") -> None:
    """Write a traceback for people, with the first line of the error only."""
    kind, error, trace = exc_info
    stream.write("".join(traceback.format_tb(trace)))
    stream.write(f"{kind.__name__}: {_first_line(str(error))}")


def _first_line(text: str) -> str:
    return redact_for_log(text.split("\n", 1)[0])


def _shorten_errors(_logger: object, _name: str, entry: "EventDict") -> "EventDict":
    """Reduce error messages to their first line, because databases add whole rows in the following lines."""
    for error in entry.get("exception") or ():
        error["exc_value"] = _first_line(error["exc_value"])
    return entry
