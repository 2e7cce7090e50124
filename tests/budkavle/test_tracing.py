"""Traces: from a request to the call to Open-E, to the event, and to its deliveries."""

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind as OtelKind
from opentelemetry.trace import StatusCode

from budkavle import tracing
from budkavle.clock import now
from budkavle.ids import create_id
from budkavle.service import create_service
from budkavle.settings import Settings
from budkavle.tracing import OpenTelemetryTracer, is_configured, record_traces
from conftest import running_server
from delivery.calls import ReceiverClient
from delivery.worker import Limits, Worker
from domain.api_keys import ApiKey, hash_key
from domain.tracing import SpanKind, trace_work
from openapi.observation.logs import set_up_logs
from persistence.database import Database
from tests.budkavle.queues import subscribe
from tests.budkavle.services import KEY, create_plain_client, put_key
from tests.databases import run_with_database
from tests.factories import NOW, build_case_body
from tests.held_open_e import HeldOpenE, held_open_e
from tests.held_receiver import HeldReceiver, held_receiver
from tests.otlp_collector import otlp_collector
from tests.processes import budkavle, python, run_program, running
from tests.waiting import wait_until

TRACE_ID, CALLER_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACE_PARENT = f"00-{TRACE_ID}-{CALLER_ID}-01"
EVENT = {"orgType": 1, "orgCode": 101, "entityType": 202, "aendringstype": 1}
SECRETS: dict[str, object] = {
    "eksternIdentifier": create_id(),
    "identifikation": "0101701234",
    "identifikationstypeId": 1,
}
ATTRIBUTES = {
    "create_web_message": {"http.request.method", "http.response.status_code", "budkavle.operation"}
    | {"budkavle.request_id", "budkavle.message_id"},
    "addMessage": {"budkavle.open_e", "budkavle.message_id", "budkavle.outcome"},
    "opret_besked": {"http.request.method", "http.response.status_code", "budkavle.operation"}
    | {"budkavle.request_id", "budkavle.event_id"},
    "publish event": {"messaging.message.id", "budkavle.subscriptions"},
    "deliver event": {"http.request.method", "http.response.status_code", "messaging.message.id"}
    | {"budkavle.delivery_id", "budkavle.system_id", "budkavle.attempt", "budkavle.outcome"},
}
"""The attributes of each span, without those of failures. A new one must not identify a person."""


@dataclass
class TracedService:
    """A running service and a worker that record their spans in memory."""

    client: httpx.Client
    exporter: InMemorySpanExporter
    tracer: OpenTelemetryTracer
    database_url: str
    open_e: HeldOpenE
    receiver: HeldReceiver

    def wait_for_spans(self, *names: str) -> dict[str, ReadableSpan]:
        """Return the spans by name once all of these have ended: that of a request ends after its response."""
        ends = time.monotonic() + 30
        while {span.name for span in self.exporter.get_finished_spans()} < set(names):
            assert time.monotonic() < ends, self.exporter.get_finished_spans()
        found = {span.name: span for span in self.exporter.get_finished_spans()}
        assert sorted(found) == sorted(names)
        return found

    def deliver(self) -> None:
        """Make one attempt of each due delivery."""

        async def work(database: Database) -> None:
            calls = ReceiverClient()
            worker = Worker(database, calls, Limits(), holder="tests", now=now, tracer=self.tracer)
            try:
                assert await worker.run_once(now() + timedelta(seconds=1)) == 1
                await worker.finish()
            finally:
                await calls.close()

        run_with_database(self.database_url, work)


@contextmanager
def create_tracer() -> Iterator[tuple[InMemorySpanExporter, OpenTelemetryTracer]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter, OpenTelemetryTracer(provider)
    provider.shutdown()


@pytest.fixture
def traced(sqlite_url: str) -> Iterator[TracedService]:
    with create_tracer() as (exporter, tracer), held_open_e() as open_e, held_receiver(is_held=False) as receiver:
        open_e.release_calls()
        settings = Settings(database_url=sqlite_url, open_e_external_url=open_e.url)
        key = ApiKey(hash_key(KEY.encode()), "tests", ("messages", "publish"), NOW)
        application = create_service(settings, extra_keys=(key,), tracer=tracer)
        subscribe(sqlite_url, receiver.url)
        with running_server(settings, application) as url, create_plain_client(url, KEY) as client:
            yield TracedService(client, exporter, tracer, sqlite_url, open_e, receiver)


def get_ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Return the ids of the trace, the span and its parent in hexadecimal."""
    assert span.context is not None
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def test_trace_continues_from_the_caller_to_the_receiver(traced: TracedService) -> None:
    response = traced.client.post("/v1/besked", json=EVENT | SECRETS, headers={"traceparent": TRACE_PARENT})
    assert response.status_code == 202
    traced.deliver()
    spans = traced.wait_for_spans("opret_besked", "publish event", "deliver event")
    request, event, delivery = (get_ids(spans[name]) for name in ("opret_besked", "publish event", "deliver event"))
    assert {request[0], event[0], delivery[0]} == {TRACE_ID}
    assert (request[2], event[2], delivery[2]) == (CALLER_ID, request[1], event[1])
    assert traced.receiver.trace_parents == [f"00-{TRACE_ID}-{delivery[1]}-01"]
    kinds = [spans[name].kind for name in ("opret_besked", "publish event", "deliver event")]
    assert kinds == [OtelKind.SERVER, OtelKind.PRODUCER, OtelKind.CLIENT]
    assert spans["deliver event"].attributes["messaging.message.id"] == response.json()["beskedId"]
    assert spans["deliver event"].attributes["budkavle.outcome"] == "done"
    assert spans["publish event"].attributes["budkavle.subscriptions"] == 1


def test_trace_continues_to_open_e(traced: TracedService) -> None:
    response = traced.client.post("/webmessages", json=build_case_body(), headers={"traceparent": TRACE_PARENT})
    assert response.status_code == 201
    spans = traced.wait_for_spans("create_web_message", "addMessage")
    request, call = get_ids(spans["create_web_message"]), get_ids(spans["addMessage"])
    assert (request[0], request[2]) == (TRACE_ID, CALLER_ID)
    assert (call[0], call[2]) == (TRACE_ID, request[1])
    (entry,) = traced.open_e.mock.list_calls()
    assert entry.headers["traceparent"] == f"00-{TRACE_ID}-{call[1]}-01"
    assert spans["addMessage"].kind is OtelKind.CLIENT
    assert spans["addMessage"].attributes["budkavle.outcome"] == "published"
    assert spans["create_web_message"].attributes["http.response.status_code"] == 201


def test_failures_are_marked_with_a_code(traced: TracedService) -> None:
    traced.open_e.mock.fail("NoDetail")
    assert traced.client.post("/webmessages", json=build_case_body()).status_code == 500
    traced.receiver.status = 503
    traced.client.post("/v1/besked", json=EVENT)
    traced.deliver()
    spans = traced.wait_for_spans(*ATTRIBUTES)
    errors = {name: span.attributes.get("error.type") for name, span in spans.items()}
    assert errors == {
        "create_web_message": "500",
        "addMessage": "OutcomeUnknown",
        "opret_besked": None,
        "publish event": None,
        "deliver event": "503",
    }
    for name, span in spans.items():
        assert span.status.status_code is (StatusCode.UNSET if errors[name] is None else StatusCode.ERROR)
        # Texts of errors may contain data.
        assert (span.status.description, span.events) == (None, ())


def test_spans_have_known_attributes_without_personal_data(traced: TracedService) -> None:
    body = build_case_body(message="Hej 19121212-1212", partyId=create_id())
    message = traced.client.post("/webmessages", json=body).headers["location"]
    traced.client.post("/v1/besked", json=EVENT | SECRETS)
    traced.deliver()
    spans = traced.wait_for_spans(*ATTRIBUTES)
    assert {name: set(span.attributes) for name, span in spans.items()} == ATTRIBUTES
    assert spans["addMessage"].attributes["budkavle.message_id"] == message.rpartition("/")[2]
    written = "".join(span.to_json() for span in spans.values())
    personal = (body["message"], "19121212", body["partyId"], SECRETS["eksternIdentifier"], SECRETS["identifikation"])
    for value in (*personal, KEY, "127.0.0.1"):
        assert value not in written, value


def test_request_without_a_context_begins_a_trace(traced: TracedService) -> None:
    traced.client.get("/webmessages/81471222-5798-11e9-ae24-57fa13b361e1")
    traced.client.get("/nothing", headers={"traceparent": "garbage"})
    first, second = map(get_ids, traced.wait_for_spans("get_web_message_by_id", "unknown operation").values())
    assert (first[2], second[2]) == (None, None)
    assert first[0] != second[0]


def test_caller_decides_whether_its_trace_is_recorded(traced: TracedService) -> None:
    headers = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-00"}
    traced.client.post("/v1/besked", json=EVENT, headers=headers)
    traced.deliver()
    assert traced.exporter.get_finished_spans() == ()
    (trace_parent,) = traced.receiver.trace_parents
    assert trace_parent is not None
    assert (trace_parent[:36], trace_parent[-3:]) == (f"00-{TRACE_ID}-", "-00")


def test_monitoring_is_not_traced_and_unknown_paths_share_a_name(traced: TracedService) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/nothing/19121212-1212"):
        traced.client.get(path)
    traced.wait_for_spans("unknown operation")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
    ],
)
def test_is_configured_follows_the_standard_variables(environment: dict[str, str], expected: bool) -> None:
    assert is_configured(environment) is expected


def test_service_without_traces_imports_nothing_of_opentelemetry(sqlite_url: str) -> None:
    code = """
import asyncio, sys, warnings
warnings.simplefilter("ignore")
from budkavle.commands import run
from budkavle.delivering import Delivering
from budkavle.service import create_service
from budkavle.settings import Settings
from budkavle.tracing import record_traces

async def start():
    async with record_traces() as tracer:
        create_service(Settings(), tracer=tracer)
        print(tracer, [name for name in sys.modules if name.startswith("opentelemetry")])

asyncio.run(start())
"""
    assert run_program(*python(code), database_url=sqlite_url).stdout == "None []\n"


@pytest.fixture
def _otel_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")


@pytest.mark.usefixtures("_otel_environment")
def test_processes_export_their_spans_over_otlp(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_key(sqlite_url)
    with held_receiver(is_held=False) as receiver, held_open_e() as open_e, otlp_collector() as collector:
        subscribe(sqlite_url, receiver.url)
        open_e.release_calls()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        arguments = budkavle("serve", "--port", "0", "--with-worker", "--processes", "2")
        with running(*arguments, database_url=sqlite_url, open_e_external_url=open_e.url) as process:
            url = process.wait_for("Budkavle listens on ")
            with create_plain_client(url, KEY) as client:
                response = client.post("/webmessages", json=build_case_body(), headers={"traceparent": TRACE_PARENT})
                assert response.status_code == 201
                spans = collector.wait_for("create_web_message", "addMessage")
                monkeypatch.delenv("OTEL_BSP_SCHEDULE_DELAY")
            process.send(signal.SIGTERM)
            assert process.wait() == 0
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
    assert spans["addMessage"].parent_span_id == spans["create_web_message"].span_id
    assert (collector.services, collector.paths) == ({"budkavle"}, {"/v1/traces"})


@pytest.mark.anyio
@pytest.mark.usefixtures("_otel_environment")
@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "silent"])
async def test_exporter_that_is_down_delays_neither_work_nor_a_stop(
    monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    monkeypatch.setattr(tracing, "SHUTDOWN_SECONDS", 0.2)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if is_silent else 1
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        async with record_traces() as tracer:
            assert tracer is not None
            began = time.monotonic()
            for _ in range(500):
                with trace_work(tracer, "work", SpanKind.CLIENT, TRACE_PARENT):
                    pass
            worked = time.monotonic()
        # One export alone takes 10 seconds.
        assert worked - began < 3
        assert time.monotonic() - worked < 3
    # A thread that lives on repeats its calls, and changes the random state of later tests.
    await wait_until(lambda: not any(thread.name.startswith("OtelBatch") for thread in threading.enumerate()))


@pytest.fixture
def _warnings_are_logged() -> Iterator[None]:
    set_up_logs("json", "warning")
    yield
    set_up_logs("json", "error")


@pytest.mark.anyio
@pytest.mark.usefixtures("_warnings_are_logged")
async def test_program_starts_although_traces_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with structlog.testing.capture_logs() as lines:
        async with record_traces() as tracer:
            assert tracer is None
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
        # As if the extra were not installed.
        monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
        async with record_traces() as tracer:
            assert tracer is None
    assert [line["reason"] for line in lines] == [
        "only http/protobuf is supported, not grpc",
        "OpenTelemetry is not installed: pip install 'budkavle[otel]'",
    ]
