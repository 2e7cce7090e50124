"""Bodies that are invalid JSON or no valid message: small and large ones, in chunks, and in a form."""

from collections.abc import Callable

import pytest

from contract_tests.attacks import (
    FORM,
    accepted_reference,
    assert_silent,
    assert_violations,
    file_part,
    form,
    message_part,
    post,
    post_in_chunks,
    text,
)
from contract_tests.target import CheckTarget
from contract_tests.unwanted_data import list_messages

pytestmark = pytest.mark.needs("sender")

LARGE = b"\n" * (300 * 1024)
"""A property that makes the service process the body as a large one, with base64 extracted while it is received."""

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "small": post,
    "in chunks": post_in_chunks,
    "large": lambda body: post(LARGE + body),
    "large, in chunks": lambda body: post_in_chunks(LARGE + body),
    "form": lambda body: post(form(message_part(body)), FORM),
    "large form": lambda body: post(form(message_part(body), file_part(b"x" * 300 * 1024)), FORM),
}
GOOD = text()
OPEN = GOOD[:-1]


def with_message(raw: bytes) -> bytes:
    """Return the body with these bytes as the value of `message`."""
    return GOOD.replace(b'"This is an attack"', raw)


def with_unknown(raw: bytes) -> bytes:
    """Return the body with an additional property of this value."""
    return OPEN + b', "unknown": ' + raw + b"}"


NO_JSON = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "a word": b"message",
    "form fields": b"message=x&externalReferences=y",
    "XML": b"<message/>",
    "cut at the end": OPEN,
    "cut in a string": GOOD[:14],
    "cut in an escape": GOOD[:12] + b"\\u00",
    "two values": GOOD + GOOD,
    "something after it": GOOD + b"x",
    "NUL after it": GOOD + b"\0",
    "comma at the end": OPEN + b",}",
    "single quotes": GOOD.replace(b'"', b"'"),
    "comment": GOOD + b"// x",
    "form feed before it": b"\f" + GOOD,
    "no-break space before it": b"\xc2\xa0" + GOOD,
    "unknown escape": with_message(rb'"\x"'),
    "short escape": with_message(rb'"\u12"'),
    "escape with a sign": with_message(rb'"\u+123"'),
    "escape with a blank": with_message(rb'"\u 123"'),
    "escape with an underscore": with_message(rb'"\u1_23"'),
    "raw line break": with_message(b'"a\nb"'),
    "raw NUL": with_message(b'"a\0b"'),
    "leading zero": with_unknown(b"01"),
    "plus sign": with_unknown(b"+1"),
    "no digits after the point": with_unknown(b"1."),
    "hexadecimal": with_unknown(b"0x1"),
    "underscore": with_unknown(b"1_0"),
    "full-width digit": with_unknown("\uff11".encode()),
    "NaN": with_unknown(b"NaN"),
    "Infinity": with_message(b"Infinity"),
    "-Infinity": b"-Infinity",
    "1e999": with_message(b"1e999"),
    "-1e999": with_unknown(b"-1e999"),
    "exponent of 5,000 digits": with_unknown(b"1e" + b"9" * 5000),
    "5,000 digits": with_unknown(b"9" * 5000),
    "-5,000 digits": b"-" + b"9" * 5000,
    "5,000 digits as message": with_message(b"9" * 5000),
    "property twice": OPEN + b', "message": "x"}',
    "property twice, once escaped": OPEN + rb', "m\u0065ssage": "x"}',
    "property twice further in": GOOD.replace(b'"value"', b'"key": "x", "value"', 1),
    "unknown property twice": with_unknown(b'{"a": 1, "a": 1}'),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "Latin-1": with_message('"å"'.encode("latin-1")),
    "no UTF-8": with_message(b'"\xff"'),
    "overlong UTF-8": with_message(b'"\xc0\x80"'),
    "beyond Unicode": with_message(b'"\xf4\x90\x80\x80"'),
    "raw half of a pair": with_message(b'"\xed\xa0\x80"'),
    "first half of a pair": with_message(rb'"\ud800"'),
    "second half of a pair": with_message(rb'"\uDFFF"'),
    "pair in the wrong order": with_message(rb'"\ude00\ud83d"'),
    "half of a pair in a name": OPEN + rb', "\ud800": 1}',
    "half of a pair far in": with_unknown(rb'[{"a": ["\udbff"]}]'),
    "100,000 brackets": b"[" * 100_000,
    "100,000 closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "100,000 closed braces": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "100,000 brackets as message": with_message(b"[" * 100_000 + b"]" * 100_000),
    "900 brackets": with_unknown(b"[" * 900 + b"]" * 900),
    "65 brackets": with_unknown(b"[" * 65 + b"]" * 65),
}
NO_OBJECT = [b"null", b"true", b"0", b'"message"', b"[]", b"[" + GOOD + b"]"]


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("way", WAYS)
def test_body_that_is_not_strict_json_is_refused(way: str, body: bytes, target: CheckTarget) -> None:
    assert_violations(target.send(WAYS[way](body)), "body")


@pytest.mark.parametrize("body", NO_OBJECT)
@pytest.mark.parametrize("way", WAYS)
def test_json_that_is_not_an_object_is_refused(way: str, body: bytes, target: CheckTarget) -> None:
    assert_violations(target.send(WAYS[way](body)), "body")


@pytest.mark.parametrize("way", WAYS)
def test_empty_object_is_refused_with_all_missing_fields(way: str, target: CheckTarget) -> None:
    assert_violations(target.send(WAYS[way](b"{}")), "externalReferences", "message")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (with_message(b"1e-999"), ["message"]),
        (with_message(b"0." + b"9" * 100_000), ["message"]),
        (with_message(b"9" * 4000), ["message"]),
        (with_message(b"[" * 60 + b"]" * 60), ["message"]),
        (with_message(rb'"a\u0000"'), ["message"]),
        (with_message(rb'"\ud83d\ude00\u0001"'), ["message"]),
        (OPEN + rb', "\u0000": 1}', ["\0"]),
        (OPEN + b', "unknown": 1, "message ": 2}', ["message ", "unknown"]),
        (GOOD.replace(b'"message"', b'"Message"'), ["Message", "message"]),
    ],
    ids=[
        *("tiny number", "long number", "4,000 digits", "60 brackets", "NUL", "control character", "NUL in a name"),
        *("unknown properties", "other case"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_json_that_is_not_a_message_is_refused_with_its_fields(
    way: str, body: bytes, fields: list[str], target: CheckTarget
) -> None:
    assert_violations(target.send(WAYS[way](body)), *fields)


@pytest.mark.parametrize("way", WAYS)
def test_every_spelling_of_strict_json_is_accepted(way: str, target: CheckTarget) -> None:
    reference = accepted_reference()
    body = text(message="MESSAGE", externalReferences=[reference])
    body = body.replace(b'"message"', rb'"\u006des\u0073age"').replace(
        b"MESSAGE", rb"\ud83d\ude00\/\t\u00e5" + "å".encode()
    )
    assert target.send(WAYS[way](b" \t\r\n" + body + b"\n")).status == 201
    (stored,) = list_messages(target, **reference)
    assert stored["message"] == "\U0001f600/\tåå"


@pytest.mark.parametrize("way", ["small", "large", "form"])
def test_body_is_refused_without_being_repeated(way: str, target: CheckTarget) -> None:
    """Data of callers is private, so neither a response nor a log entry derived from one may contain it."""
    for body in (
        b'{"secret": s3cr3t}',
        GOOD.replace(b"attack", b"s3cr3t") + b"s3cr3t",
        with_message(b'"s3cr3t\\u0000"'),
    ):
        assert_silent(target.send(WAYS[way](body)), "s3cr3t")
