"""Media types: detected from the content, and from the name if the content is ambiguous."""

import gzip
import io
import json
import zipfile

import pytest

from domain.media_types import UNKNOWN, detect_media_type

OFFICE = "application/vnd.openxmlformats-officedocument"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\x06\0\0\0\x1f\x15\xc4\x89"
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xdb\0C\0"
GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def build_archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return buffer.getvalue()


DOCX = build_archive("[Content_Types].xml", "_rels/.rels", "word/document.xml")
ZIP = build_archive("a.txt")
TEXT = "Hej på dig\n".encode()
XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<a xmlns="urn:x">1</a>\n'
HTML = b"<!DOCTYPE html>\n<html><head><title>x</title></head><body>x</body></html>\n"
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>\n'

FILES = [
    # The content decides, whatever the name is.
    ("pdf", PDF, "a.pdf", "application/pdf"),
    ("pdf without a name that says so", PDF, "a", "application/pdf"),
    ("pdf called text", PDF, "a.txt", "application/pdf"),
    ("png", PNG, "a.png", "image/png"),
    ("png called page", PNG, "a.html", "image/png"),
    ("jpeg", JPEG, "a.jpg", "image/jpeg"),
    ("jpeg called document", JPEG, "a.docx", "image/jpeg"),
    ("gif", GIF, "a", "image/gif"),
    # For containers the name decides.
    ("docx", DOCX, "a.docx", f"{OFFICE}.wordprocessingml.document"),
    ("docx in capitals", DOCX, "A.DOCX", f"{OFFICE}.wordprocessingml.document"),
    ("xlsx", build_archive("xl/workbook.xml"), "a.xlsx", f"{OFFICE}.spreadsheetml.sheet"),
    ("pptx", build_archive("ppt/presentation.xml"), "a.pptx", f"{OFFICE}.presentationml.presentation"),
    ("odt", build_archive("mimetype"), "a.odt", "application/vnd.oasis.opendocument.text"),
    ("zip", ZIP, "a.zip", "application/zip"),
    ("zip without a name that says so", ZIP, "a", UNKNOWN),
    ("doc", OLE, "a.doc", "application/msword"),
    ("xls", OLE, "a.xls", "application/vnd.ms-excel"),
    ("ppt", OLE, "a.ppt", "application/vnd.ms-powerpoint"),
    ("msg", OLE, "a.msg", "application/vnd.ms-outlook"),
    ("ole without a name that says so", OLE, "a", UNKNOWN),
    # For text the name decides.
    ("text", TEXT, "a.txt", "text/plain"),
    ("text in capitals", TEXT, "A.TXT", "text/plain"),
    ("csv", b"a;b\n1;2\n", "a.csv", "text/csv"),
    ("xml", XML, "a.xml", "text/xml"),
    ("html", HTML, "a.html", "text/html"),
    ("json", json.dumps({"a": 1}).encode(), "a.json", "application/json"),
    ("markdown", b"# A\n", "a.md", "text/markdown"),
    ("text without a name that says so", TEXT, "readme", UNKNOWN),
    ("html called text", HTML, "a.txt", "text/plain"),
    ("svg called text", SVG, "a.txt", "text/plain"),
    # Neither content nor name decides.
    ("unknown", b"\x01\x02\x03\x04", "a.unheard-of", UNKNOWN),
    ("one byte", b"\0", "a", UNKNOWN),
    ("text that begins like a bitmap", b"BMW och Volvo\n", "a.txt", "text/plain"),
    ("text that begins like a program", b"MZ och andra\n", "a.txt", "text/plain"),
    ("text that begins with an ampersand", b"II. Inledning\n", "a.txt", "text/plain"),
    ("text that begins like mail", b"From: a@example.org\nSubject: x\n\nHej\n", "a.txt", "text/plain"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "name", "expected"), [file[1:] for file in FILES], ids=[file[0] for file in FILES])
def test_media_type_is_detected(data: bytes, name: str, expected: str) -> None:
    assert detect_media_type(data, name) == expected
    assert detect_media_type(bytearray(data), name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("data:x.pdf", "application/pdf"),
        ("data:text/html,x.pdf", "application/pdf"),
        ("data:text/html", UNKNOWN),
        ("http://example.org/", UNKNOWN),
        ("http://example.org/a.pdf?x=.txt", "text/plain"),
        ("file:///a.txt", "text/plain"),
        ("../../a.txt", "text/plain"),
        ("a.txt.exe", UNKNOWN),
        ("a.txt/", "text/plain"),
        (".txt", UNKNOWN),
        ("a.", UNKNOWN),
        ("a. txt", UNKNOWN),
        ("a.txt\n", UNKNOWN),
        (".", UNKNOWN),
        ("/", UNKNOWN),
        ("räksmörgås.txt", "text/plain"),
        ("x" * 255, UNKNOWN),
    ],
)
def test_media_type_parses_only_the_file_name(name: str, expected: str) -> None:
    assert detect_media_type(b"\x01\x02\x03", name) == expected


def test_media_type_of_a_compressed_file_is_that_of_the_compression() -> None:
    assert detect_media_type(gzip.compress(b"x"), "a.txt.gz") in {"application/gzip", "application/x-gzip"}


def test_media_type_is_valid_in_a_header() -> None:
    for _, data, name, _ in FILES:
        kind, _, rest = detect_media_type(data, name).partition("/")
        assert kind.isascii()
        assert rest
        assert not set(" \r\n;,") & set(rest)


def test_media_type_reads_only_the_beginning() -> None:
    assert detect_media_type(PDF + bytes(10_000_000), "a") == "application/pdf"
    assert detect_media_type(bytes(10_000_000) + PDF, "a") == UNKNOWN
