"""Malformed forms, and forms that do not conform to the contract."""

import hashlib
from typing import Any

import pytest

from contract_tests.attacks import (
    FORM,
    JSON,
    accepted_reference,
    assert_violations,
    attachment,
    chunks,
    file_part,
    form,
    message_part,
    part,
    post,
    text,
)
from contract_tests.raw_bytes.tables import cases
from contract_tests.raw_http import CLOSED
from contract_tests.target import CheckTarget
from contract_tests.unwanted_data import list_messages

pytestmark = pytest.mark.needs("sender")

WHOLE = form(message_part(), file_part())
LONG = b"x" * 100_000


def send(target: CheckTarget, *parts: bytes) -> Any:
    return target.send(post(form(*parts), FORM))


NO_FORM: dict[str, tuple[bytes, str]] = {
    "no boundary": (WHOLE, "multipart/form-data"),
    "empty boundary": (WHOLE, "multipart/form-data; boundary="),
    "empty quoted boundary": (WHOLE, 'multipart/form-data; boundary=""'),
    "another boundary": (WHOLE, "multipart/form-data; boundary=YY"),
    "boundary in other case": (WHOLE, "multipart/form-data; boundary=xx"),
    "boundary of 1,000 characters": (
        form(message_part(), boundary=b"B" * 1000),
        f"multipart/form-data; boundary={'B' * 1000}",
    ),
    "nothing": (b"", FORM),
    "a word": (b"message", FORM),
    "JSON": (text(), FORM),
    "no end": (WHOLE.removesuffix(b"--XX--\r\n"), FORM),
    "half an end": (WHOLE.removesuffix(b"--\r\n"), FORM),
    "cut in a file": (WHOLE[:-14], FORM),
    "cut in a header": (WHOLE[:20], FORM),
    "boundary alone": (b"--XX", FORM),
    "boundary and a line break": (b"--XX\r\n", FORM),
    "boundary and more": (b"--XXX\r\n", FORM),
    "bare line feeds": (WHOLE.replace(b"\r\n", b"\n"), FORM),
    "NUL": (b"\0" * 1000, FORM),
    "part header without a colon": (form(b"no colon\r\n\r\n" + text()), FORM),
    "part header with a blank in its name": (form(b"bad name: x\r\n\r\n" + text()), FORM),
    "part header of 100 kB": (form(message_part(None, JSON, b"X: " + LONG)), FORM),
    "part header name of 100 kB": (form(message_part(None, JSON, LONG + b": x")), FORM),
    "20,000 part headers": (form(message_part(None, JSON, *(b"X-%d: v" % n for n in range(20_000)))), FORM),
    "part name of 100 kB": (form(message_part(), part(b"x", b'name="' + LONG + b'"')), FORM),
    "1,000 files": (form(message_part(), *[file_part()] * 1000), FORM),
    "1,000 unknown parts": (form(message_part(), *[part(b"", 'name="x"')] * 1000), FORM),
    "100,000 empty parts": (b"--XX\r\n\r\n\r\n" * 100_000 + b"--XX--\r\n", FORM),
}


LONG_HEADERS = {name for name in NO_FORM if name.startswith(("part header of", "part header name of", "20,000 part"))}
LONG_HEADERS.add("boundary of 1,000 characters")
"""The contract does not limit their length."""


@pytest.mark.parametrize(("body", "content_type"), cases(NO_FORM, own=LONG_HEADERS))
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_body_that_is_not_a_form_is_refused(
    in_chunks: bool, body: bytes, content_type: str, target: CheckTarget
) -> None:
    whole = post(body, content_type)
    chunked = post(chunks(body), content_type, headers=["Transfer-Encoding: chunked"])
    assert_violations(target.send(chunked if in_chunks else whole), "body")


BLANK_FILE = part(b"x", 'name="attachments"')
OTHER_FORM: dict[str, tuple[list[bytes], list[str]]] = {
    "no parts": ([], ["message"]),
    "no message": ([file_part()], ["message"]),
    "message in the second place": ([file_part(), message_part()], ["message", "message"]),
    "two messages": ([message_part(), message_part()], ["message"]),
    "two messages, one bad": ([message_part(), message_part(b"{")], ["message"]),
    "an unknown part": ([message_part(), part(b"x", 'name="other"')], ["other"]),
    "an unknown part of 2 MB": ([message_part(), part(b"x" * 2_000_000, 'name="other"')], ["other"]),
    "unknown parts": ([message_part(), part(b"x", 'name="b"'), part(b"x", 'name="a"; filename="f"')], ["a", "b"]),
    "a part in other case": ([message_part(), part(b"x", 'name="Attachments"; filename="f"')], ["Attachments"]),
    "a part with brackets": ([message_part(), part(b"x", 'name="attachments[]"; filename="f"')], ["attachments[]"]),
    "a part without a name": ([message_part(), part(b"x", "x=y")], ["body"]),
    "a part whose name is no UTF-8": ([message_part(), part(b"x", b'name="\xff"')], ["body"]),
    "a part without headers": ([message_part(), b"\r\nx"], ["body"]),
    "message of another type": ([message_part(None, "text/plain")], ["message"]),
    "message of no real type": ([message_part(None, "application/octet-stream")], ["message"]),
    "message of a broken type": ([message_part(None, ";;;")], ["message"]),
    "message that is blank": ([message_part(text(message=" "))], ["message"]),
    "message that is no text": ([message_part(text(message=1))], ["message"]),
    "a reference that is a text": ([message_part(text(externalReferences=["x"]))], ["externalReferences[0]"]),
    "a key that is a number": (
        [message_part(text(externalReferences=[{"key": 1, "value": "1"}]))],
        ["externalReferences[0].key"],
    ),
    "a value that is a number": (
        [message_part(text(externalReferences=[{"key": "abc", "value": 1}]))],
        ["externalReferences[0].value"],
    ),
    "a user id that is a number": ([message_part(text(sender={"userId": 1}))], ["sender.userId"]),
    "message that lacks all": ([message_part(b"{}"), file_part()], ["externalReferences", "message"]),
    "attachments in both places": ([message_part(text(attachments=[attachment()])), file_part()], ["attachments"]),
    "attachments in the JSON alone": ([message_part(text(attachments=[attachment()]))], ["attachments"]),
    "bad attachments in the JSON": ([message_part(text(attachments="x"))], ["attachments"]),
    "null attachments in the JSON": ([message_part(text(attachments=None))], ["attachments"]),
    "eleven files": ([message_part(), *[file_part()] * 11], ["attachments"]),
    "a file without a name": ([message_part(), BLANK_FILE], ["attachments[0].fileName"]),
    "a file with an empty name": ([message_part(), file_part(b"x", 'filename=""')], ["attachments[0].fileName"]),
    "a file with a blank name": ([message_part(), file_part(b"x", 'filename="  "')], ["attachments[0].fileName"]),
    "a file with a long name": (
        [message_part(), file_part(), file_part(b"x", f'filename="{"f" * 256}"')],
        ["attachments[1].fileName"],
    ),
    "a file with a control character in its name": (
        [message_part(), file_part(b"x", 'filename="a\x01b"')],
        ["attachments[0].fileName"],
    ),
    "a file whose name is no UTF-8": (
        [message_part(), part(b"x", b'name="attachments"; filename="r\xe4k"')],
        ["attachments[0].fileName"],
    ),
    "a file whose encoded name is no UTF-8": (
        [message_part(), file_part(b"x", "filename*=UTF-8''r%e4k")],
        ["attachments[0].fileName"],
    ),
    "a file without content": ([message_part(), file_part(b"")], ["attachments[0]"]),
    "two files without content": (
        [message_part(), file_part(b""), file_part(), file_part(b"")],
        ["attachments[0]", "attachments[2]"],
    ),
    "a file without a name, another without content": (
        [message_part(), BLANK_FILE, file_part(b"")],
        ["attachments[0].fileName", "attachments[1]"],
    ),
    "a bad message and a bad file": (
        [message_part(text(partyId="x")), file_part(b"")],
        ["attachments[0]", "partyId"],
    ),
    "no JSON and an unknown part": ([message_part(b"{"), part(b"x", 'name="other"')], ["body", "other"]),
    "no object and an unknown part": ([message_part(b"[]"), part(b"x", 'name="other"')], ["body", "other"]),
    "no object and a bad file": ([message_part(b"null"), BLANK_FILE], ["attachments[0].fileName", "body"]),
    "no JSON and a file without content": ([message_part(b"{"), file_part(b"")], ["attachments[0]", "body"]),
    "no message and a bad file": ([BLANK_FILE], ["attachments[0].fileName", "message"]),
}


READABLE = {"message in the second place", *(f"message of {kind} type" for kind in ("another", "no real", "a broken"))}
"""Malformed forms that a server may nevertheless understand."""


@pytest.mark.parametrize("name", sorted(LONG_HEADERS | READABLE))
def test_unusual_form_causes_no_server_error(name: str, target: CheckTarget) -> None:
    body, content_type = NO_FORM[name] if name in NO_FORM else (form(*OTHER_FORM[name][0]), FORM)
    body = body.replace(text(), text(externalReferences=[accepted_reference()]))
    answer = target.send(post(body, content_type))
    assert answer is CLOSED or answer.status < 500, (answer.status, answer.body[:1000])


@pytest.mark.parametrize(("parts", "fields"), cases(OTHER_FORM, own=READABLE))
@pytest.mark.parametrize("epilogue", [b"", b"x" * 300 * 1024], ids=["small", "large"])
def test_form_outside_the_contract_is_refused(
    epilogue: bytes, parts: list[bytes], fields: list[str], target: CheckTarget
) -> None:
    assert_violations(target.send(post(form(*parts) + epilogue, FORM)), *fields)


@pytest.mark.parametrize(
    ("parameter", "name"),
    [
        ('filename="hello.txt"', "hello.txt"),
        ("filename=hello.txt", "hello.txt"),
        ('FILENAME="hello.txt"', "hello.txt"),
        ('filename="räksmörgås.txt"', "räksmörgås.txt"),
        ('filename="a;b=c.txt"', "a;b=c.txt"),
        *(
            # Features that forms should not use (RFC 7578, section 4.2) but that our service supports.
            pytest.param(*parameters, marks=pytest.mark.own)
            for parameters in (
                (r'filename="a\"b.txt"', 'a"b.txt'),
                ("filename*=UTF-8''hello.txt", "hello.txt"),
                ("filename*=utf-8''r%C3%A4ksm%C3%B6rg%C3%A5s.txt", "räksmörgås.txt"),
                ("filename*=UTF-8'sv'r%C3%A4k.txt", "räk.txt"),
                ("filename=\"rak.txt\"; filename*=UTF-8''r%C3%A4k.txt", "räk.txt"),
                ("filename*=UTF-8''r%C3%A4k.txt; filename=\"rak.txt\"", "räk.txt"),
            )
        ),
    ],
)
def test_file_name_is_decoded_in_every_notation(parameter: str, name: str, target: CheckTarget) -> None:
    reference = accepted_reference()
    answer = send(target, message_part(text(externalReferences=[reference])), file_part(b"Hello\n", parameter))
    assert answer.status == 201, answer.body
    (stored,) = list_messages(target, **reference)
    (file,) = stored["attachments"]
    assert (file["fileName"], file["sha256"]) == (name, hashlib.sha256(b"Hello\n").hexdigest())


@pytest.mark.parametrize("content", [b"\r\n--XY\r\n", b"\r\n--X", b"--", b"\r\n" * 100, b"\0" * 1000, b"\r\n--XX"[:-1]])
def test_file_may_look_like_a_boundary(content: bytes, target: CheckTarget) -> None:
    reference = accepted_reference()
    assert send(target, message_part(text(externalReferences=[reference])), file_part(content)).status == 201
    (stored,) = list_messages(target, **reference)
    assert stored["attachments"][0]["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("content_type", [None, "application/json", "Application/JSON; charset=utf-8"])
def test_message_part_is_accepted_with_every_spelling_of_its_type(
    content_type: str | None, target: CheckTarget
) -> None:
    body = text(externalReferences=[accepted_reference()])
    assert send(target, message_part(body, content_type), file_part()).status == 201


@pytest.mark.parametrize("boundary", ["X", "B" * 70, "'()+_,-./:=?"])
def test_every_valid_mime_boundary_is_accepted(boundary: str, target: CheckTarget) -> None:
    body = form(message_part(text(externalReferences=[accepted_reference()])), boundary=boundary.encode())
    assert target.send(post(body, f'multipart/form-data; boundary="{boundary}"')).status == 201
