"""The incremental parser of forms. test_web_messages_multipart.py has its errors for invalid forms."""

import contextlib
import hashlib
import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Invalid, TooLarge
from openapi.bodies.json_reader import MAX_SKELETON_BYTES
from openapi.bodies.multipart_reader import MultipartReader

CONTENT_TYPE = "multipart/form-data; boundary=xyz"
FILES = {"b.txt": b"Hello\r\n--xy\r\n", "å.bin": bytes(range(256)), "c": b"\r\n--xyz"[:-1]}


def build_form(files: dict[str, bytes]) -> bytes:
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
    contents = [reader.contents[file["base64Data"]] for file in files]
    return value, [
        (file["fileName"], content.data, content.sha256) for file, content in zip(files, contents, strict=True)
    ]


EXPECTED = ({"message": "a"}, [(name, data, hashlib.sha256(data).hexdigest()) for name, data in FILES.items()])


def test_multipart_reader_is_independent_of_the_chunk_size() -> None:
    text = build_form(FILES)
    for size in range(1, len(text) + 1):
        assert read([text[start : start + size] for start in range(0, len(text), size)]) == EXPECTED, size


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, len(build_form(FILES))), max_size=8).map(sorted))
def test_multipart_reader_is_independent_of_random_chunks(cuts: list[int]) -> None:
    text = build_form(FILES)
    assert read([text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == EXPECTED


@settings(max_examples=100, deadline=None)
@given(garbage=st.binary(max_size=200), place=st.integers(0, len(build_form(FILES))))
def test_multipart_reader_refuses_random_bytes_without_other_errors(garbage: bytes, place: int) -> None:
    text = build_form(FILES)
    reader = MultipartReader(CONTENT_TYPE)
    with contextlib.suppress(Invalid):
        reader.feed(text[:place] + garbage)
        reader.feed(text[place:])
        reader.finish()


def test_multipart_reader_limits_the_json_part() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(b'--xyz\r\nContent-Disposition: form-data; name="message"\r\n\r\n')
    with pytest.raises(TooLarge):
        reader.feed(b"x" * (MAX_SKELETON_BYTES + 1))


def test_multipart_reader_stores_nothing_of_an_eleventh_file() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(build_form({f"{number}": os.urandom(10) for number in range(12)}))
    value = reader.finish()
    assert len(value["attachments"]) == 12
    assert len(reader.contents) == 10


MESSAGE = b'Content-Disposition: form-data; name="message"\r\n\r\n{"message":"a"}\r\n'
DISPOSITION = b'Content-Disposition: form-data; name="attachments"; filename="f"'
FILE = DISPOSITION + b"\r\n\r\nx\r\n"
WHOLE = b"--xyz\r\n" + MESSAGE + b"--xyz\r\n" + FILE + b"--xyz--\r\n"

FORMS: dict[str, tuple[bytes, list[bytes]]] = {
    "preamble": (b"This is a message in MIME format.\r\n" + WHOLE, [b"x"]),
    "empty lines before": (b"\r\n\r\n" + WHOLE, [b"x"]),
    "bare line feeds before": (b"\n\n\r\n" + WHOLE, [b"x"]),
    "preamble that looks like a boundary": (b"--xy\r\n--xyzz\r\n --xyz\r\n--\r\n" + WHOLE, [b"x"]),
    "preamble of 3 kB": (b"-" * 3000 + b"\r\n" + WHOLE, [b"x"]),
    "epilogue": (WHOLE + b"after\r\n--xyz\r\nmore", [b"x"]),
    "no line break at the end": (WHOLE.removesuffix(b"\r\n"), [b"x"]),
    "white space after boundaries": (WHOLE.replace(b"--xyz\r\n", b"--xyz \t \r\n"), [b"x"]),
    "white space after the last boundary": (WHOLE.replace(b"--xyz--", b"--xyz-- \t"), [b"x"]),
    "folded headers": (WHOLE.replace(b"; ", b";\r\n\t "), [b"x"]),
    "header folded twice": (WHOLE.replace(b"; filename", b";\r\n \r\n filename"), [b"x"]),
    "header folded after its colon": (WHOLE.replace(b": form", b":\r\n form"), [b"x"]),
    "no white space after a colon": (WHOLE.replace(b": ", b":"), [b"x"]),
    "much white space around values": (WHOLE.replace(b": ", b": \t ").replace(b'"f"', b'"f" \t'), [b"x"]),
    "headers in capitals": (WHOLE.replace(b"Content-Disposition", b"CONTENT-DISPOSITION"), [b"x"]),
    "more headers": (WHOLE.replace(FILE, b"".join(b"X-%d: v\r\n" % number for number in range(50)) + FILE), [b"x"]),
    "no content": (WHOLE.replace(FILE, DISPOSITION + b"\r\n\r\n\r\n"), [b""]),
    "no content, not even an empty line": (WHOLE.replace(FILE, DISPOSITION + b"\r\n\r\n"), [b""]),
    "content that begins with a line break": (WHOLE.replace(b"\r\nx\r\n", b"\r\n\r\nx\r\n"), [b"\r\nx"]),
    "content that begins like a boundary": (WHOLE.replace(b"\r\nx\r\n", b"\r\n--xyx\r\n"), [b"--xyx"]),
    "content with a line that goes on": (WHOLE.replace(b"\nx\r", b"\n--xyza\r\n--xyz a\r"), [b"--xyza\r\n--xyz a"]),
    "content with half a boundary's end": (WHOLE.replace(b"\nx\r", b"\n--xyz-\r"), [b"--xyz-"]),
    "content with a bare line break": (WHOLE.replace(b"\nx\r", b"\nx\n--xyz\n\r\r"), [b"x\n--xyz\n\r"]),
    "content with carriage returns": (WHOLE.replace(b"\nx\r", b"\n\r\r\n\r\r"), [b"\r\r\n\r"]),
}


@pytest.mark.parametrize(("body", "contents"), FORMS.values(), ids=FORMS)
def test_multipart_reader_accepts_every_form_of_mime(body: bytes, contents: list[bytes]) -> None:
    expected = ({"message": "a"}, [("f", data, hashlib.sha256(data).hexdigest()) for data in contents])
    cuts = [[body[start : start + size] for start in range(0, len(body), size)] for size in (1, 2, 3, 7)]
    cuts += [[body[:place], body[place:]] for place in range(len(body) + 1)]
    for pieces in cuts:
        value, files = read(pieces)
        assert (value, [(name, bytes(data), digest) for name, data, digest in files]) == expected


def test_multipart_reader_accepts_every_form_of_mime_with_a_quoted_boundary() -> None:
    reader = MultipartReader('multipart/form-data; charset=utf-8; boundary="a b:c"')
    reader.feed(b"preamble\r\n" + WHOLE.replace(b"xyz", b"a b:c"))
    assert reader.finish()["attachments"] == [{"fileName": "f", "base64Data": "0"}]


@pytest.mark.parametrize("end", range(len(b"--xyz--")))
def test_multipart_reader_refuses_a_truncated_form(end: int) -> None:
    whole = WHOLE.removesuffix(b"--xyz--\r\n")
    reader = MultipartReader(CONTENT_TYPE)
    reader.feed(whole + b"--xyz--"[:end])
    with pytest.raises(Invalid) as caught:
        reader.finish()
    assert [fault.message for fault in caught.value.violations] == [
        "must be a complete multipart form; the final boundary is missing"
    ]


def test_multipart_reader_stores_nothing_of_a_preamble() -> None:
    reader = MultipartReader(CONTENT_TYPE)
    for _ in range(100):
        reader.feed(b"\r\n--xyy" * 10_000)
    tracemalloc.start()
    for _ in range(100):
        reader.feed(b"\r\n--xyy" * 10_000)
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert memory < 200_000
