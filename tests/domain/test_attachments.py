"""Attachment data that arrive in chunks."""

import base64
import binascii
import hashlib
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.attachments import MAX_ATTACHMENT_BYTES, Base64Reader, Content, ContentReader, read_base64

WRONG = "must be base64, padded and without line breaks"
TOO_LARGE = f"must be at most {MAX_ATTACHMENT_BYTES} bytes"
EMPTY = "must not be empty"


def read(*pieces: bytes) -> Content:
    reader = Base64Reader()
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def decode_strictly(text: bytes) -> bytes | None:
    """Return the result of Python's strict decoder for a whole text."""
    if len(text) % 4:
        # Python accepts padding of a complete group, which RFC 4648 does not allow.
        return None
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


@pytest.mark.parametrize("size", range(1, 14))
def test_base64_reader_equals_binascii_in_every_split(size: int) -> None:
    data = os.urandom(size)
    text = base64.b64encode(data)
    expected = Content(data, hashlib.sha256(data).hexdigest())
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            assert read(text[:first], text[first:second], text[second:]) == expected
    assert read(*(text[place : place + 1] for place in range(len(text)))) == expected


@settings(max_examples=200, deadline=None)
@example(text=b"0000=", cuts=[])
@given(
    text=st.one_of(
        st.binary(max_size=60).map(base64.b64encode),
        st.text("AQZaz09+/=", max_size=16).map(str.encode),
        st.binary(max_size=9),
    ),
    cuts=st.lists(st.integers(0, 80), max_size=6).map(sorted),
)
def test_base64_reader_accepts_what_binascii_accepts(text: bytes, cuts: list[int]) -> None:
    content = read(*(text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)))
    expected = decode_strictly(text)
    if expected:
        assert content == Content(expected, hashlib.sha256(expected).hexdigest())
    else:
        assert content.fault == (EMPTY if text == b"" else WRONG)
        assert content.data == b""


@pytest.mark.parametrize(
    "text",
    [
        *(b"YQ", b"YQ=", b"Y", b"YQ===", b"YQ=====", b"=", b"==", b"====", b"=YQ=", b"Y=Q=", b"YWJjY"),
        *(b"YQ==YQ==", b"YQ==YWJj", b"YQ== ", b" YQ==", b"YQ==\n", b"YWJj\r\nYWJj", b"YW Jj", b"YQ==\0\0\0\0"),
        *(b"-_-_", b"YW!j", b"YWJ\xff", b"YWJ\0"),
    ],
)
def test_base64_reader_refuses_invalid_base64(text: bytes) -> None:
    for place in range(len(text) + 1):
        content = read(text[:place], text[place:])
        assert (content.data, content.fault) == (b"", WRONG), place


def test_base64_reader_refuses_an_early_fault() -> None:
    assert read(b"YWJj" * 1000, b"!!!!", b"YWJj" * 1000).fault == WRONG
    assert read(b"YWJj" * 1000, b"YQ==", b"YWJj" * 1000).fault == WRONG


def test_base64_reader_reports_an_empty_file() -> None:
    assert read() == read(b"") == read(b"", b"")
    assert read().fault == EMPTY


@pytest.mark.parametrize("chunk", [4, 65_537, MAX_ATTACHMENT_BYTES * 2])
def test_base64_reader_accepts_at_most_10_mib(chunk: int) -> None:
    if chunk == 4:
        head = base64.b64encode(bytes(MAX_ATTACHMENT_BYTES - MAX_ATTACHMENT_BYTES % 3 - 30))
        tail = base64.b64encode(bytes(MAX_ATTACHMENT_BYTES % 3 + 30))
        more = base64.b64encode(bytes(MAX_ATTACHMENT_BYTES % 3 + 31))
        exact = read(head, *(tail[place : place + 4] for place in range(0, len(tail), 4)))
        over = read(head, *(more[place : place + 4] for place in range(0, len(more), 4)))
    else:
        texts = [base64.b64encode(bytes(MAX_ATTACHMENT_BYTES + extra)) for extra in (0, 1)]
        exact, over = (read(*(text[place : place + chunk] for place in range(0, len(text), chunk))) for text in texts)
    assert (len(exact.data), exact.fault) == (MAX_ATTACHMENT_BYTES, None)
    assert exact.sha256 == hashlib.sha256(bytes(MAX_ATTACHMENT_BYTES)).hexdigest()
    assert (len(over.data), over.fault) == (0, TOO_LARGE)


def test_base64_reader_reports_invalid_base64_before_its_size() -> None:
    assert read(base64.b64encode(bytes(MAX_ATTACHMENT_BYTES + 3)), b"!").fault == WRONG


def test_content_reader_accepts_any_bytes_in_any_chunks() -> None:
    data = bytes(range(256)) * 10
    for size in (1, 7, 256, len(data)):
        reader = ContentReader()
        for start in range(0, len(data), size):
            reader.feed(memoryview(data)[start : start + size])
        assert reader.finish() == Content(data, hashlib.sha256(data).hexdigest())


def test_content_reader_copies_its_input() -> None:
    piece = bytearray(b"Hello")
    reader = ContentReader()
    reader.feed(piece)
    piece[:] = b"HELLO"
    assert reader.finish().data == b"Hello"


def test_content_reader_accepts_at_most_10_mib() -> None:
    for pieces, fault in (
        ((MAX_ATTACHMENT_BYTES,), None),
        ((MAX_ATTACHMENT_BYTES, 0), None),
        ((MAX_ATTACHMENT_BYTES + 1,), TOO_LARGE),
        ((MAX_ATTACHMENT_BYTES, 1), TOO_LARGE),
        ((MAX_ATTACHMENT_BYTES, 1, 1), TOO_LARGE),
    ):
        reader = ContentReader()
        for size in pieces:
            reader.feed(bytes(size))
        content = reader.finish()
        assert content.fault == fault
        assert len(content.data) == (0 if fault else MAX_ATTACHMENT_BYTES)


def test_content_reader_reports_an_empty_file() -> None:
    assert ContentReader().finish().fault == EMPTY


@pytest.mark.parametrize("text", ["YQ=ä", "YQ=\ud83d", "😀===", "YQ=\u0130"])
def test_read_base64_refuses_non_ascii_characters(text: str) -> None:
    assert read_base64(text).fault == WRONG


def test_read_base64_returns_the_content_of_a_text() -> None:
    assert read_base64("SGVsbG8K") == Content(b"Hello\n", hashlib.sha256(b"Hello\n").hexdigest())
    assert read_base64("").fault == EMPTY
