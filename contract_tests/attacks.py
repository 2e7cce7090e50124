"""Build requests as bytes with defaults for irrelevant parts, and assert the common properties of error responses."""

import json
import random
import re
from collections.abc import Sequence
from typing import Any

from contract_tests.raw_http import CLOSED, RawResponse
from contract_tests.target import API_KEY, BASE_PATH, CERTIFICATE, HOST, PUBLISH_KEY, TOKEN, CheckTarget

REFUSED_REFERENCE = {"key": "attack", "value": "refused"}
REFUSED_CASE = {"key": "flowInstanceId", "value": "6660666"}
"""References of messages that must never be stored or sent. Messages that may be stored have other references."""

NOTHING = "/webmessages/external-references/attack/nothing"
"""A path that every caller with a key may read and that has no messages."""

_of_this_process = CheckTarget.from_environment()
_random = random.Random(None if _of_this_process is None else _of_this_process.seed)

JSON = "application/json"
FORM = "multipart/form-data; boundary=XX"

REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}


def request(
    method: str = "GET",
    target: str | bytes = NOTHING,
    *,
    headers: Sequence[str | bytes] = (),
    body: bytes | None = None,
    content_type: str | bytes | None = None,
    key: str | bytes | None = API_KEY,
) -> bytes:
    """Return a request as bytes. A body gets a Content-Length unless `headers` contain another framing."""
    base = BASE_PATH.encode() if _bytes(target).startswith(b"/") else b""
    lines = [_bytes(method) + b" " + base + _bytes(target) + b" HTTP/1.1", f"Host: {HOST}".encode()]
    lines += [_bytes(header) for header in headers]
    if key is not None:
        lines.append(b"apikey: " + _bytes(key))
    if content_type is not None:
        lines.append(b"Content-Type: " + _bytes(content_type))
    is_framed = any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in lines)
    if body is not None and not is_framed:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(_use_token(lines)) + b"\r\n\r\n" + (body or b"")


def _use_token(lines: list[bytes]) -> list[bytes]:
    """Return headers with the token in place of keys that the target of this process does not have."""
    target = _of_this_process
    if target is None or target.token_file is None:
        return lines
    keys = {API_KEY: target.api_key, PUBLISH_KEY: target.publish_key}
    missing = {f"apikey: {name}".encode() for name, key in keys.items() if key is None}
    replaced = [f"Authorization: Bearer {TOKEN}".encode() if line in missing else line for line in lines]
    has_certificate = any(line.startswith(b"Client-Cert: ") for line in lines)
    if replaced != lines and target.has_bound_token and not has_certificate:
        replaced.append(f"Client-Cert: {CERTIFICATE}".encode())
    return replaced


def post(body: bytes, content_type: str | bytes | None = JSON, **options: Any) -> bytes:
    """Return a request that creates a message."""
    return request("POST", "/webmessages", body=body, content_type=content_type, **options)


def chunks(body: bytes, size: int = 1000) -> bytes:
    """Return a body in the chunks of `Transfer-Encoding: chunked`."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def post_in_chunks(body: bytes, content_type: str | bytes | None = JSON, **options: Any) -> bytes:
    """Return a request that creates a message, in chunks."""
    return post(chunks(body), content_type, headers=["Transfer-Encoding: chunked"], **options)


def sync(
    body: bytes, certificate: str | None = CERTIFICATE, content_type: str | bytes | None = JSON, **options: Any
) -> bytes:
    """Return a request that replaces the subscriptions of a system."""
    headers = [*options.pop("headers", ()), *([] if certificate is None else [f"Client-Cert: {certificate}"])]
    options = {"key": None, **options, "headers": headers}
    return request("POST", "/v1/abonnement/sync", body=body, content_type=content_type, **options)


def message(**changes: Any) -> dict[str, Any]:
    """Return the JSON of a message that must be rejected because of `changes`."""
    return {"message": "This is an attack", "externalReferences": [REFUSED_REFERENCE, REFUSED_CASE], **changes}


def text(**changes: Any) -> bytes:
    """Return `message` as bytes."""
    return json.dumps(message(**changes)).encode()


def accepted_reference() -> dict[str, str]:
    """Return a reference for a message that may be stored. No message has it; it is derived from the seed."""
    target = CheckTarget.from_environment()
    while True:
        value = f"{_random.getrandbits(128):032x}"
        path = f"/webmessages/external-references/accepted/{value}"
        # A killed check may have left messages with the values that the same seed generates again.
        if target is None or target.send(request(target=path)).json() == []:
            return {"key": "accepted", "value": value}


def attachment(**changes: Any) -> dict[str, Any]:
    """Return the JSON of an attachment."""
    return {"fileName": "hello.txt", "base64Data": "SGVsbG8K", **changes}


def part(body: bytes, disposition: str | bytes, content_type: str | None = None, *headers: bytes) -> bytes:
    """Return one part of a form."""
    lines = [b"Content-Disposition: form-data; " + _bytes(disposition)]
    if content_type is not None:
        lines.append(b"Content-Type: " + content_type.encode())
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + body


def message_part(body: bytes | None = None, content_type: str | None = JSON, *headers: bytes) -> bytes:
    """Return the part with the JSON of the message."""
    return part(text() if body is None else body, 'name="message"', content_type, *headers)


def file_part(body: bytes = b"Hello\n", file_name: str = 'filename="hello.txt"') -> bytes:
    """Return a part with a file. `file_name` is the whole parameter."""
    return part(body, f'name="attachments"; {file_name}'.removesuffix("; "), "text/plain")


def form(*parts: bytes, boundary: bytes = b"XX") -> bytes:
    """Return a complete form."""
    return b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary


def assert_refused(answer: RawResponse | None, *, may_be_mended: bool = False) -> None:
    """Assert that the response is an error of any form, or that the connection was closed.

    501 and 505 are HTTP's responses to unknown methods, transfer codings and versions. Any other 5xx is a failure. With
    `may_be_mended`, a gateway may also remove or correct what is invalid and forward the rest.
    """
    if answer is None or answer is CLOSED:
        return
    is_mended = may_be_mended and 200 <= answer.status < 400
    assert is_mended or 400 <= answer.status < 500 or answer.status in {501, 505}, (answer.status, answer.body[:1000])


def assert_problem(answer: RawResponse, status: int, title: str | None = None) -> None:
    """Assert that the response is a problem of the published form that contains the request id."""
    if not answer.is_direct:
        assert_refused(answer)
        return
    _assert_shape(answer, status, title or REASONS[status])
    assert re.fullmatch("[A-Za-z0-9._:-]{1,46}", answer.headers["x-request-id"])


def assert_not_allowed(answer: RawResponse, *allowed: str) -> None:
    """Assert that the response rejects the method of the path and lists the allowed ones."""
    if not answer.is_direct:
        assert_refused(answer)
        return
    assert (answer.status, answer.headers["allow"]) == (405, ", ".join(sorted(allowed)))
    assert answer.body == b"" or answer.media_type == "application/problem+json"


def assert_violations(answer: RawResponse, *fields: str) -> None:
    """Assert that the response is a 400 with violations of exactly these fields."""
    if not answer.is_direct:
        assert_refused(answer)
        return
    assert_problem(answer, 400, "Constraint Violation")
    violations = answer.json()["violations"]
    assert all(set(violation) == {"field", "message"} and violation["message"] for violation in violations)
    assert violations == sorted(violations, key=lambda violation: (violation["field"], violation["message"]))
    assert [violation["field"] for violation in violations] == sorted(fields), violations


def assert_error_list(answer: RawResponse, status: int, *places: tuple[int | None, str | None, int]) -> None:
    """Assert that the response is an error list of the published form. Places are (index, field, error code)."""
    if not answer.is_direct:
        assert_refused(answer)
        return
    assert answer.status == status, answer.body
    assert answer.media_type == JSON
    assert re.fullmatch("[A-Za-z0-9._:-]{1,46}", answer.headers["x-requestid"])
    errors = answer.json()["errors"]
    names = {"orgtype", "orgcode", "entitytype", "errorCode", "message", "index", "field"}
    assert all(set(error) == names and error["message"] for error in errors)
    assert [(error["index"], error["field"], error["errorCode"]) for error in errors] == list(places), errors


def assert_no_http(answer: RawResponse, status: int = 400, *, may_be_mended: bool = False) -> None:
    """Assert that the HTTP parser rejected the request, without a request id, and closes the connection."""
    if not answer.is_direct:
        assert_refused(answer, may_be_mended=may_be_mended)
        return
    _assert_shape(answer, status, REASONS[status])
    assert answer.headers["connection"] == "close"


def assert_silent(answer: RawResponse, *secrets: str) -> None:
    """Assert that the response is an error without any of the secrets. A gateway's own text is not checked."""
    assert_refused(answer)
    assert not answer.is_direct or not any(secret in str(answer) for secret in secrets)


def assert_in_order(answers: Sequence[RawResponse | None], *statuses: int) -> None:
    """Assert the statuses of the responses on one connection. A gateway may close it after any but the first."""
    first = answers[0]
    assert first is not None
    if first.is_direct:
        assert [answer and answer.status for answer in answers] == list(statuses)
        return
    for answer, status in zip([answer for answer in answers if answer], statuses, strict=False):
        if status < 400:
            assert answer.status == status
        else:
            assert_refused(answer)


def _assert_shape(answer: RawResponse, status: int, title: str) -> None:
    problem = answer.json()
    assert answer.status == status, problem
    assert answer.media_type == "application/problem+json"
    assert problem["status"] == {"statusCode": status, "reasonPhrase": REASONS[status]}
    assert problem["title"] == title
    assert set(problem) <= {"title", "status", "detail", "violations"}


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
