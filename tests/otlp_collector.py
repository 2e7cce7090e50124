"""A collector of traces: an OTLP/HTTP server on loopback that decodes what exporters send."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SECONDS = 60


class OtlpCollector:
    """The received spans, the name of the service that sent them, and the paths of the requests."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.paths: set[str] = set()
        self._arrived = threading.Condition()

    def take(self, path: str, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            self.paths.add(path)
            for group in request.resource_spans:
                self.services |= {
                    each.value.string_value for each in group.resource.attributes if each.key == "service.name"
                }
                self.spans += [span for scope in group.scope_spans for span in scope.spans]
            self._arrived.notify_all()

    def wait_for(self, *names: str) -> dict[str, Span]:
        """Return the spans by name once all of these have arrived."""
        with self._arrived:
            has_arrived = self._arrived.wait_for(lambda: {span.name for span in self.spans} >= set(names), SECONDS)
            assert has_arrived, {span.name for span in self.spans}
            return {span.name: span for span in self.spans}


class _Handler(BaseHTTPRequestHandler):
    collector: ClassVar[OtlpCollector]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        assert self.headers["content-type"] == "application/x-protobuf"
        self.collector.take(self.path, body)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@contextmanager
def otlp_collector() -> Iterator[OtlpCollector]:
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.collector = collector = OtlpCollector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join(SECONDS)
