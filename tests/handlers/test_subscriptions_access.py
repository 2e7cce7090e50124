"""Access to the subscriptions, the responses to refused callers, and the form of every error."""

import json
from datetime import timedelta

import pytest

from conftest import RunningService
from openapi.bodies.json_reader import MAX_CONTAINERS
from tests.catalogue_rows import put_system, remove_certificate
from tests.handlers.callers import DAY, Caller, Certificate, build_entry, create_caller, create_certificate, read_errors
from tests.handlers.messages import create_id
from tests.raw_http import RawConnection, send_request

LIMIT = 16 * 1024 * 1024
OPERATIONS = [
    ("POST", "/v1/abonnement/sync"),
    ("GET", "/v1/abonnement?systemIdentifier=x"),
    ("GET", "/v1/beskedtype/tilladte"),
    ("GET", "/v1/abonnement/beskeder"),
    ("POST", "/v1/abonnement/beskeder/genfremsend"),
    ("POST", "/v1/abonnement/testbesked"),
]


def add_certificate(caller: Caller, begins: timedelta, ends: timedelta) -> Certificate:
    """Return a certificate of the caller's system that is valid between these times."""
    certificate = create_certificate(begins, ends)
    put_system(caller.database_url, create_id(), certificate.fingerprint)
    return certificate


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_access_requires_a_known_certificate(caller: Caller, method: str, path: str) -> None:
    own = caller.certificate.header
    refused = {
        "unknown": [create_certificate().header],
        "ended": [add_certificate(caller, -2 * DAY, -DAY).header],
        "not yet": [add_certificate(caller, DAY, 2 * DAY).header],
        "none": [],
        "empty": [""],
        "no base64": [":!:"],
        "cut": [own[:-9] + ":"],
        "twice": [own, own],
        "fingerprint": [caller.certificate.fingerprint],
    }
    responses = set()
    for name, headers in refused.items():
        response = caller.service.client.request(method, path, headers=[("client-cert", text) for text in headers])
        (error,) = read_errors(response, 401)
        assert error["errorCode"] == 1101, name
        assert response.headers["www-authenticate"] == 'ClientCertificate realm="budkavle"'
        responses.add(response.content)
    assert len(responses) == 1


def test_api_keys_and_certificates_are_not_interchangeable(caller: Caller) -> None:
    client = caller.service.client
    assert read_errors(client.get("/v1/beskedtype/tilladte?orgType=1"), 401)
    headers = caller.headers(apikey="wrong")
    assert client.get(f"/webmessages/{create_id()}", headers=headers).status_code == 401
    assert client.get(f"/webmessages/{create_id()}").status_code == 404


def test_removed_certificate_is_refused_at_once(caller: Caller) -> None:
    caller.sync(build_entry())
    remove_certificate(caller.database_url, caller.certificate.fingerprint)
    assert read_errors(caller.send(caller.body()), 401)
    assert read_errors(caller.get(), 401)


def test_foreign_and_unknown_systems_get_the_same_response(subscribing: RunningService) -> None:
    caller, other = create_caller(subscribing), create_caller(subscribing)
    other.sync(build_entry())
    broken = [build_entry(entityType="x")] * 3
    responses = []
    for system_id in (other.system_id, other.system_id.upper(), create_id()):
        for response in (
            caller.send(caller.body(*broken, systemIdentifier=system_id, more=1), "?x=1"),
            caller.send({"systemIdentifier": system_id}),
            caller.send(caller.body(systemIdentifier=system_id)),
            caller.get(system_id),
        ):
            (error,) = read_errors(response, 403)
            assert error["errorCode"] == 1013
            volatile = {"date", "x-requestid"}
            responses.append((response.content, {k: v for k, v in response.headers.items() if k not in volatile}))
    assert all(each == responses[0] for each in responses)
    assert len(other.current()) == 1


def test_certificates_and_systems_are_many_to_many(caller: Caller) -> None:
    second, another = create_id(), create_certificate()
    put_system(caller.database_url, second, caller.certificate.fingerprint, another.fingerprint)
    assert caller.send(caller.body(build_entry(), systemIdentifier=second)).status_code == 200
    assert len(Caller(caller.service, another, second).current()) == 1
    assert read_errors(Caller(caller.service, another, second).get(caller.system_id), 403)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b'{"a":NaN}', b'{"a":1,"a":1}', b"\xff", b"9" * 5000])
def test_body_that_is_not_json_is_1014(caller: Caller, text: bytes) -> None:
    for body in (text, b" " * 300_000 + text, b" " * 2_000_000 + text):
        (error,) = read_errors(caller.send_bytes(body), 400)
        assert (error["errorCode"], error["index"], error["field"]) == (1014, None, None)
        assert error["message"].startswith("Request validerer ikke: body ")


def test_body_with_too_many_objects_is_refused(caller: Caller) -> None:
    (error,) = read_errors(caller.send_bytes(b"[" + b"{}," * MAX_CONTAINERS + b"{}]"), 400)
    assert error["message"] == (
        "Request validerer ikke: body må højst indeholde 250000 objekter og lister, og højst 25000 værdier mellem to "
        "objekters slutning"
    )


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
def test_other_media_types_are_refused_before_the_body(caller: Caller, content_type: str) -> None:
    body = json.dumps(caller.body(systemIdentifier=create_id())).encode()
    (error,) = read_errors(caller.send_bytes(body, content_type=content_type), 415)
    assert error["errorCode"] == 1014
    assert read_errors(caller.send_bytes(body, content_encoding="gzip"), 415)


def test_body_is_limited_to_16_mib(caller: Caller) -> None:
    body = json.dumps(caller.body(build_entry())).encode()
    assert caller.send_bytes(body + b" " * (LIMIT - len(body))).status_code == 200
    (error,) = read_errors(caller.send_bytes(body + b" " * (LIMIT - len(body) + 1)), 413)
    assert error["errorCode"] == 1014


def test_body_over_the_limit_is_cut_off(caller: Caller) -> None:
    head = f"POST /v1/abonnement/sync HTTP/1.1\r\nHost: x\r\nClient-Cert: {caller.certificate.header}\r\n"
    with RawConnection(caller.service.port) as connection:
        connection.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        for _ in range(17):
            connection.send(chunk)
        response = connection.read_response()
    assert response.status == 413
    assert json.loads(response.body)["errors"][0]["errorCode"] == 1014


def test_unknown_paths_and_methods_are_problems(caller: Caller) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("PUT", "/v1/abonnement", 405), ("GET", "/v1", 404)):
        response = caller.service.client.request(method, path, headers=caller.headers())
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/abonnement/sync", "/v1/nothing", "/v1", "/%761/abonnement", "/v1/abonnement?x"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_requests_below_v1_have_the_header_x_requestid(caller: Caller, method: str, path: str) -> None:
    headers = caller.headers(x_requestId="named-1") | {"X-REQUESTID": "named-1", "x-request-id": "other"}
    response = caller.service.client.request(method, path, headers=headers)
    assert set(response.headers.get_list("x-requestId")) == {"named-1"}
    assert "x-request-id" not in response.headers


@pytest.mark.parametrize("path", ["/health/live", "/webmessages/x", "/v10", "/v1x/abonnement", "/nothing/v1/x"])
def test_other_requests_have_the_header_x_request_id(caller: Caller, path: str) -> None:
    response = caller.service.client.get(path, headers={"x-requestId": "other", "x-request-id": "named-2"})
    assert response.headers["x-request-id"] == "named-2"
    assert "x-requestid" not in response.headers


def test_invalid_request_id_is_replaced(caller: Caller) -> None:
    response = caller.get(**{"x-requestId": "a b"})
    assert response.status_code == 200
    assert len(response.headers["x-requestId"]) == 32
    raw = send_request(caller.service.port, b"GET /v1/abonnement HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (raw.status, len(raw.headers["x-requestid"])) == (401, 32)
