"""Spans of distributed traces, as the service and the workers record them. Source: W3C Trace Context, decision 0035.

The context of a trace travels as text (`traceparent`): in headers, and with a stored event. Attributes contain ids,
codes and numbers, never texts of messages and nothing about persons.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

AttributeValue = str | int | None


class SpanKind(Enum):
    """The role of this program in an operation."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"


class Span(Protocol):
    """An operation that is running."""

    @property
    def trace_parent(self) -> str:
        """The context for operations that this one causes."""

    def end(self, attributes: Mapping[str, AttributeValue], error: str | None, name: str | None = None) -> None:
        """Record the end. Attributes that are None are omitted; `error` is a code. `name` replaces that of the start.

        A span that does not end is not recorded.
        """


class Tracer(Protocol):
    """Records spans. No method waits or raises."""

    def start(self, name: str, kind: SpanKind, trace_parent: str | None) -> Span:
        """Return a span within the trace of `trace_parent`, or in a new trace."""


@dataclass(slots=True)
class TracedWork:
    """Work inside a span. Set `attributes`, and `error` for a failure that is not an exception."""

    trace_parent: str | None
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    error: str | None = None


@contextmanager
def trace_work(tracer: Tracer | None, name: str, kind: SpanKind, trace_parent: str | None) -> Iterator[TracedWork]:
    """Record the work inside as a span. Without a tracer, only pass the context on."""
    work = TracedWork(trace_parent)
    if tracer is None:
        yield work
        return
    span = tracer.start(name, kind, trace_parent)
    work.trace_parent = span.trace_parent
    try:
        yield work
    except BaseException as exc:
        work.error = type(exc).__name__
        raise
    finally:
        span.end(work.attributes, work.error)
