"""Requests in bytes, with what does not matter filled in, and what every refusal has in common."""

import json
import random
import re
from collections.abc import Sequence
from typing import Any

from contract_tests.raw_http import CLOSED, Answer
from contract_tests.target import API_KEY, BASE_PATH, CERTIFICATE, HOST, Target

REFUSED_REFERENCE = {"key": "attack", "value": "refused"}
REFUSED_CASE = {"key": "flowInstanceId", "value": "6660666"}
"""References of messages that must never be stored or sent; what may be stored names others."""

NOTHING = "/webmessages/external-references/attack/nothing"
"""What every caller with a key may read, and find nothing at."""

_of_this_process = Target.of_environment()
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
    """A request; with a body it has a Content-Length, unless `headers` frame it otherwise."""
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
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def post(body: bytes, content_type: str | bytes | None = JSON, **options: Any) -> bytes:
    """A request that creates a message."""
    return request("POST", "/webmessages", body=body, content_type=content_type, **options)


def chunks(body: bytes, size: int = 1000) -> bytes:
    """A body in chunks, as `Transfer-Encoding: chunked` frames it."""
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def post_in_chunks(body: bytes, content_type: str | bytes | None = JSON, **options: Any) -> bytes:
    """The same without a Content-Length."""
    return post(chunks(body), content_type, headers=["Transfer-Encoding: chunked"], **options)


def sync(
    body: bytes, certificate: str | None = CERTIFICATE, content_type: str | bytes | None = JSON, **options: Any
) -> bytes:
    """A request that sets the subscriptions of a system."""
    headers = [*options.pop("headers", ()), *([] if certificate is None else [f"Client-Cert: {certificate}"])]
    options = {"key": None, **options, "headers": headers}
    return request("POST", "/v1/abonnement/sync", body=body, content_type=content_type, **options)


def message(**changes: Any) -> dict[str, Any]:
    """The JSON of a message that must be refused for what `changes` make of it."""
    return {"message": "This is an attack", "externalReferences": [REFUSED_REFERENCE, REFUSED_CASE], **changes}


def text(**changes: Any) -> bytes:
    """The same as bytes."""
    return json.dumps(message(**changes)).encode()


def accepted_reference() -> dict[str, str]:
    """A reference of a message that may be stored, and that none has; it follows from the seed."""
    target = Target.of_environment()
    while True:
        value = f"{_random.getrandbits(128):032x}"
        path = f"/webmessages/external-references/accepted/{value}"
        # A check that was killed may have left what the same seed makes up again.
        if target is None or target.send(request(target=path)).json() == []:
            return {"key": "accepted", "value": value}


def attachment(**changes: Any) -> dict[str, Any]:
    """The JSON of a file."""
    return {"fileName": "hello.txt", "base64Data": "SGVsbG8K", **changes}


def part(body: bytes, disposition: str | bytes, content_type: str | None = None, *headers: bytes) -> bytes:
    """One part of a form."""
    lines = [b"Content-Disposition: form-data; " + _bytes(disposition)]
    if content_type is not None:
        lines.append(b"Content-Type: " + content_type.encode())
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n" + body


def message_part(body: bytes | None = None, content_type: str | None = JSON, *headers: bytes) -> bytes:
    """The part with the JSON."""
    return part(text() if body is None else body, 'name="message"', content_type, *headers)


def file_part(body: bytes = b"Hello\n", file_name: str = 'filename="hello.txt"') -> bytes:
    """A part with a file; `file_name` is the whole parameter."""
    return part(body, f'name="attachments"; {file_name}'.removesuffix("; "), "text/plain")


def form(*parts: bytes, boundary: bytes = b"XX") -> bytes:
    """A whole form."""
    return b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary


def assert_refused(answer: Answer | None, *, may_be_mended: bool = False) -> None:
    """The answer is a refusal, in whatever words, or the connection was closed.

    501 and 505 are HTTP's own refusals, of methods, transfer codings and versions that a server does not know; any
    other 5xx is a fault. With `may_be_mended` a gateway may leave out or put right what is wrong and hand on the rest.
    """
    if answer is None or answer is CLOSED:
        return
    is_mended = may_be_mended and 200 <= answer.status < 400
    assert is_mended or 400 <= answer.status < 500 or answer.status in {501, 505}, (answer.status, answer.body[:1000])


def assert_problem(answer: Answer, status: int, title: str | None = None) -> None:
    """The answer is a problem of the published shape, and names its request."""
    if not answer.in_own_words:
        assert_refused(answer)
        return
    _assert_shape(answer, status, title or REASONS[status])
    assert re.fullmatch("[A-Za-z0-9._:-]{1,46}", answer.headers["x-request-id"])


def assert_not_allowed(answer: Answer, *allowed: str) -> None:
    """The answer says that the path does not have this method, and which it has."""
    if not answer.in_own_words:
        assert_refused(answer)
        return
    assert (answer.status, answer.headers["allow"]) == (405, ", ".join(sorted(allowed)))
    assert answer.body == b"" or answer.media_type == "application/problem+json"


def assert_violations(answer: Answer, *fields: str) -> None:
    """The answer is a 400 that names these fields and no others."""
    if not answer.in_own_words:
        assert_refused(answer)
        return
    assert_problem(answer, 400, "Constraint Violation")
    violations = answer.json()["violations"]
    assert all(set(violation) == {"field", "message"} and violation["message"] for violation in violations)
    assert violations == sorted(violations, key=lambda violation: (violation["field"], violation["message"]))
    assert [violation["field"] for violation in violations] == sorted(fields), violations


def assert_error_list(answer: Answer, status: int, *places: tuple[int | None, str | None, int]) -> None:
    """The answer is an error list of the published shape, which names its request; places are index, field, number."""
    if not answer.in_own_words:
        assert_refused(answer)
        return
    assert answer.status == status, answer.body
    assert answer.media_type == JSON
    assert re.fullmatch("[A-Za-z0-9._:-]{1,46}", answer.headers["x-requestid"])
    errors = answer.json()["errors"]
    names = {"orgtype", "orgcode", "entitytype", "errorCode", "message", "index", "field"}
    assert all(set(error) == names and error["message"] for error in errors)
    assert [(error["index"], error["field"], error["errorCode"]) for error in errors] == list(places), errors


def assert_no_http(answer: Answer, status: int = 400, *, may_be_mended: bool = False) -> None:
    """The answer is that of the HTTP parser, which knows no requests: what came was none, and the connection ends."""
    if not answer.in_own_words:
        assert_refused(answer, may_be_mended=may_be_mended)
        return
    _assert_shape(answer, status, REASONS[status])
    assert answer.headers["connection"] == "close"


def assert_silent(answer: Answer, *secrets: str) -> None:
    """The answer is a refusal that repeats nothing of what was sent; what a gateway says is its own."""
    assert_refused(answer)
    assert not answer.in_own_words or not any(secret in str(answer) for secret in secrets)


def assert_in_order(answers: Sequence[Answer | None], *statuses: int) -> None:
    """The answers on one connection have these statuses; a gateway may end it after any but the first."""
    first = answers[0]
    assert first is not None
    if first.in_own_words:
        assert [answer and answer.status for answer in answers] == list(statuses)
        return
    for answer, status in zip([answer for answer in answers if answer], statuses, strict=False):
        if status < 400:
            assert answer.status == status
        else:
            assert_refused(answer)


def _assert_shape(answer: Answer, status: int, title: str) -> None:
    problem = answer.json()
    assert answer.status == status, problem
    assert answer.media_type == "application/problem+json"
    assert problem["status"] == {"statusCode": status, "reasonPhrase": REASONS[status]}
    assert problem["title"] == title
    assert set(problem) <= {"title", "status", "detail", "violations"}


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
