"""The order of checks between kinds of errors, and valid bodies."""

import json
from typing import Any

import httpx
import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService
from tests.factories import build_message_body
from tests.handlers.messages import read_problem, read_violations
from tests.raw_http import RawConnection, RawResponse, send_request

MAX_BODY_BYTES = 150 * 1024 * 1024
GOOD = json.dumps(build_message_body()).encode()
TOO_LARGE = f"The body must be at most {MAX_BODY_BYTES} bytes"
JSON = {"content-type": "application/json"}
WRONG_TYPE = {"content-type": "text/plain"}
WRONG_KEY = {"apikey": "wrong"}
WRONG_SCOPE = {"apikey": PUBLISH_KEY}


def post(service: RunningService, body: bytes, headers: dict[str, Any], query: str = "") -> httpx.Response:
    return service.client.post(f"/webmessages{query}", content=body, headers=headers)


def post_announced_length(
    service: RunningService, length: int, *headers: bytes, key: str = MESSAGES_KEY
) -> RawResponse:
    """Announce a body of this length, and send none of it."""
    lines = [
        b"POST /webmessages?unknown=1 HTTP/1.1",
        b"Host: x",
        b"apikey: " + key.encode(),
        b"Content-Length: %d" % length,
        *headers,
    ]
    return send_request(service.port, b"\r\n".join(lines) + b"\r\n\r\n")


@pytest.mark.parametrize("headers", [WRONG_KEY, WRONG_KEY | WRONG_TYPE, WRONG_KEY | {"apikey": ""}])
def test_unknown_key_is_reported_first(contract: RunningService, headers: dict[str, str]) -> None:
    response = post(contract, b"{", headers, "?unknown=1")
    assert read_problem(response, 401, "Unauthorized")["detail"] == "A valid key in the header apikey is needed"


def test_media_type_is_checked_before_scope_and_faults(contract: RunningService) -> None:
    response = post(contract, b"{", WRONG_SCOPE | WRONG_TYPE, "?unknown=1")
    value = read_problem(response, 415, "Unsupported Media Type")
    assert value["detail"] == "The body must be application/json or multipart/form-data"


def test_scope_is_checked_before_faults(contract: RunningService) -> None:
    response = post(contract, b"{", WRONG_SCOPE | JSON, "?unknown=1")
    assert read_problem(response, 403, "Forbidden")["detail"] == "The key lacks the scope messages.write"


def test_size_is_checked_after_key_and_media_type_and_before_scope(contract: RunningService) -> None:
    response = post_announced_length(contract, MAX_BODY_BYTES + 1, key=PUBLISH_KEY)
    assert response.status == 413
    assert json.loads(response.body)["detail"] == TOO_LARGE
    assert json.loads(response.body)["status"] == {"statusCode": 413, "reasonPhrase": "Content Too Large"}
    assert post_announced_length(contract, MAX_BODY_BYTES + 1, key="wrong").status == 401
    assert post_announced_length(contract, MAX_BODY_BYTES + 1, b"Content-Type: text/plain").status == 415


def test_body_over_the_limit_is_cut_off_at_once(contract: RunningService) -> None:
    with RawConnection(contract.port) as connection:
        head = "POST /webmessages HTTP/1.1\r\nHost: x\r\napikey: {}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.send(head.format(MESSAGES_KEY).encode())
        begin = b'{"attachments":[{"base64Data":"'
        connection.send(b"%x\r\n%s\r\n" % (len(begin), begin))
        size = 10 * 1024 * 1024
        chunk = b"%x\r\n%s\r\n" % (size, b"A" * size)
        # The text exceeds the limit, but its end never arrives.
        for _ in range(MAX_BODY_BYTES // size):
            connection.send(chunk)
        response = connection.read_response()
        assert response.status == 413
        assert json.loads(response.body)["detail"] == TOO_LARGE


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/webmessages/invalid", "GET"),
        ("/webmessages/invalid", "DELETE"),
        ("/webmessages/invalid/attachments/invalid", "GET"),
        ("/webmessages/recipients/invalid", "GET"),
        ("/webmessages/external-references/a/b", "GET"),
    ],
)
def test_every_operation_checks_key_scope_and_faults_in_this_order(
    contract: RunningService, path: str, method: str
) -> None:
    call = contract.client.request
    response = call(method, path, headers=WRONG_KEY)
    assert read_problem(response, 401, "Unauthorized")
    assert response.headers["www-authenticate"] == 'ApiKey realm="budkavle", header="apikey"'
    assert read_problem(call(method, path, headers=WRONG_SCOPE), 403, "Forbidden")
    assert read_violations(call(method, path))


def test_request_without_a_key_gets_401(contract: RunningService) -> None:
    response = send_request(contract.port, b"GET /webmessages/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert response.status == 401
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "APPLICATION/json; charset=UTF-8", "application/json ;x=y", ""],
)
def test_json_is_recognised_in_every_spelling(contract: RunningService, content_type: str) -> None:
    assert post(contract, GOOD, {"content-type": content_type}).status_code == 201
    assert read_violations(post(contract, b'{"message": " "}', {"content-type": content_type}))


def test_body_without_a_media_type_is_json(contract: RunningService) -> None:
    assert post(contract, GOOD, {}).status_code == 201
    assert read_violations(post(contract, b"{}", {}))


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", "json", "application/xml", "*/*", "\xe4"])
def test_other_media_types_are_refused(contract: RunningService, content_type: str) -> None:
    response = post(contract, GOOD, {"content-type": content_type.encode("latin-1")})
    assert read_problem(response, 415, "Unsupported Media Type")


def test_chunked_body_is_accepted(contract: RunningService) -> None:
    pieces = (GOOD[index : index + 7] for index in range(0, len(GOOD), 7))
    response = contract.client.post("/webmessages", content=pieces, headers=JSON)
    assert response.status_code == 201, response.text


def build_wrong_bodies() -> dict[str, tuple[bytes, str]]:
    return {
        "nothing": (b"", "must be JSON: Expecting value: line 1 column 1 (char 0)"),
        "cut-off": (GOOD[:-1], "must be JSON: Expecting ',' delimiter: line 1 column 154 (char 153)"),
        "two-values": (b"{}{}", "must be JSON: Extra data: line 1 column 3 (char 2)"),
        "utf-16": (GOOD.decode().encode("utf-16"), "must be JSON in UTF-8"),
        "utf-16-without-mark": (GOOD.decode().encode("utf-16-le"), "must be JSON in UTF-8"),
        "utf-16-be-without-mark": (GOOD.decode().encode("utf-16-be"), "must be JSON in UTF-8"),
        "utf-32": (GOOD.decode().encode("utf-32"), "must be JSON in UTF-8"),
        "utf-32-be": (GOOD.decode().encode("utf-32-be"), "must be JSON in UTF-8"),
        "two-marks": (b"\xef\xbb\xbf" * 2 + GOOD, "must be JSON: it begins with more than one byte order mark"),
        "half-a-mark": (b"\xef\xbb" + GOOD, "must be JSON in UTF-8"),
        "a-mark-alone": (b"\xef\xbb\xbf", "must be JSON: Expecting value: line 1 column 1 (char 0)"),
        "a-mark-behind": (
            GOOD + b"\xef\xbb\xbf",
            f"must be JSON: Extra data: line 1 column {len(GOOD) + 1} (char {len(GOOD)})",
        ),
        "latin-1": ('{"message":"å"}'.encode("latin-1"), "must be JSON in UTF-8"),
        "encoded-surrogate": (b'{"message":"\xed\xa0\x80"}', "must be JSON in UTF-8"),
        "half-a-surrogate-pair": (b'{"message":"\\ud83d"}', "must not contain an unpaired surrogate"),
        "half-in-a-name": (b'{"\\udc00":1}', "must not contain an unpaired surrogate"),
        "nan": (b'{"message":NaN}', "must be JSON, which does not allow NaN"),
        "infinity": (b'{"message":-Infinity}', "must be JSON, which does not allow -Infinity"),
        "beyond-measure": (b'{"message":1e999}', "must not contain a number outside the 64-bit float range"),
        "property-twice": (b'{"message":"a","message":"b"}', "must not contain a property twice in one object"),
        "inner-property-twice": (
            b'{"sender":{"userId":"a","\\u0075serId":"b"}}',
            "must not contain a property twice in one object",
        ),
        "brackets": (b"[" * 100_000, "must be nested at most 64 levels deep"),
        "closed-brackets": (b"[" * 65 + b"]" * 65, "must be nested at most 64 levels deep"),
        "objects": (b'{"a":' * 100_000, "must be nested at most 64 levels deep"),
    }


@pytest.mark.parametrize(("body", "message"), build_wrong_bodies().values(), ids=build_wrong_bodies())
def test_json_that_is_not_strict_is_refused(contract: RunningService, body: bytes, message: str) -> None:
    assert read_violations(post(contract, body, JSON)) == [("body", message)]


@pytest.mark.parametrize("size", [0, 300_000, 2_000_000])
def test_json_body_may_begin_with_a_byte_order_mark(contract: RunningService, size: int) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(build_message_body(message="x" * (size + 1))).encode()
    assert post(contract, body, JSON).status_code == 201


def test_invalid_body_is_reported_together_with_invalid_parameters(contract: RunningService) -> None:
    assert read_violations(post(contract, b"{", JSON, "?limit=1")) == [
        ("body", "must be JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("createWebMessage.limit", "not a parameter of this operation"),
    ]


def test_integer_of_5000_digits_is_refused(contract: RunningService) -> None:
    for digits in (5000, 200_000, 2_000_000):
        ((field, message),) = read_violations(post(contract, b'{"message":' + b"9" * digits + b"}", JSON))
        assert (field, message) == ("body", "must not contain an integer of more than 4300 digits")


@pytest.mark.parametrize("number", [b"9" * 4000, b"-" + b"9" * 30, b"1e300", b"0.1"])
def test_number_is_not_a_text(contract: RunningService, number: bytes) -> None:
    body = b'{"partyId":%s,"message":%s,"externalReferences":[]}' % (number, number)
    assert read_violations(post(contract, body, JSON)) == [
        ("externalReferences", "can not be empty or contain elements with empty keys or values"),
        ("message", "must be a string"),
        ("partyId", "must be a string"),
    ]


def test_charset_of_the_media_type_is_ignored(contract: RunningService) -> None:
    assert post(contract, GOOD, {"content-type": "application/json; charset=utf-16"}).status_code == 201


def test_nesting_within_the_limit_is_checked_by_the_contract(contract: RunningService) -> None:
    assert read_violations(post(contract, b"[" * 64 + b"]" * 64, JSON)) == [("body", "must be an object")]


def test_get_with_a_body_is_accepted(contract: RunningService) -> None:
    response = contract.client.request("GET", "/webmessages/x", content=b"{", headers=WRONG_TYPE)
    assert read_violations(response) == [("getWebMessageById.id", "not a valid UUID")]
