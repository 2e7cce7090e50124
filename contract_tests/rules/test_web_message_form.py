"""Multipart forms: the same message in parts, for large files."""

import json
from typing import Any

import pytest
import requests

from contract_tests.api import FORM, Api, created_id
from contract_tests.rules.answers import BLANK, NO_UUID, REFERENCES, expect, expect_violations
from contract_tests.rules.messages import ABSENT, file, file_part, part, strip_generated

pytestmark = pytest.mark.needs("sender")


def post_form(api: Api, *parts: bytes) -> requests.Response:
    return api.post_message(b"".join(parts) + b"--XX--\r\n", content_type=FORM)


def message_part(api: Api, **changes: object) -> bytes:
    return part('form-data; name="message"', json.dumps(api.message(**changes)).encode(), "application/json")


def read(api: Api, response: requests.Response) -> dict[str, Any]:
    return api.read_message(created_id(response))


def test_form_stores_the_same_as_json(api: Api) -> None:
    message = api.message(partyId=api.uuid(), sender={"userId": "joe"}, oepInstance="internal")
    contents = {"b.txt": b"Hello\n", "a å.pdf": b"%PDF-1.7\n\r\n--XX\r\n--" + api.random.randbytes(100_000)}
    as_json = message | {"attachments": [file(content, name) for name, content in contents.items()]}
    parts = [file_part(content, f'filename="{name}"') for name, content in contents.items()]
    boundary = "a-boundary-that-is-in-no-file"
    body = b"".join([part('form-data; name="message"', json.dumps(message).encode(), "application/json"), *parts])
    body = body.replace(b"--XX\r\nContent-D", f"--{boundary}\r\nContent-D".encode()) + f"--{boundary}--\r\n".encode()
    found = read(api, api.post_message(body, content_type=f"multipart/form-data; boundary={boundary}"))
    assert strip_generated(found) == as_json, f"expected {str(as_json)[:500]}, but got {str(found)[:500]}"
    same = api.read_message(api.create_message(as_json))
    described = [
        [(item["mimeType"], item["size"], item["sha256"]) for item in value["attachments"]] for value in (found, same)
    ]
    assert described[0] == described[1], (
        f"files of a form and of JSON must have the same properties, but got {described[0]} and {described[1]}"
    )


def test_json_of_a_form_is_decoded_as_utf_8(api: Api) -> None:
    """Some parsers assume Latin-1 for parts without a charset."""
    sent = api.message(message="räksmörgås €😀", sender={"userId": "åäö"})
    body = json.dumps(sent, ensure_ascii=False).encode()
    found = read(api, post_form(api, part('form-data; name="message"', body, "application/json")))
    assert strip_generated(found) == sent | {"oepInstance": "external"}, f"expected {sent}, but got {found}"


def test_form_without_files_has_no_attachments(api: Api) -> None:
    assert set(read(api, post_form(api, message_part(api)))) == ABSENT


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('filename="hello.txt"', "hello.txt"),
        ("filename=hello.txt", "hello.txt"),
        ('filename="räksmörgås.txt"', "räksmörgås.txt"),
        ("filename*=UTF-8''r%C3%A4ksm%C3%B6rg%C3%A5s%20%F0%9F%98%80.txt", "räksmörgås 😀.txt"),
        ("filename=\"fallback.txt\"; filename*=UTF-8''%C3%A5.txt", "å.txt"),
        ("filename*=UTF-8''%C3%A5.txt; filename=\"fallback.txt\"", "å.txt"),
        ('filename="a;b=c.txt"', "a;b=c.txt"),
    ],
    ids=["quoted", "plain", "UTF-8", "extended", "extended last", "extended first", "semicolon"],
)
def test_form_sets_the_file_names(given: str, expected: str, api: Api) -> None:
    """RFC 6266: `filename*` takes precedence."""
    found = read(api, post_form(api, message_part(api), file_part(b"x", given)))
    assert [item["fileName"] for item in found["attachments"]] == [expected]


def test_form_keeps_the_order_of_its_files(api: Api) -> None:
    names = ["c.txt", "a.txt", "b.txt", "a.txt"]
    files = [file_part(str(number).encode(), f'filename="{name}"') for number, name in enumerate(names)]
    found = strip_generated(read(api, post_form(api, message_part(api), *files)))
    assert found["attachments"] == [file(str(number).encode(), name) for number, name in enumerate(names)]


def test_form_accepts_at_most_ten_files(api: Api) -> None:
    about = api.unused_reference()
    head = message_part(api, externalReferences=[about])
    expect_violations(post_form(api, head, *[file_part()] * 11), ("attachments", None))
    assert api.read_messages(**about) == []
    expect(post_form(api, head, *[file_part()] * 10), 201)


def test_form_without_a_message_is_refused(api: Api) -> None:
    about = api.unused_reference()
    head = message_part(api, externalReferences=[about])
    for parts in ([file_part()], []):
        response = expect(post_form(api, *parts), 400)
        fields = {item["field"] for item in response.json().get("violations", [])}
        assert not parts or "message" in fields, f"expected a violation of message, but got {fields}"
    assert api.read_messages(**about) == [], "a rejected form must not be stored"
    # A server may also wait for the message part, in which case it stores the file.
    response = expect(post_form(api, file_part(), head), 201, 400)
    found = [len(message["attachments"]) for message in api.read_messages(**about)]
    assert found == ([1] if response.status_code == 201 else []), (
        f"the status is {response.status_code}, but the stored files are {found}"
    )


def test_form_with_other_parts_is_refused(api: Api) -> None:
    about = api.unused_reference()
    head = message_part(api, externalReferences=[about])
    for name in ("other", "Attachments", "attachments[]"):
        other = part(f'form-data; name="{name}"; filename="a.txt"', b"x", "text/plain")
        expect_violations(post_form(api, head, file_part(), other), (name, None))
    expect_violations(post_form(api, head, head), ("message", None))
    assert api.read_messages(**about) == [], "a rejected form must not be stored"


def test_form_with_attachments_in_its_json_is_refused(api: Api) -> None:
    about = api.unused_reference()
    for files in ([file()], []):
        head = message_part(api, externalReferences=[about], attachments=files)
        expect_violations(post_form(api, head, file_part()), ("attachments", None))
    assert api.read_messages(**about) == [], "a rejected form must not be stored"


@pytest.mark.parametrize(
    ("bad", "field", "text"),
    [
        (file_part(b""), "attachments[1]", None),
        (file_part(b"x", 'filename=""'), "attachments[1].fileName", BLANK),
        (part('form-data; name="attachments"', b"x"), "attachments[1].fileName", BLANK),
        (file_part(b"x", f'filename="{"n" * 256}"'), "attachments[1].fileName", None),
        (file_part(b"x", "filename*=UTF-8''%FF.txt"), "attachments[1].fileName", None),
        (file_part(b"x", "filename*=UTF-8''a%00.txt"), "attachments[1].fileName", None),
    ],
    ids=["empty", "no name", "no file name", "long name", "name not UTF-8", "NUL in name"],
)
def test_invalid_file_of_a_form_is_reported_with_its_index(bad: bytes, field: str, text: str | None, api: Api) -> None:
    expect_violations(post_form(api, message_part(api), file_part(), bad), (field, text))


def test_all_faults_of_a_form_are_reported_together(api: Api) -> None:
    head = part('form-data; name="message"', b'{"partyId": "x", "message": " "}', "application/json")
    other = part('form-data; name="other"', b"")
    expect_violations(
        post_form(api, head, file_part(b"x", 'filename=""'), other),
        ("attachments[0].fileName", BLANK),
        ("externalReferences", REFERENCES),
        ("message", BLANK),
        ("other", None),
        ("partyId", NO_UUID),
    )


@pytest.mark.full
@pytest.mark.one_database
def test_form_accepts_ten_files_of_at_most_10_mib(api: Api) -> None:
    content = api.random.randbytes(10 * 1024 * 1024).replace(b"--XX", b"xxxx")
    about = api.unused_reference()
    head = message_part(api, externalReferences=[about])
    expect(post_form(api, head, *[file_part(content)] * 10), 201)
    (message,) = api.read_messages(**about)
    assert [item["size"] for item in message["attachments"]] == [len(content)] * 10
    response = expect(post_form(api, message_part(api), file_part(content + b"x")), 400)
    fields = [item["field"] for item in response.json()["violations"]]
    assert [field.partition(".")[0] for field in fields] == ["attachments[0]"], fields
