"""Raw requests to oep-integrator 1.5: bodies that are no forms, forms without a valid request, and paths."""

import pytest

from contract_tests.attacks import FORM, JSON, chunks, file_part, form, part, request, text
from contract_tests.raw_bytes.municipal import assert_bad_segments_are_refused, assert_no_message
from contract_tests.raw_bytes.test_json import NO_JSON, NO_OBJECT
from contract_tests.raw_bytes.test_multipart import NO_FORM
from contract_tests.target import CheckTarget

pytestmark = [pytest.mark.needs("sender"), pytest.mark.one_database]


def build_post(target: CheckTarget, body: bytes, content_type: str = FORM, *headers: str) -> bytes:
    path = f"/{target.municipality}/EXTERNAL/webmessages"
    return request("POST", path, body=body, content_type=content_type, headers=headers)


def request_part(body: bytes, content_type: str | None = JSON, *headers: bytes) -> bytes:
    return part(body, 'name="request"', content_type, *headers)


WRONG_VALUES = {
    "message that is no text": {"message": 1},
    "message of 16 MiB": {"message": "x" * 2**24},
    "references that are a text": {"externalReferences": "x"},
    "reference that is a text": {"externalReferences": ["x"]},
    "key that is a number": {"externalReferences": [{"key": 1, "value": "1"}]},
    "value that is a number": {"externalReferences": [{"key": "abc", "value": 1}]},
    "sender that is a text": {"sender": "x"},
    "user id that is a number": {"sender": {"userId": 1}},
    "administrator id that is a number": {"sender": {"administratorId": 1}},
    "administrator id of 256 characters": {"sender": {"administratorId": "x" * 256}},
    "administrator id with a control character": {"sender": {"administratorId": "a\x01b"}},
    "party id of 38 characters": {"sender": {"partyId": "0" * 29 + "1-1-1-1-1"}},
    "party id that is no UUID": {"sender": {"partyId": "1-1-1-1"}},
}

OTHER_FORMS = {
    "no parts": [],
    "no request": [file_part()],
    "two requests": [request_part(text()), request_part(text())],
    "request in other case": [part(text(), 'name="Request"', JSON)],
    "request without a name": [part(text(), "x=y", JSON)],
    "request of no real type": [request_part(text(), "application/octet-stream")],
    "request with a header of 100 kB": [request_part(text(), JSON, b"X: " + b"x" * 100_000)],
    "eleven files": [request_part(text()), *[file_part()] * 11],
    "file without content": [request_part(text()), file_part(b"")],
    "file with an empty name": [request_part(text()), file_part(b"x", 'filename=""')],
    "file with a control character in its name": [request_part(text()), file_part(b"x", 'filename="a\x01b"')],
    "file whose name is no UTF-8": [request_part(text()), part(b"x", b'name="attachments"; filename="r\xe4k"')],
}


@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_body_that_is_not_a_form_is_refused(in_chunks: bool, target: CheckTarget) -> None:
    for name, (body, content_type) in NO_FORM.items():
        whole = build_post(target, body, content_type)
        chunked = build_post(target, chunks(body), content_type, "Transfer-Encoding: chunked")
        assert_no_message(target.send(chunked if in_chunks else whole), name)


def test_request_that_is_not_strict_json_is_refused(target: CheckTarget) -> None:
    for name, body in NO_JSON.items():
        assert_no_message(target.send(build_post(target, form(request_part(body)))), name)
    for body in NO_OBJECT:
        assert_no_message(target.send(build_post(target, form(request_part(body)))), str(body[:20]))


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_form_without_a_valid_request_and_valid_files_is_refused(name: str, target: CheckTarget) -> None:
    assert_no_message(target.send(build_post(target, form(*OTHER_FORMS[name]))), name)


def test_request_with_a_wrong_value_is_refused(target: CheckTarget) -> None:
    assert_no_message(target.send(build_post(target, form(request_part(b'"x"')))), "text")
    for name, changes in WRONG_VALUES.items():
        assert_no_message(target.send(build_post(target, form(request_part(text(**changes))))), name)


def test_municipality_that_is_not_a_valid_segment_is_refused(target: CheckTarget) -> None:
    assert_bad_segments_are_refused(target, "/EXTERNAL/webmessages/cases/1")


@pytest.mark.parametrize(
    "rest", ["cases/%ff", "cases/1%00", "cases/1_0", "cases/+1", "attachments/%2e%2e", "families/1/"]
)
def test_number_that_is_not_a_valid_segment_is_refused(rest: str, target: CheckTarget) -> None:
    answer = target.send(request(target=f"/{target.municipality}/EXTERNAL/webmessages/{rest}"))
    assert answer.status in {400, 404}, answer.status
