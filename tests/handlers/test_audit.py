"""What the audit says of every call of the subscriptions."""

from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from conftest import RunningService
from persistence import audit
from tests.catalogue_rows import UNKNOWN, audit_of, execute
from tests.databases import with_database
from tests.handlers.answers import unique_id
from tests.handlers.callers import Caller, entry, errors, new_caller, new_certificate
from tests.raw_http import RawConnection

SYNC = "syncWebhookAbonnementer"


@pytest.fixture
def caller(subscribing: RunningService) -> Caller:
    return new_caller(subscribing)


def told(caller: Caller, request_id: str) -> list[tuple[str, str, str, str, str, dict[str, Any]]]:
    """Of each entry of a request: chain, kind, operation, caller, outcome and detail."""
    return [
        (found.chain, found.kind, found.operation, found.caller, found.outcome, found.detail)
        for found in audit_of(caller.database_url, request_id)
    ]


def known_as(caller: Caller) -> str:
    return f"sha256:{caller.certificate.fingerprint}"


def test_a_sync_is_recorded_once(caller: Caller) -> None:
    outcomes = []
    for query in ("?dryRun=true", "", ""):
        response = caller.send(caller.body(entry()), query)
        outcomes.append([row[4] for row in told(caller, response.headers["x-requestId"])])
    assert outcomes == [["dry run"], ["changed", "changed"], ["unchanged"]]


def test_look_ups_are_recorded(caller: Caller) -> None:
    current = caller.get(**{"x-requestId": "look-up-1"})
    allowed = caller.service.client.get("/v1/beskedtype/tilladte?orgType=1", headers=caller.headers())
    assert told(caller, "look-up-1")[-1] == (
        *(caller.system_id, "call", "hentAbonnementer", known_as(caller), "answered"),
        {},
    )
    assert current.status_code == 200
    assert told(caller, allowed.headers["x-requestId"]) == [
        ("-", "call", "hentTilladteBeskedtyper", known_as(caller), "answered", {})
    ]


def test_refused_calls_are_recorded_with_their_status_and_number_of_errors(caller: Caller) -> None:
    broken = [entry(entityType=UNKNOWN, webhookUrl="x")] * 3
    calls = {
        400: (caller.send(caller.body(*broken)), caller.system_id, 8),
        403: (caller.send(caller.body(systemIdentifier=unique_id())), "-", 1),
        413: (caller.send_bytes(b" " * (16 * 1024 * 1024 + 1)), "-", 1),
        415: (caller.send_bytes(b"{}", content_type="text/plain"), "-", 1),
    }
    for status, (response, chain, count) in calls.items():
        assert response.status_code == status
        assert told(caller, response.headers["x-requestId"]) == [
            (chain, "call", SYNC, known_as(caller), "refused", {"status": status, "errors": count})
        ]


def test_a_body_that_names_no_system_is_recorded_of_none(caller: Caller) -> None:
    for response in (caller.send_bytes(b"{"), caller.send({"abonnementer": []}), caller.send([])):
        ((chain, *_, outcome, detail),) = told(caller, response.headers["x-requestId"])
        assert (chain, outcome, detail) == ("-", "refused", {"status": 400, "errors": 1})


def test_callers_that_are_not_let_in_are_recorded(caller: Caller) -> None:
    stranger = new_certificate()
    for headers, name in (
        ({}, "-"),
        ({"client-cert": ":x:"}, "-"),
        ({"client-cert": stranger.header}, f"sha256:{stranger.fingerprint}"),
    ):
        for method, path, operation in (
            ("GET", f"/v1/abonnement?systemIdentifier={caller.system_id}", "hentAbonnementer"),
            ("POST", "/v1/abonnement/sync", SYNC),
        ):
            response = caller.service.client.request(method, path, headers=headers)
            assert told(caller, response.headers["x-requestId"]) == [
                ("-", "call", operation, name, "refused", {"status": 401, "errors": 1})
            ]


def test_a_caller_that_goes_away_while_it_sends_is_recorded(caller: Caller) -> None:
    request_id = unique_id()
    head = (
        f"POST /v1/abonnement/sync HTTP/1.1\r\nHost: x\r\nx-requestId: {request_id}\r\n"
        f"Client-Cert: {caller.certificate.header}\r\nContent-Length: 1000\r\n\r\n"
    )
    with RawConnection(caller.service.port) as connection:
        connection.send(head.encode() + b'{"systemIdentifier"')
    rows: list[Any] = []
    while not rows:
        rows = told(caller, request_id)
    assert rows == [("-", "call", SYNC, known_as(caller), "refused", {"status": 400, "errors": 1})]


def test_what_is_no_operation_is_not_recorded(caller: Caller) -> None:
    client = caller.service.client
    for response in (client.put("/v1/abonnement"), client.get("/v1/x"), client.get("/health/live")):
        name = response.headers.get("x-requestId") or response.headers["x-request-id"]
        assert told(caller, name) == []


def test_the_chains_of_all_these_calls_are_whole(caller: Caller) -> None:
    caller.sync(entry())
    errors(caller.send(caller.body(1)), 400)
    heads, broken = with_database(caller.database_url, audit.verify)
    assert broken is None
    assert {caller.system_id} <= set(heads)


def test_a_failed_call_is_recorded_and_told_without_its_cause(subscribing_alone: RunningService) -> None:
    caller = new_caller(subscribing_alone)
    execute(caller.database_url, sa.text("alter table subscriptions rename to away"))
    for response, operation in (
        (caller.get(), "hentAbonnementer"),
        (caller.send(caller.body(entry())), SYNC),
    ):
        (error,) = errors(response, 500)
        assert (error["errorCode"], error["message"]) == (1011, "Intern fejl i servicen; intet er ændret")
        assert told(caller, response.headers["x-requestId"]) == [
            (caller.system_id, "call", operation, known_as(caller), "failed", {"status": 500})
        ]


def test_a_call_that_the_database_cannot_record_is_answered_and_logged(subscribing_alone: RunningService) -> None:
    caller = new_caller(subscribing_alone)
    execute(caller.database_url, sa.text("alter table chains rename to away"))
    with structlog.testing.capture_logs() as entries:
        response = caller.get()
        assert errors(caller.get(unique_id()), 403)
    assert response.json()["abonnementer"] == []
    logged = [line for line in entries if line["event"] == "not audited"]
    assert [(line["log_level"], line["outcome"]) for line in logged] == [("error", "answered"), ("error", "refused")]
    assert logged[0]["request_id"] == response.headers["x-requestId"]
