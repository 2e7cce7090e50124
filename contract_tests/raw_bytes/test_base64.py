"""Large JSON bodies, whose base64 is extracted while it is received: no valid JSON may confuse the extraction."""

import base64
import hashlib
import json

import pytest

from contract_tests.attacks import (
    accepted_reference,
    assert_violations,
    attachment,
    chunks,
    message,
    post,
    text,
)
from contract_tests.target import CheckTarget
from contract_tests.unwanted_data import list_messages

pytestmark = pytest.mark.needs("sender")

LARGE = b"\n" * (300 * 1024)
FIELD = "attachments[0].base64Data"

DATA = bytes(range(256)) * 4
TEXT = base64.b64encode(DATA)
PLACE = b"HERE"


def body_with(raw: bytes, *, refused: bool = True) -> tuple[bytes, dict[str, str]]:
    """Return a large body with these bytes as the JSON of `base64Data`, and its reference."""
    reference = accepted_reference()
    changes = {} if refused else {"externalReferences": [reference]}
    body = text(**changes, attachments=[attachment(base64Data=PLACE.decode())])
    return LARGE + body.replace(b'"' + PLACE + b'"', raw), reference


def stored_file(target: CheckTarget, reference: dict[str, str]) -> str:
    """Return the SHA-256 of the only file of the only message."""
    (stored,) = list_messages(target, **reference)
    (file,) = stored["attachments"]
    return str(file["sha256"])


def escaped(data: bytes) -> bytes:
    """Return base64 in which every character with an alternative escape uses it."""
    spellings = {b"/": rb"\/", b"+": rb"\u002B", b"A": rb"\u0041", b"=": rb"\u003d"}
    raw = base64.b64encode(data)
    for character, spelling in spellings.items():
        raw = raw.replace(character, spelling)
    return b'"' + raw + b'"'


def numbered(data: bytes) -> bytes:
    """Return base64 in which every character is escaped by its code."""
    return b'"' + b"".join(b"\\u%04x" % character for character in base64.b64encode(data)) + b'"'


@pytest.mark.parametrize("raw", [escaped(DATA), numbered(DATA), b'"' + TEXT + b'"'], ids=["some", "all", "none"])
def test_escapes_in_base64_are_decoded(raw: bytes, target: CheckTarget) -> None:
    body, reference = body_with(raw, refused=False)
    assert target.send(post(body)).status == 201
    assert stored_file(target, reference) == hashlib.sha256(DATA).hexdigest()


@pytest.mark.one_database
@pytest.mark.parametrize("shift", range(12))
def test_escapes_may_span_two_chunks(shift: int, target: CheckTarget) -> None:
    """The text has only escapes, so every boundary between pieces is inside one. `shift` moves the boundary."""
    data = DATA * 300
    raw = numbered(data) if shift < 6 else b'"' + b"\\/" * len(TEXT) * 400 + b'"'
    data = data if shift < 6 else base64.b64decode(b"/" * len(TEXT) * 400)
    body, reference = body_with(raw, refused=False)
    assert target.send(post(b" " * shift + body)).status == 201
    assert stored_file(target, reference) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("name", "colon"),
    [
        (rb'"base64\u0044ata"', b":"),
        (rb'"\u0062\u0061\u0073\u0065\u0036\u0034\u0044\u0061\u0074\u0061"', b":"),
        (b'"base64Data"', b" \t\r\n:\n\t "),
        (b'"base64Data"', b" " * 1000 + b":" + b" " * 1000),
    ],
    ids=["escaped", "all escaped", "white space", "much white space"],
)
def test_every_spelling_of_the_property_is_accepted(name: bytes, colon: bytes, target: CheckTarget) -> None:
    good, reference = body_with(b'"' + TEXT + b'"', refused=False)
    assert target.send(post(good.replace(b'"base64Data": ', name + colon))).status == 201
    assert stored_file(target, reference) == hashlib.sha256(DATA).hexdigest()
    bad, _ = body_with(b'"' + TEXT[:-4] + b'QQ=!"')
    assert_violations(target.send(post(bad.replace(b'"base64Data": ', name + colon))), FIELD)


WRONG_CONTENT = {
    "empty": b'""',
    "null": b"null",
    "a number": b"1",
    "a list": b'["QQ=="]',
    "an object": b'{"base64Data": "QQ=="}',
    "wrong character": b'"' + TEXT + b'!AAA"',
    "wrong character at the end": b'"' + TEXT + b'AAA!"',
    "wrong character at the beginning": b'"!AAA' + TEXT + b'"',
    "wrong character escaped": b'"' + TEXT + rb'AAA\u0021"',
    "padding in the middle": b'"QQ==' + TEXT + b'"',
    "padding alone": b'"===="',
    "no padding": b'"QUJDRA"',
    "one character": b'"Q"',
    "line breaks": rb'"QUJD\r\nQUJD"',
    "escaped backslash": rb'"QUJD\\u0041"',
    "beyond ASCII": '"QUJDå"'.encode(),
    "beyond ASCII escaped": rb'"QUJD\u00e5"',
    "NUL escaped": rb'"QUJD\u0000"',
    "other quotes": rb'"QUJD\""',
    "URL alphabet": b'"_-8="',
}
WRONG_JSON = {
    "half of a pair": rb'"QUJD\ud800"',
    "no UTF-8": b'"QUJD\xff"',
    "raw line break": b'"QUJD\nQUJD"',
    "raw NUL": b'"QUJD\0"',
    "unknown escape": rb'"QUJD\x41"',
    "short escape": rb'"QUJD\u004"',
    "escape with an underscore": rb'"QUJD\u0_41"',
}


@pytest.mark.parametrize("raw", WRONG_CONTENT.values(), ids=WRONG_CONTENT.keys())
def test_content_that_is_not_base64_is_refused(raw: bytes, target: CheckTarget) -> None:
    body, _ = body_with(raw)
    assert_violations(target.send(post(body)), FIELD)
    assert_violations(target.send(post(chunks(body), headers=["Transfer-Encoding: chunked"])), FIELD)
    assert_violations(target.send(post(body[len(LARGE) :])), FIELD)


@pytest.mark.parametrize("raw", WRONG_JSON.values(), ids=WRONG_JSON.keys())
@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
def test_content_that_is_not_json_is_refused(is_large: bool, raw: bytes, target: CheckTarget) -> None:
    """For a large body, the error need not distinguish invalid JSON from invalid base64."""
    body, _ = body_with(raw)
    answer = target.send(post(body if is_large else body[len(LARGE) :]))
    is_of_content = is_large and answer.is_direct and answer.json()["violations"][0]["field"] == FIELD
    assert_violations(answer, FIELD if is_of_content else "body")


CONTENT = {"base64Data": TEXT.decode()}
MISPLACED = {
    "base64Data": message(**CONTENT),
    "sender.base64Data": message(sender=CONTENT),
    "message": message(message=CONTENT),
    "partyId": message(partyId=CONTENT),
    "externalReferences[0].base64Data": message(externalReferences=[{"key": "abc", "value": "x", **CONTENT}]),
    "attachments[0].fileName": message(attachments=[attachment(fileName=CONTENT)]),
    FIELD: message(attachments=[attachment(base64Data=CONTENT)]),
    "attachments": message(attachments=CONTENT),
    "unknown": message(unknown=[[CONTENT]]),
}


@pytest.mark.parametrize(("field", "value"), MISPLACED.items(), ids=MISPLACED.keys())
def test_base64_in_other_properties_is_refused(field: str, value: object, target: CheckTarget) -> None:
    body = json.dumps(value).encode()
    assert_violations(target.send(post(LARGE + body)), field)
    assert_violations(target.send(post(body)), field)


def test_texts_that_resemble_the_property_are_stored_as_text(target: CheckTarget) -> None:
    reference = accepted_reference()
    words = '"base64Data":"QQ=="'
    file = attachment(fileName="base64Data", base64Data="QQ==")
    body = text(message=words, externalReferences=[reference], sender={"userId": "base64Data"}, attachments=[file])
    assert target.send(post(LARGE + body)).status == 201
    (stored,) = list_messages(target, **reference)
    assert (stored["message"], stored["sender"]) == (words, {"userId": "base64Data"})
    assert stored_file(target, reference) == hashlib.sha256(b"A").hexdigest()


def test_property_given_twice_is_refused(target: CheckTarget) -> None:
    for raw in (b'"QQ==", "base64Data": "QQ=="', rb'"QQ==", "base64\u0044ata": "QQ=="', b'"", "base64Data": "QQ=="'):
        assert_violations(target.send(post(body_with(raw)[0])), "body")


@pytest.mark.parametrize("rest", [b'"', b'"QQ==', b'"QQ=="', rb'"QQ==\u00', b'"QQ==" "QQ=="', b'"QQ=="]'])
def test_body_that_ends_in_base64_is_refused(rest: bytes, target: CheckTarget) -> None:
    body, _ = body_with(b'"' + PLACE + b'"')
    start = body[: body.index(PLACE) - 1]
    assert_violations(target.send(post(start + rest)), "body")


@pytest.mark.one_database
@pytest.mark.parametrize(
    "raw", [b'""', b'"base64Data":""', b'"base64Data":"QQ=="', b'"a",'], ids=lambda raw: raw.decode()
)
def test_body_of_many_strings_does_not_block_the_processor(raw: bytes, target: CheckTarget) -> None:
    """No message has a million strings. Checking one takes microseconds, and a body may contain fifty million."""
    body = b'{"attachments": [' + raw * (8 * 1024 * 1024 // len(raw))
    answer = target.send(post(body))
    assert_violations(answer, "body")
    # The body is rejected because of their number, before they are parsed one by one.
    assert not answer.is_direct or "must contain at most 200000 strings" in answer.body.decode()
