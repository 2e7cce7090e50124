"""Request ids."""

import re

import pytest

from conftest import MESSAGES_KEY, RunningService
from mock_open_e import MockOpenE
from openapi.observation.middleware import read_trace_parent
from tests.factories import build_message_body
from tests.handlers.messages import UNKNOWN_ID
from tests.raw_http import send_request

NEW = re.compile(r"[0-9a-f]{32}")
GOOD = ["a", "3f6a5c9e-0001", "A.b_c:d-e", "x" * 46]
BAD = ["", "x" * 47, "a b", "å".encode().decode("latin-1"), "a/b", "a,b", "${jndi:ldap://x}", "<script>", "a\tb"]


def read_request_id(service: RunningService, request_id: str, target: str = "/health/live", method: str = "GET") -> str:
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\napikey: {MESSAGES_KEY}\r\nX-Request-ID: {request_id}\r\n\r\n"
    return send_request(service.port, head.encode("latin-1")).headers["x-request-id"]


@pytest.mark.parametrize("request_id", GOOD)
def test_request_keeps_its_valid_id(contract: RunningService, request_id: str) -> None:
    assert read_request_id(contract, request_id) == request_id


@pytest.mark.parametrize("request_id", BAD)
def test_invalid_request_id_is_replaced_and_not_refused(contract: RunningService, request_id: str) -> None:
    assert NEW.fullmatch(read_request_id(contract, request_id))


def test_request_without_an_id_gets_a_new_one(contract: RunningService) -> None:
    names = {contract.client.get("/health/live").headers["x-request-id"] for _ in range(3)}
    assert len(names) == 3
    assert all(NEW.fullmatch(name) for name in names)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        ("/health/live", "GET"),
        ("/health/live?x=1", "GET"),
        (f"/webmessages/{UNKNOWN_ID}", "GET"),
        (f"/webmessages/{UNKNOWN_ID}", "DELETE"),
        ("/webmessages/x", "GET"),
        ("/webmessages", "PUT"),
        ("/nowhere", "GET"),
        ("/docs", "GET"),
        ("/docs/static/swagger-ui.css", "GET"),
    ],
)
def test_every_response_has_the_request_id_once(contract: RunningService, target: str, method: str) -> None:
    response = contract.client.request(method, target, headers={"x-request-id": "named-0001"})
    assert response.headers.get_list("x-request-id") == ["named-0001"]


def test_created_and_refused_responses_have_the_request_id(contract: RunningService) -> None:
    for headers in ({}, {"apikey": "wrong"}, {"content-type": "text/plain"}):
        response = contract.client.post(
            "/webmessages", json=build_message_body(), headers=headers | {"x-request-id": "n1"}
        )
        assert response.headers.get_list("x-request-id") == ["n1"]


def test_failure_of_open_e_has_the_request_id(contract: RunningService, shared_open_e: MockOpenE) -> None:
    shared_open_e.fail("Http500")
    body = build_message_body(externalReferences=[{"key": "flowInstanceId", "value": "1"}])
    response = contract.client.post("/webmessages", json=body, headers={"x-request-id": "n2"})
    assert (response.status_code, response.headers.get_list("x-request-id")) == (500, ["n2"])


@pytest.mark.parametrize("request_id", GOOD)
def test_request_id_is_accepted_under_the_name_of_the_other_contract(contract: RunningService, request_id: str) -> None:
    client = contract.client
    response = client.get(f"/webmessages/{UNKNOWN_ID}", headers={"x-requestId": request_id})
    assert response.headers.get_list("x-request-id") == [request_id]
    response = client.get("/v1/abonnement", headers={"X-Request-Id": request_id})
    assert response.headers.get_list("x-requestid") == [request_id]
    assert "x-request-id" not in response.headers


def test_request_id_of_the_contracts_own_name_wins(contract: RunningService) -> None:
    headers = [("x-requestId", "other"), ("x-request-id", "own")]
    assert contract.client.get("/health/live", headers=headers).headers["x-request-id"] == "own"
    assert contract.client.get("/v1/abonnement", headers=headers).headers["x-requestid"] == "other"
    # An invalid value counts as absent.
    headers = [("x-requestId", "other"), ("x-request-id", "a b")]
    assert contract.client.get("/health/live", headers=headers).headers["x-request-id"] == "other"


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", f"/webmessages/recipients/{UNKNOWN_ID}", 200),
        ("GET", f"/webmessages/{UNKNOWN_ID}", 404),
        ("DELETE", f"/webmessages/{UNKNOWN_ID}", 404),
        ("GET", "/webmessages/x", 400),
        ("PUT", "/webmessages", 405),
        ("GET", "/v1/abonnement", 401),
        ("GET", "/nowhere", 404),
        ("GET", "/docsx", 404),
    ],
)
def test_response_is_never_cached(contract: RunningService, method: str, target: str, status: int) -> None:
    response = contract.client.request(method, target)
    assert response.status_code == status
    assert response.headers.get_list("cache-control") == ["no-store"]


def test_response_to_a_post_and_a_download_is_never_cached(contract: RunningService) -> None:
    body = build_message_body(attachments=[{"fileName": "a", "base64Data": "YQ=="}])
    posted = contract.client.post("/webmessages", json=body)
    assert posted.headers["cache-control"] == "no-store"
    read = contract.client.get(posted.headers["location"])
    assert read.headers["cache-control"] == "no-store"
    assert (
        contract.client.post("/webmessages", json=body, headers={"apikey": "x"}).headers["cache-control"] == "no-store"
    )


def test_documentation_may_be_cached(contract: RunningService) -> None:
    for target in ("/docs", "/docs/web-messages", "/docs/web-messages/openapi.yaml"):
        assert contract.client.get(target).headers.get("cache-control") in {None, "no-cache"}


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([TRACE], TRACE),
        (["0a" + TRACE[2:]], "0a" + TRACE[2:]),
        ([], None),
        ([TRACE, TRACE], None),
        ([TRACE.upper()], None),
        (["ff" + TRACE[2:]], None),
        ([TRACE[:-1]], None),
        ([TRACE + "-x"], None),
        (["00-" + "0" * 32 + TRACE[35:]], None),
        ([TRACE[:36] + "0" * 16 + "-01"], None),
        ([TRACE + "\r\nx: y"], None),
    ],
)
def test_trace_parent_of_accepts_one_value_of_the_standard(values: list[str], expected: str | None) -> None:
    headers = [(b"x", TRACE.encode()), *((b"traceparent", value.encode()) for value in values)]
    assert read_trace_parent(headers) == expected
