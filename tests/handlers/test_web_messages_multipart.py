"""Messages in multipart forms."""

import base64
import hashlib
import json
import os
from typing import Any

import httpx
import pytest

from conftest import RunningService
from domain.attachments import MAX_ATTACHMENT_BYTES
from mock_open_e import MockOpenE
from tests.factories import build_case_body, build_message_body
from tests.handlers.messages import get_message, read_violations

BOUNDARY = "b0undary"
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def build_part(disposition: str, content: bytes, *headers: str) -> bytes:
    lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


def build_json_part(body: Any = None) -> bytes:
    content = json.dumps(build_message_body() if body is None else body).encode()
    return build_part('form-data; name="message"', content, "Content-Type: application/json")


def build_file_part(content: bytes = b"Hello\n", name: str = 'filename="hello.txt"', *headers: str) -> bytes:
    return build_part(f'form-data; name="attachments"; {name}', content, *headers)


def post_form(service: RunningService, *parts: bytes, end: bytes = f"--{BOUNDARY}--\r\n".encode()) -> httpx.Response:
    return service.client.post("/webmessages", content=b"".join(parts) + end, headers=HEADERS)


def send_form(service: RunningService, *parts: bytes) -> dict[str, Any]:
    response = post_form(service, *parts)
    assert response.status_code == 201, response.text
    return get_message(service, response.headers["location"].removeprefix("/webmessages/"))


def test_form_stores_the_same_as_json(shared: RunningService) -> None:
    contents = {"b.txt": b"Hello\n", "a å.pdf": b"%PDF-1.7\n" + os.urandom(300_000)}
    body = build_message_body(sender={"userId": "joe"}, oepInstance="internal")
    files = [{"fileName": name, "base64Data": base64.b64encode(data).decode()} for name, data in contents.items()]
    as_json = shared.client.post("/webmessages", json=body | {"attachments": files})
    as_form = shared.client.post(
        "/webmessages",
        files=[
            ("message", (None, json.dumps(body), "application/json")),
            *(("attachments", (name, data, "application/x-wrong")) for name, data in contents.items()),
        ],
    )
    values = [shared.client.get(response.headers["location"]).json() for response in (as_json, as_form)]
    for value in values:
        del value["id"], value["created"]
        for attachment in value["attachments"]:
            del attachment["id"]
    assert values[0] == values[1]
    assert [attachment["mimeType"] for attachment in values[1]["attachments"]] == ["text/plain", "application/pdf"]


def test_form_is_published(shared: RunningService, shared_open_e: MockOpenE) -> None:
    shared_open_e.clear()
    send_form(shared, build_json_part(build_case_body()), build_file_part())
    (message,) = shared_open_e.messages
    digest = hashlib.sha256(b"Hello\n").hexdigest()
    assert message["attachments"] == [{"filename": "hello.txt", "size": 6, "sha256": digest}]


def test_form_without_files_has_no_attachments(shared: RunningService) -> None:
    assert "attachments" not in send_form(shared, build_json_part())


def test_form_accepts_a_json_part_without_a_type(shared: RunningService) -> None:
    send_form(shared, build_part('form-data; name="message"', json.dumps(build_message_body()).encode()))


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ('filename="hello.txt"', "hello.txt"),
        ("filename=hello.txt", "hello.txt"),
        ('filename="räksmörgås.txt"', "räksmörgås.txt"),
        ("filename*=UTF-8''r%C3%A4ksm%C3%B6rg%C3%A5s%20%F0%9F%98%80.txt", "räksmörgås 😀.txt"),
        ("filename=\"fallback.txt\"; filename*=UTF-8''%C3%A5.txt", "å.txt"),
        ("filename*=UTF-8''%C3%A5.txt; filename=\"fallback.txt\"", "å.txt"),
        ('filename="a;b=c.txt"', "a;b=c.txt"),
        ('filename="a\\"b.txt"', 'a"b.txt'),
    ],
)
def test_form_uses_the_file_names_of_the_sender(shared: RunningService, file_name: str, expected: str) -> None:
    value = send_form(shared, build_json_part(), build_file_part(b"x", file_name))
    assert value["attachments"][0]["fileName"] == expected


def test_form_accepts_content_that_resembles_its_boundary(shared: RunningService) -> None:
    content = f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n--{BOUNDARY}".encode()[:-1] + b"\r\n"
    value = send_form(shared, build_json_part(), build_file_part(content))
    assert base64.b64decode(value["attachments"][0]["base64Data"]) == content


def test_form_accepts_files_of_at_most_10_mib(contract: RunningService) -> None:
    value = send_form(contract, build_json_part(), build_file_part(bytes(MAX_ATTACHMENT_BYTES)))
    assert value["attachments"][0]["size"] == MAX_ATTACHMENT_BYTES
    response = post_form(
        contract, build_json_part(), build_file_part(b"x"), build_file_part(bytes(MAX_ATTACHMENT_BYTES + 1))
    )
    ((field, message),) = read_violations(response)
    assert field.startswith("attachments[1]")
    assert message == f"must be at most {MAX_ATTACHMENT_BYTES} bytes"


def test_form_accepts_at_most_ten_files(contract: RunningService) -> None:
    assert len(send_form(contract, build_json_part(), *[build_file_part()] * 10)["attachments"]) == 10
    response = post_form(contract, build_json_part(), *[build_file_part()] * 11)
    assert read_violations(response) == [("attachments", "size must be between 0 and 10")]


FIRST = ("message", "must be the first part, of type application/json")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([build_file_part()], [FIRST]),
        ([build_file_part(), build_json_part()], [("message", "must be the first part, and only once"), FIRST]),
        ([build_json_part(), build_json_part()], [("message", "must be the first part, and only once")]),
        (
            [build_part('form-data; name="message"', b"{}", "Content-Type: text/plain")],
            [
                ("externalReferences", "can not be empty or contain elements with empty keys or values"),
                ("message", "must be of type application/json"),
                ("message", "must not be blank"),
            ],
        ),
        (
            [build_json_part(), build_part('form-data; name="other"', b"x")],
            [("other", "not a part of this form, which has the parts message and attachments")],
        ),
        (
            [build_json_part(), build_part('form-data; name="Attachments"; filename="a"', b"x")],
            [("Attachments", "not a part of this form, which has the parts message and attachments")],
        ),
        (
            [build_json_part(), build_part("form-data", b"x")],
            [("body", "not a part of this form, which has the parts message and attachments")],
        ),
        (
            [build_json_part(), build_part('attachment; name="attachments"; filename="a"', b"x")],
            [("body", "not a part of this form, which has the parts message and attachments")],
        ),
        (
            [build_json_part(build_message_body(attachments=[])), build_file_part()],
            [("attachments", "must be parts of the form, not in the JSON")],
        ),
        ([build_json_part(), build_file_part(b"x", 'filename=""')], [("attachments[0].fileName", "must not be blank")]),
        (
            [build_json_part(), build_part('form-data; name="attachments"', b"x")],
            [("attachments[0].fileName", "must not be blank")],
        ),
        (
            [build_json_part(), build_file_part(b"x", f'filename="{"n" * 256}"')],
            [("attachments[0].fileName", "size must be between 1 and 255")],
        ),
        (
            [build_json_part(), build_file_part(b"x", "filename*=UTF-8''%FF.txt")],
            [("attachments[0].fileName", "must be UTF-8")],
        ),
        (
            [build_json_part(), build_file_part(b"x", "filename*=UTF-8''a%00.txt")],
            [("attachments[0].fileName", "must not contain characters that XML 1.0 does not allow")],
        ),
        (
            [
                build_json_part({"partyId": "x", "message": " "}),
                build_file_part(b"x", 'filename=""'),
                build_part('form-data; name="y"', b""),
            ],
            [
                ("attachments[0].fileName", "must not be blank"),
                ("externalReferences", "can not be empty or contain elements with empty keys or values"),
                ("message", "must not be blank"),
                ("partyId", "not a valid UUID"),
                ("y", "not a part of this form, which has the parts message and attachments"),
            ],
        ),
        ([build_json_part([])], [("body", "must be an object")]),
        (
            [build_part('form-data; name="message"', b"{")],
            [("body", "must be JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)")],
        ),
    ],
    ids=[
        "no-json",
        "json-second",
        "json-twice",
        "json-as-text",
        "other",
        "other-case",
        "no-name",
        "no-form-data",
        "attachments-in-json",
        "no-file-name",
        "no-file-name-at-all",
        "long-file-name",
        "file-name-not-utf8",
        "file-name-nul",
        "all-at-once",
        "array",
        "not-json",
    ],
)
def test_form_reports_faults(contract: RunningService, parts: list[bytes], expected: list[tuple[str, str]]) -> None:
    assert read_violations(post_form(contract, *parts)) == expected


def test_form_reports_an_empty_file_by_its_part(contract: RunningService) -> None:
    response = post_form(contract, build_json_part(), build_file_part(b"x"), build_file_part(b""))
    assert read_violations(response) == [("attachments[1]", "must not be empty")]


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("multipart/form-data", b"", "must be a multipart form, with its boundary in the Content-Type"),
        ("multipart/form-data; boundary=", b"", "must be a multipart form, with its boundary in the Content-Type"),
        (
            f"multipart/form-data; boundary={'b' * 300}",
            b"",
            "must be a multipart form, with a boundary of at most 256 characters",
        ),
        (HEADERS["content-type"], b"", "must be a complete multipart form; no boundary was found"),
        (HEADERS["content-type"], b"garbage", "must be a complete multipart form; no boundary was found"),
        (HEADERS["content-type"], b"\0" * 1000, "must be a complete multipart form; no boundary was found"),
        (
            HEADERS["content-type"],
            build_json_part(),
            "must be a complete multipart form; the final boundary is missing",
        ),
        (
            HEADERS["content-type"],
            b"--b0undary\r\nA: " + b"x" * 20_000,
            "must have at most 16384 bytes of headers in each part",
        ),
        (
            HEADERS["content-type"],
            b"--b0undary" + b" " * 20_000,
            "must have at most 16384 bytes of white space after a boundary",
        ),
        (
            HEADERS["content-type"],
            build_part("form-data; name=message", b"{}", "Content-Disposition: form-data; name=attachments"),
            "must be a multipart form; a part has two headers of the same name",
        ),
        (
            HEADERS["content-type"],
            b"--b0undary\r\n A: folded\r\n\r\n",
            "must be a multipart form; a part has an invalid header line",
        ),
        (
            HEADERS["content-type"],
            build_part("form-data; name=x", b"") * 101 + b"--b0undary--",
            "must have at most 100 parts",
        ),
    ],
    ids=[
        "no-boundary",
        "empty-boundary",
        "long-boundary",
        "empty",
        "garbage",
        "nul",
        "no-end",
        "long-header",
        "long-padding",
        "header-twice",
        "fold-first",
        "many",
    ],
)
def test_body_that_is_not_a_form_is_refused(
    contract: RunningService, content_type: str, body: bytes, message: str
) -> None:
    response = contract.client.post("/webmessages", content=body, headers={"content-type": content_type})
    assert read_violations(response) == [("body", message)]


FILE_ENCODED = ("attachments[0]", "must be sent unencoded: its Content-Transfer-Encoding may be 7bit, 8bit or binary")


@pytest.mark.parametrize(
    "encoding", ["base64", "BASE64", "quoted-printable", "x-uuencode", "gzip", "", "binary, base64"]
)
def test_form_refuses_parts_with_a_transfer_encoding(contract: RunningService, encoding: str) -> None:
    header = f"content-transfer-encoding: {encoding}"
    response = post_form(contract, build_json_part(), build_file_part(b"SGVsbG8K", 'filename="a"', header))
    assert read_violations(response) == [FILE_ENCODED]
    # The JSON is not parsed as it arrives, and all other faults are reported with it.
    encoded = build_part('form-data; name="message"', base64.b64encode(b"{}"), header)
    response = post_form(contract, encoded, build_file_part(b"SGVsbG8K", 'filename=""', header), build_file_part())
    assert read_violations(response) == [
        FILE_ENCODED,
        ("attachments[0].fileName", "must not be blank"),
        ("message", FILE_ENCODED[1]),
    ]


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "binary", "Binary "])
def test_form_accepts_parts_with_an_identity_transfer_encoding(shared: RunningService, encoding: str) -> None:
    header = f"Content-Transfer-Encoding: {encoding}"
    message = build_part('form-data; name="message"', json.dumps(build_message_body()).encode(), header)
    value = send_form(shared, message, build_file_part(b"SGVsbG8K", 'filename="a"', header))
    assert base64.b64decode(value["attachments"][0]["base64Data"]) == b"SGVsbG8K"


def test_form_accepts_a_json_part_with_a_byte_order_mark(shared: RunningService) -> None:
    send_form(
        shared, build_part('form-data; name="message"', b"\xef\xbb\xbf" + json.dumps(build_message_body()).encode())
    )


@pytest.mark.parametrize(
    "content_type", ["Multipart/Form-Data; Boundary=b0undary", 'multipart/form-data; boundary="b0undary"']
)
def test_form_is_accepted_in_every_spelling(shared: RunningService, content_type: str) -> None:
    response = shared.client.post(
        "/webmessages", content=build_json_part() + b"--b0undary--", headers={"content-type": content_type}
    )
    assert response.status_code == 201, response.text
