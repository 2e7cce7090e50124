"""The audit entries of calls of the subscriptions."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog

from conftest import RunningService, running_service
from domain.audit import AuditEntry
from persistence import audit
from tests.catalogue_rows import UNKNOWN, execute, put_message_types, read_audit
from tests.databases import run_with_database
from tests.handlers.callers import DAY, Caller, build_entry, create_caller, create_certificate, read_errors
from tests.handlers.messages import create_id
from tests.raw_http import RawConnection

SYNC = "syncWebhookAbonnementer"


def summarise_entries(caller: Caller, request_id: str) -> list[tuple[str, str, str, str, str, dict[str, Any]]]:
    """Return chain, kind, operation, caller, outcome and detail of each entry of a request."""
    return [
        (found.chain, found.kind, found.operation, found.caller, found.outcome, found.detail)
        for found in read_audit(caller.database_url, request_id)
    ]


def build_audit_name(caller: Caller) -> str:
    return f"sha256:{caller.certificate.fingerprint}"


def test_sync_is_recorded_once(caller: Caller) -> None:
    outcomes = []
    for query in ("?dryRun=true", "", ""):
        response = caller.send(caller.body(build_entry()), query)
        outcomes.append([row[4] for row in summarise_entries(caller, response.headers["x-requestId"])])
    assert outcomes == [["dry run"], ["changed", "changed"], ["unchanged"]]


def test_look_ups_are_recorded(caller: Caller) -> None:
    current = caller.get(**{"x-requestId": "look-up-1"})
    allowed = caller.service.client.get("/v1/beskedtype/tilladte?orgType=1", headers=caller.headers())
    assert summarise_entries(caller, "look-up-1")[-1] == (
        *(caller.system_id, "call", "hentAbonnementer", build_audit_name(caller), "answered"),
        {},
    )
    assert current.status_code == 200
    assert summarise_entries(caller, allowed.headers["x-requestId"]) == [
        ("-", "call", "hentTilladteBeskedtyper", build_audit_name(caller), "answered", {})
    ]


def test_refused_calls_are_recorded_with_their_status_and_number_of_errors(caller: Caller) -> None:
    broken = [build_entry(entityType=UNKNOWN, webhookUrl="x")] * 3
    calls = {
        400: (caller.send(caller.body(*broken)), caller.system_id, 8),
        403: (caller.send(caller.body(systemIdentifier=create_id())), "-", 1),
        413: (caller.send_bytes(b" " * (16 * 1024 * 1024 + 1)), "-", 1),
        415: (caller.send_bytes(b"{}", content_type="text/plain"), "-", 1),
    }
    for status, (response, chain, count) in calls.items():
        assert response.status_code == status
        why = {"reason": "system_not_authorised", "address": "127.0.0.1"} if status == 403 else {}
        assert summarise_entries(caller, response.headers["x-requestId"]) == [
            (chain, "call", SYNC, build_audit_name(caller), "refused", {"status": status, "errors": count} | why)
        ]


def test_body_without_a_system_is_recorded_without_one(caller: Caller) -> None:
    for response in (caller.send_bytes(b"{"), caller.send({"abonnementer": []}), caller.send([])):
        ((chain, *_, outcome, detail),) = summarise_entries(caller, response.headers["x-requestId"])
        assert (chain, outcome, detail) == ("-", "refused", {"status": 400, "errors": 1})


def test_first_refusal_of_a_caller_is_recorded_at_once(subscribing_alone: RunningService) -> None:
    client, url = subscribing_alone.client, subscribing_alone.settings.database_url.get_secret_value()
    stranger, expired = create_certificate(), create_certificate(ends=-DAY / 2)
    for headers, caller, reason in (
        ({}, "ip:127.0.0.1", "no_certificate"),
        ({"client-cert": ":x:"}, "ip:127.0.0.1", "certificate_unreadable"),
        ({"client-cert": expired.header}, "ip:127.0.0.1", "certificate_outside_dates"),
        ({"client-cert": stranger.header}, f"sha256:{stranger.fingerprint}", "unknown_certificate"),
        ({"x-forwarded-for": "198.51.100.7"}, "ip:198.51.100.7", "no_certificate"),
        ({"x-forwarded-for": "2001:db8::7"}, "ip:2001:db8::/64", "no_certificate"),
    ):
        response = client.post("/v1/abonnement/sync", headers=headers)
        (found,) = read_audit(url, response.headers["x-requestId"])
        assert (found.chain, found.kind, found.operation, found.outcome) == ("-", "call", SYNC, "refused")
        assert (found.caller, found.detail["status"], found.detail["reason"]) == (caller, 401, reason)
        assert found.detail["address"] == headers.get("x-forwarded-for", "127.0.0.1")


def test_further_refusals_are_counted_in_one_entry_each(database_url: str) -> None:
    """The number of entries is bounded for any variation by an anonymous caller; the counts are written at shutdown."""
    put_message_types(database_url)
    with running_service(database_url=database_url, trusted_proxies="127.0.0.1") as service:
        caller = create_caller(service)
        for number in range(120):
            operation, targets = number % 3, ("/sync", f"?systemIdentifier={caller.system_id}", "/beskeder")
            headers = {"x-forwarded-for": f"198.51.100.{number}"} if number >= 60 else {}
            method, path = "GET" if operation else "POST", f"/v1/abonnement{targets[operation]}"
            response = service.client.request(method, path, headers=headers)
            assert response.status_code == 401
        for _ in range(5):
            assert caller.get(create_id()).status_code == 403
        assert len(list_refusals(database_url)) == 1 + 9 + 1
    entries = list_refusals(database_url)
    counted = {entry.caller: entry for entry in entries if entry.kind == "refusals"}
    assert len(entries) == 11 + 3
    assert {name: entry.detail["count"] for name, entry in counted.items()} == {
        "ip:127.0.0.1": 59,
        "*": 51,
        build_audit_name(caller): 4,
    }
    own = counted[build_audit_name(caller)]
    assert (own.chain, own.operation, own.outcome) == ("-", "hentAbonnementer", "refused")
    assert own.detail["reason"] == "system_not_authorised"
    flood = counted["ip:127.0.0.1"]
    assert flood.operation == "*"
    assert flood.detail["operations"] == {SYNC: 19, "hentAbonnementer": 20, "hentBeskeder": 20}
    assert datetime.fromisoformat(flood.detail["first"]) <= datetime.fromisoformat(flood.detail["last"])
    _, broken = run_with_database(database_url, audit.verify)
    assert broken is None


def list_refusals(url: str) -> list[AuditEntry]:
    """Return all entries of refused calls, oldest first."""
    pages = run_with_database(url, lambda database: audit.list_page(database, after=0, limit=1000))
    return [item.entry for _, item in pages if item.entry.outcome == "refused"]


def test_disconnected_caller_is_recorded(caller: Caller) -> None:
    request_id = create_id()
    head = (
        f"POST /v1/abonnement/sync HTTP/1.1\r\nHost: x\r\nx-requestId: {request_id}\r\n"
        f"Client-Cert: {caller.certificate.header}\r\nContent-Length: 1000\r\n\r\n"
    )
    with RawConnection(caller.service.port) as connection:
        connection.send(head.encode() + b'{"systemIdentifier"')
    rows: list[Any] = []
    while not rows:
        rows = summarise_entries(caller, request_id)
    assert rows == [("-", "call", SYNC, build_audit_name(caller), "refused", {"status": 400, "errors": 1})]


def test_calls_of_no_operation_are_not_recorded(caller: Caller) -> None:
    client = caller.service.client
    for response in (client.put("/v1/abonnement"), client.get("/v1/x"), client.get("/health/live")):
        name = response.headers.get("x-requestId") or response.headers["x-request-id"]
        assert summarise_entries(caller, name) == []


def test_chains_of_these_calls_are_intact(caller: Caller) -> None:
    caller.sync(build_entry())
    read_errors(caller.send(caller.body(1)), 400)
    heads, broken = run_with_database(caller.database_url, audit.verify)
    assert broken is None
    assert {caller.system_id} <= set(heads)


def test_failed_call_is_recorded_and_answered_without_its_cause(subscribing_alone: RunningService) -> None:
    caller = create_caller(subscribing_alone)
    execute(caller.database_url, sa.text("alter table subscriptions rename to away"))
    for response, operation in (
        (caller.get(), "hentAbonnementer"),
        (caller.send(caller.body(build_entry())), SYNC),
    ):
        (error,) = read_errors(response, 500)
        assert (error["errorCode"], error["message"]) == (1011, "Intern fejl i servicen; intet er ændret")
        assert summarise_entries(caller, response.headers["x-requestId"]) == [
            (caller.system_id, "call", operation, build_audit_name(caller), "failed", {"status": 500})
        ]


def test_calls_that_fail_before_authentication_are_counted_too(subscribing_alone: RunningService) -> None:
    caller = create_caller(subscribing_alone)
    execute(caller.database_url, sa.text("alter table certificates rename to away"))
    first, *others = [caller.get() for _ in range(3)]
    assert first.status_code >= 500
    ((chain, *_, outcome, detail),) = summarise_entries(caller, first.headers["x-requestId"])
    assert (chain, outcome, detail["reason"]) == ("-", "failed", "not_checked")
    assert [summarise_entries(caller, response.headers["x-requestId"]) for response in others] == [[], []]


def test_call_that_the_database_cannot_record_is_answered_and_logged(subscribing_alone: RunningService) -> None:
    caller = create_caller(subscribing_alone)
    execute(caller.database_url, sa.text("alter table chains rename to away"))
    with structlog.testing.capture_logs() as entries:
        response = caller.get()
        assert read_errors(caller.get(create_id()), 403)
    assert response.json()["abonnementer"] == []
    logged = [line for line in entries if line["event"] == "call_not_audited"]
    assert [(line["log_level"], line["outcome"]) for line in logged] == [("error", "answered"), ("error", "refused")]
    assert logged[0]["request_id"] == response.headers["x-requestId"]
