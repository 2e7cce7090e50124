"""Logs: one line per request, with ids only, for every outcome."""

import base64
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from domain.log_texts import MAX_LENGTH
from openapi.observation.logs import set_up_logs
from openapi.observation.source_limits import LINES_PER_SECOND
from persistence.database import Database
from persistence.work import short_write
from tests.budkavle.services import KEY, RunningProgram, put_key, running_program
from tests.databases import run_with_database
from tests.factories import build_case_body, build_message_body
from tests.held_open_e import held_open_e
from tests.open_e.peers import NEVER, Peer, read_request, serve_responses
from tests.postgresql import PostgresqlServer
from tests.processes import Process

TEXT = "Kanelbullar till alla"
FILE_NAME = "dagbok.txt"
CONTENT = b"Ingen far se detta"
USER = "hemlig01"
VALUE = "hemligt-varde"
WRONG_KEY = "en-felaktig-nyckel"
SECRETS = (
    TEXT,
    FILE_NAME,
    CONTENT.decode(),
    base64.b64encode(CONTENT).decode()[:16],
    USER,
    VALUE,
    KEY,
    WRONG_KEY,
    "open-e-word",
)
CONTENTS = {
    "message": TEXT,
    "sender": {"userId": USER},
    "attachments": [{"fileName": FILE_NAME, "base64Data": base64.b64encode(CONTENT).decode()}],
}
REFERENCES = [{"key": "hemlig-nyckel", "value": VALUE}]


def parse_entries(process: Process) -> list[dict[str, Any]]:
    """Return the log entries of a service that has ended. Each line must be an object without secrets."""
    text = "".join(process.err)
    for secret in SECRETS:
        assert secret not in text
    return [json.loads(line) for line in process.err]


def stop(service: RunningProgram) -> list[dict[str, Any]]:
    service.process.send(signal.SIGTERM)
    assert service.process.wait() == 0
    return parse_entries(service.process)


def find_requests(log: list[dict[str, Any]]) -> list[tuple[str | None, int]]:
    found = []
    for entry in log:
        if entry["event"] == "request":
            assert entry["level"] == "info"
            assert re.fullmatch(r"[A-Za-z0-9._:-]{1,46}", entry["request_id"])
            assert isinstance(entry["milliseconds"], float)
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", entry["timestamp"])
            operation = entry["operation"]
            found.append((operation and re.sub("_", "", operation).lower(), entry["status"]))
    return found


def test_each_request_is_logged_in_one_line_with_ids_only(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with held_open_e() as held:
        held.release_calls()
        settings = {
            "open_e_external_url": held.url,
            "open_e_external_username": "me",
            "open_e_external_password": "open-e-word",
        }
        with running_program(sqlite_url, **settings) as service:
            call = service.client
            named = {"x-request-id": "named-0001"}
            stored = call.post(
                "/webmessages", json=build_message_body(externalReferences=REFERENCES, **CONTENTS), headers=named
            )
            location = stored.headers["location"]
            published = call.post("/webmessages", json=build_case_body(**CONTENTS))
            call.post("/webmessages", json=build_message_body(unknown=VALUE, **CONTENTS))
            call.post("/webmessages", content=f'{{"message": "{TEXT}'.encode())
            call.get(location)
            call.get(f"{location}/attachments/{call.get(location).json()['attachments'][0]['id']}")
            call.get(f"/webmessages/external-references/hemlig-nyckel/{VALUE}")
            call.get(location, headers={"apikey": WRONG_KEY})
            call.get(f"/{VALUE}?{VALUE}={VALUE}")
            call.put(f"/webmessages/{VALUE}", content=VALUE)
            call.delete(location)
            log = stop(service)
    create = "createwebmessage"
    # A caller may receive a streamed response before its line is logged.
    assert sorted(find_requests(log), key=str) == sorted(
        [
            (create, 201),
            (create, 201),
            (create, 400),
            (create, 400),
            ("getwebmessagebyid", 200),
            ("getwebmessagebyid", 200),
            ("getwebmessageattachment", 200),
            ("getwebmessagesbyexternalreference", 200),
            ("getwebmessagebyid", 401),
            (None, 404),
            (None, 405),
            ("deletewebmessagebyid", 204),
        ],
        key=str,
    )
    assert log[0]["request_id"] == "named-0001"
    assert log[0]["message_id"] == location.removeprefix("/webmessages/")
    assert log[1]["message_id"] == published.headers["location"].removeprefix("/webmessages/")
    assert log[0]["caller"] == "tests"
    assert all(entry["event"] == "request" for entry in log)
    refused = [(entry["status"], entry["path"], entry.get("fields")) for entry in log if entry["status"] >= 400]
    assert sorted(refused) == [
        (400, "/webmessages", ["*"]),
        (400, "/webmessages", ["body"]),
        (401, "/webmessages/*", None),
        (404, "/*", None),
        (405, "/webmessages/*", None),
    ]
    assert {entry["peer"] for entry in log if entry["status"] >= 400} == {"127.0.0.1"}
    assert not any({"path", "fields", "violations"} & entry.keys() for entry in log if entry["status"] < 400)


def test_failed_authentication_is_logged_with_reason_and_forwarded_address(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url, trusted_proxies="127.0.0.1") as service:
        get = service.client.get
        forwarded = {"x-forwarded-for": "203.0.113.9, 198.51.100.77"}
        get("/v1/abonnement", headers=forwarded)
        get("/webmessages/x", headers={"forwarded": 'for="[2001:db8::77]:80"', "apikey": WRONG_KEY})
        get("/webmessages/x", headers=forwarded)
        log = stop(service)
    assert [(entry["status"], entry["peer"], entry.get("reason")) for entry in log] == [
        (401, "198.51.100.77", "no_certificate"),
        (401, "2001:db8::77", "unknown_key"),
        (400, "198.51.100.77", None),
    ]


def test_log_lines_about_unauthenticated_callers_are_bounded(sqlite_url: str) -> None:
    put_key(sqlite_url)
    calls = 600
    targets = ("/webmessages/x", "/v1/abonnement", "/nowhere", "/health/live", "/webmessages")
    with running_program(sqlite_url, trusted_proxies="127.0.0.1") as service:
        start = time.monotonic()
        for number in range(calls):
            headers = {"apikey": WRONG_KEY, "x-forwarded-for": f"198.51.100.{number % 7}"}
            service.client.get(targets[number % len(targets)], headers=headers)
        seconds = time.monotonic() - start
        for _ in range(50):
            service.client.get("/webmessages/x")
        log = stop(service)
    named = [entry for entry in log if "caller" in entry]
    anonymous = [entry for entry in log if "caller" not in entry]
    assert len(named) == 50
    assert len(anonymous) <= LINES_PER_SECOND * (seconds + 2)
    # No later log line can count the lines that were written after the last one.
    assert sum(entry.get("suppressed", 0) for entry in anonymous) + len(anonymous) <= calls


def break_rows(database_url: str) -> None:
    """Write rows that no version of the service writes, so that reading them causes an unexpected error."""

    @short_write
    def run(connection: sa.Connection) -> None:
        connection.execute(sa.text("update web_messages set oep_instance = 'nowhere'"))

    async def work(database: Database) -> None:
        await database.write(run)

    run_with_database(database_url, work)


def test_unexpected_error_is_logged_with_its_traceback_but_without_request_data(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url) as service:
        body = build_message_body(externalReferences=REFERENCES, **CONTENTS)
        location = service.client.post("/webmessages", json=body).headers["location"]
        break_rows(sqlite_url)
        response = service.client.get(location, headers={"x-request-id": "named-0002"})
        assert response.status_code == 500
        assert response.json() == {
            "title": "Internal Server Error",
            "status": {"statusCode": 500, "reasonPhrase": "Internal Server Error"},
            "detail": "Something went wrong in the service; nothing is known of the cause here, the log has it",
        }
        log = stop(service)
    (unexpected,) = (entry for entry in log if entry["event"] == "unexpected_error_raised")
    assert (unexpected["level"], unexpected["request_id"]) == ("error", "named-0002")
    assert unexpected["exception"][0]["exc_type"] == "ValueError"
    frames = unexpected["exception"][0]["frames"]
    assert any(frame["filename"].endswith("web_messages.py") for frame in frames)
    assert all("locals" not in frame for frame in frames)
    assert find_requests(log) == [("createwebmessage", 201), ("getwebmessagebyid", 500)]


@short_write
def refuse_all(connection: sa.Connection) -> None:
    """Add a constraint that is unknown to the service. PostgreSQL's error contains the whole row."""
    connection.execute(sa.text("alter table web_messages add constraint never check (message = 'never') not valid"))


def test_database_error_is_logged_without_the_row(postgresql_server: PostgresqlServer) -> None:
    database_url = postgresql_server.create_migrated()
    put_key(database_url)

    async def work(database: Database) -> None:
        await database.write(refuse_all)

    run_with_database(database_url, work)
    with running_program(database_url) as service:
        body = build_message_body(externalReferences=REFERENCES, **CONTENTS)
        response = service.client.post("/webmessages", json=body)
        assert response.status_code == 500
        assert TEXT not in response.text
        log = stop(service)
    assert find_requests(log) == [("createwebmessage", 500)]
    assert any("never" in json.dumps(entry) for entry in log)


def test_console_format_logs_no_row_either(postgresql_server: PostgresqlServer) -> None:
    url = postgresql_server.create_migrated()
    put_key(url)

    async def work(database: Database) -> None:
        await database.write(refuse_all)

    run_with_database(url, work)
    with running_program(url, log_format="console") as service:
        body = build_message_body(externalReferences=REFERENCES, **CONTENTS)
        assert service.client.post("/webmessages", json=body).status_code == 500
        service.process.send(signal.SIGTERM)
        assert service.process.wait() == 0
    text = "".join(service.process.err)
    assert "never" in text
    assert "\x1b" not in text
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z \[info +\] request", service.process.err[-1])
    assert service.process.err[-1].rstrip().endswith("status=500")
    assert not [secret for secret in SECRETS if secret in text]


def test_failure_of_open_e_is_one_warning_without_request_data(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with held_open_e() as held:
        held.release_calls()
        with running_program(sqlite_url, open_e_external_url=held.url) as service:
            statuses = []
            for fault in ("NoDetail", "AccessDenied", "FlowInstanceNotFound"):
                held.mock.fail(fault)
                statuses.append(service.client.post("/webmessages", json=build_case_body(**CONTENTS)).status_code)
            assert statuses == [500, 500, 404]
            log = stop(service)
    events = ["open_e_call_failed", "request_failed", "request"] * 2 + ["request"]
    assert [entry["event"] for entry in log] == events
    calls = [entry for entry in log if entry["event"] == "open_e_call_failed"]
    assert [(entry["level"], entry["outcome"], entry["reason"]) for entry in calls] == [
        ("warning", "unknown", "fault Server: java.lang.RuntimeException: Unable to add message"),
        ("warning", "refused", ""),
    ]
    assert [entry["request_id"] for entry in calls] == [entry["request_id"] for entry in log[2:6:3]]
    assert log[1]["reason"] == calls[0]["reason"]
    assert [entry["error"] for entry in log if entry["event"] == "request_failed"] == [
        "OutcomeUnknown",
        "AccessDenied",
    ]
    requests = [entry["request_id"] for entry in log if entry["event"] == "request" and entry["status"] >= 500]
    assert [entry["request_id"] for entry in log if entry["event"] == "request_failed"] == requests
    assert all("exception" not in entry for entry in log)
    assert [entry["error"] for entry in log if entry["event"] == "request"] == [
        "OutcomeUnknown",
        "AccessDenied",
        "NotFound",
    ]


FAULT = (
    b'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><S:Fault><faultcode>S:%s</faultcode>'
    b"<faultstring>login as oep failed, password=hunter2 Authorization: Basic b2VwOmh1bnRlcjI= for '%s' %s"
    b"</faultstring>"
    b"</S:Fault></S:Body></S:Envelope>"
)


@pytest.mark.parametrize("code", [b"Client", b"Server"])
def test_fault_with_a_secret_is_returned_but_not_logged(sqlite_url: str, code: bytes) -> None:
    """Only the text of a fault that rejects a message is returned to the caller, as Open-E published it."""
    put_key(sqlite_url)
    peer = Peer(serve_responses(FAULT % (code, TEXT.encode(), b"word " * 200), "500 Error"))
    with running_program(sqlite_url, open_e_external_url=peer.url) as service:
        response = service.client.post("/webmessages", json=build_case_body(**CONTENTS))
        assert response.status_code == 500
        assert ("password=hunter2" in response.json()["detail"]) is (code == b"Client")
        log = stop(service)
    peer.close()
    (call,) = (entry for entry in log if entry["event"] == "open_e_call_failed")
    text = call["detail"] if code == b"Client" else call["reason"]
    assert "login as oep failed, password=[removed]" in text
    assert len(text) <= MAX_LENGTH + 1
    for entry in log:
        assert not any(secret in json.dumps(entry) for secret in ("hunter2", "b2VwOmh1bnRlcjI="))


@pytest.mark.parametrize(
    ("serve", "outcome", "reason"),
    [
        (lambda connection, _: connection.close(), "unknown", "RemoteDisconnected"),
        (lambda connection, _: read_request(connection), "unknown", "RemoteDisconnected"),
        (lambda connection, _: connection.recv(1) and NEVER.wait(2), "unknown", "TimeoutError"),
        (None, "unavailable", "Connection refused"),
    ],
    ids=["closed at once", "closed after the request", "silent", "not there"],
)
def test_open_e_call_without_a_response_is_logged_with_its_cause(
    sqlite_url: str, serve: Any, outcome: str, reason: str
) -> None:
    put_key(sqlite_url)
    peer = Peer(serve or (lambda *_: None))
    if serve is None:
        peer.close()
    with running_program(sqlite_url, open_e_external_url=peer.url, open_e_read_timeout=0.3) as service:
        assert service.client.post("/webmessages", json=build_case_body(**CONTENTS)).status_code == 500
        log = stop(service)
    peer.close()
    (call,) = (entry for entry in log if entry["event"] == "open_e_call_failed")
    assert (call["level"], call["outcome"]) == ("warning", outcome)
    assert reason in call["reason"] or "reset" in call["reason"]


def test_missing_table_is_logged_without_request_data(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url) as service:

        async def work(database: Database) -> None:
            await database.write(
                short_write(lambda connection: connection.execute(sa.text("drop table web_message_references")))
            )

        run_with_database(sqlite_url, work)
        body = build_message_body(externalReferences=REFERENCES, **CONTENTS)
        assert service.client.post("/webmessages", json=body).status_code == 500
        log = stop(service)
    assert find_requests(log) == [("createwebmessage", 500)]


def test_log_level_filters_lower_levels(tmp_path: Path) -> None:
    with running_program(f"sqlite:///{tmp_path}/test.db", log_level="warning") as service:
        assert service.client.get("/health/live").status_code == 200
        assert stop(service) == []


def test_new_log_configuration_applies_to_existing_loggers() -> None:
    log = structlog.get_logger()
    for _ in range(2):
        set_up_logs("json", "error")
        with structlog.testing.capture_logs() as parse_entries:
            log.error("Heard")
        assert parse_entries == [{"event": "Heard", "log_level": "error"}]


def test_repeated_post_is_logged_with_the_first_message_and_without_its_key(sqlite_url: str) -> None:
    put_key(sqlite_url)
    with running_program(sqlite_url) as service:
        responses = [
            service.client.post("/webmessages", json=body, headers={"Idempotency-Key": key})
            for body, key in (
                (build_message_body(), VALUE),
                (build_message_body(), VALUE),
                (build_message_body(message="Other"), VALUE),
                (build_message_body(), f'"{VALUE}'),
            )
        ]
        assert [response.status_code for response in responses] == [201, 201, 422, 400]
        entries = stop(service)
    message_id = responses[0].headers["Location"].removeprefix("/webmessages/")
    first, second, reused, invalid = [entry for entry in entries if entry.get("operation") == "create_web_message"]
    assert first["message_id"] == second["message_id"] == message_id
    assert ("is_replayed" in first, second["is_replayed"]) == (False, True)
    assert reused["error"] == "KeyReused"
    assert invalid["error"] == "Invalid"
