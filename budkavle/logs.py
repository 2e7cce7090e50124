"""Structured logs on standard error, ours and those of libraries alike."""

import logging
import sys
import traceback
from typing import TYPE_CHECKING, TextIO

import structlog

from domain.log_texts import redact_for_log

if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo, Processor


def set_up_logs(log_format: str, level: str) -> None:
    """Logs one line per entry: JSON for machines, or aligned text for people at a console."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor]
    if log_format == "json":
        # Traces without the values of variables, which may hold what callers sent.
        traces = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderer = [
            structlog.processors.ExceptionRenderer(traces),
            _shorten_errors,
            structlog.processors.JSONRenderer(),
        ]
    else:
        renderer = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_trace)]
    # Loggers are bound with each entry, for 2 µs: one that is kept from before would go on as it was set up then.
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
    # Libraries may log what they were given; only what goes wrong in them is of interest here.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _write_trace(stream: TextIO, exc_info: "ExcInfo") -> None:
    """A trace for people; of what the error says the first line, as below."""
    kind, error, trace = exc_info
    stream.write("".join(traceback.format_tb(trace)))
    stream.write(f"{kind.__name__}: {_first_line(str(error))}")


def _first_line(text: str) -> str:
    return redact_for_log(text.split("\n", 1)[0])


def _shorten_errors(_logger: object, _name: str, entry: "EventDict") -> "EventDict":
    """Keeps the first line of what an error says: databases put whole rows into the next."""
    for error in entry.get("exception") or ():
        error["exc_value"] = _first_line(error["exc_value"])
    return entry
