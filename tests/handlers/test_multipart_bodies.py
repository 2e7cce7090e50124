"""The reader of forms, piece by piece. What it says of wrong forms is in test_web_messages_multipart.py."""

import contextlib
import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid, TooLarge
from handlers.json_bodies import MAX_SKELETON_BYTES
from handlers.multipart_bodies import MultipartReader

CONTENT_TYPE = "multipart/form-data; boundary=xyz"
FILES = {"b.txt": b"Hello\r\n--xy\r\n", "å.bin": bytes(range(256)), "c": b"\r\n--xyz"[:-1]}


def form(files: dict[str, bytes]) -> bytes:
    parts = [b'--xyz\r\nContent-Disposition: form-data; name="message"\r\n\r\n{"message":"a"}\r\n']
    parts += [
        b'--xyz\r\nContent-Type: x/y\r\nContent-Disposition: form-data; name="attachments"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), data)
        for name, data in files.items()
    ]
    return b"".join(parts) + b"--xyz--\r\n"


def read(pieces: list[bytes]) -> tuple[dict[str, object], list[tuple[str, bytes, str]]]:
    reader = MultipartReader(CONTENT_TYPE)
    for piece in pieces:
        reader.feed(piece)
    value = reader.finish()
    assert reader.violations == []
    files = value.pop("attachments")
    contents = [reader.lifted[file["base64Data"]] for file in files]
    return value, [
        (file["fileName"], content.data, content.sha256) for file, content in zip(files, contents, strict=True)
    ]


EXPECTED = ({"message": "a"}, [(name, data, hashlib.sha256(data).hexdigest()) for name, data in FILES.items()])


def test_multipart_reader_reads_the_same_in_pieces_of_every_size() -> None:
    text = form(FILES)
    for size in range(1, len(text) + 1):
        assert read([text[start : start + size] for start in range(0, len(text), size)]) == EXPECTED, size


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, len(form(FILES))), max_size=8).map(sorted))
def test_multipart_reader_reads_the_same_in_random_pieces(cuts: list[int]) -> None:
    text = form(FILES)
    assert read([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == EXPECTED


@settings(max_examples=100, deadline=None)
@given(garbage=st.binary(max_size=200), place=st.integers(0, len(form(FILES))))
def test_multipart_reader_refuses_garbage_and_never_breaks(garbage: bytes, place: int) -> None:
    text = form(FILES)
    reader = MultipartReader(CONTENT_TYPE)
    with contextlib.suppress(Invalid):
        reader.feed(text[:place] + garbage)
        reader.feed(text[place:])
        reader.finish()


def test_multipart_reader_refuses_a_json_part_that_no_message_needs() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(b'--xyz\r\nContent-Disposition: form-data; name="message"\r\n\r\n')
    with pytest.raises(TooLarge):
        reader.feed(b"x" * (MAX_SKELETON_BYTES + 1))


def test_multipart_reader_keeps_nothing_of_an_eleventh_file() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(form({f"{number}": os.urandom(10) for number in range(12)}))
    value = reader.finish()
    assert len(value["attachments"]) == 12
    assert len(reader.lifted) == 10


def test_multipart_reader_ignores_what_stands_before_and_after_a_form() -> None:
    assert read([b"\r\n" + form(FILES) + b"after"]) == EXPECTED
