"""Record traces with OpenTelemetry, if its standard variables configure an exporter (decision 0035).

Without them nothing of OpenTelemetry is imported. Spans are exported in a thread, from a queue of limited length: an
exporter that is down costs spans, and no request waits for it.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog

from budkavle.daemon_threads import run_in_daemon_thread
from domain.log_texts import redact_for_log
from domain.tracing import AttributeValue, SpanKind, Tracer

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = structlog.get_logger("budkavle.tracing")

SERVICE_NAME = "budkavle"

SHUTDOWN_SECONDS = 3.0
"""Maximum seconds that a stopping process waits for the export of the last spans."""

REPORT_SECONDS = 60.0
"""Minimum seconds between two log entries about the exporter."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


def is_configured(environment: Mapping[str, str]) -> bool:
    """Return whether the standard variables ask for traces over OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter == "otlp" or (not exporter and any(environment.get(name) for name in _ENDPOINTS))


def find_obstacle(environment: Mapping[str, str]) -> str | None:
    """Return the reason why traces cannot be recorded although they are configured, or None."""
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        return f"only {_PROTOCOL} is supported, not {protocol[:50]}"
    try:
        import_module("opentelemetry.sdk.trace")
        import_module("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        return "OpenTelemetry is not installed: pip install 'budkavle[otel]'"
    return None


@asynccontextmanager
async def record_traces() -> AsyncIterator[Tracer | None]:
    """Yield a tracer, or None if traces are not configured or cannot be recorded, which is logged."""
    created = _create_provider() if is_configured(os.environ) else None
    if created is None:
        yield None
        return
    provider, exporter = created
    try:
        yield OpenTelemetryTracer(provider)
    finally:
        await _shut_down(provider, exporter)


def _create_provider() -> "tuple[TracerProvider, SpanExporter] | None":
    """Return a provider and its exporter of OTLP over HTTP. A program must start although traces cannot be recorded."""
    obstacle = find_obstacle(os.environ)
    if obstacle is not None:
        log.warning("tracing_unavailable", reason=obstacle)
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.version": version("budkavle")})
        if str(resource.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": SERVICE_NAME}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        _report_rarely()
    except Exception:
        log.exception("tracing_unavailable")
        return None
    return provider, exporter


def _report_rarely() -> None:
    """Log what OpenTelemetry reports at most once a minute: an exporter that is down reports each attempt."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers = [_RareReports()]


class _RareReports(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._reported = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Log a report, unless one was logged a moment ago."""
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            log.warning("span_export_failed", detail=redact_for_log(record.getMessage()))


async def _shut_down(provider: "TracerProvider", exporter: "SpanExporter") -> None:
    try:
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            await run_in_daemon_thread(provider.shutdown)
    except TimeoutError:
        log.warning("spans_lost", reason="the exporter did not finish in time")
        # It ends the exporter's thread, which would repeat its call.
        exporter.shutdown()


class OpenTelemetryTracer:
    """Records spans with a provider of OpenTelemetry."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context

        self._api = trace
        self._no_context = Context()
        self._tracer = provider.get_tracer("budkavle", version("budkavle"))
        self._kinds = {kind: trace.SpanKind[kind.name] for kind in SpanKind}

    def start(self, name: str, kind: SpanKind, trace_parent: str | None) -> "_Span":
        """Return a span within the trace of `trace_parent`, or in a new trace."""
        context = self._no_context if trace_parent is None else self._parse(trace_parent)
        return _Span(self._tracer.start_span(name, context, self._kinds[kind]), self._api.StatusCode.ERROR)

    def _parse(self, trace_parent: str) -> "Context":
        _, trace_id, span_id, flags, *_ = trace_parent.split("-")
        parent = self._api.SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=self._api.TraceFlags(int(flags, 16))
        )
        return self._api.set_span_in_context(self._api.NonRecordingSpan(parent), self._no_context)


class _Span:
    def __init__(self, span: "trace.Span", failure: "trace.StatusCode") -> None:
        self._span = span
        self._failure = failure

    @property
    def trace_parent(self) -> str:
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, attributes: Mapping[str, AttributeValue], error: str | None, name: str | None = None) -> None:
        if self._span.is_recording():
            if name is not None:
                self._span.update_name(name)
            self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})
            if error is not None:
                self._span.set_attribute("error.type", error)
                self._span.set_status(self._failure)
        self._span.end()
