"""Hostile input, and valid input in every form: a fault or a response, never a hang."""

import base64
import gzip
import re
from pathlib import Path

import pytest

from mock_open_e import MockOpenE
from tests.mock_open_e.soap import FILE, GOOD, NS, SOAP, add_message, build_request, build_request_with_file, send

LARGEST_RISE = 400 * 2**20
"""Maximum additional bytes of memory for a request of about 20 MB."""


class Rise:
    """The rise of this process's memory above its current value."""

    def __init__(self):
        # Reset the kernel's peak first, because earlier tests may have had a higher one.
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._peak()

    def _peak(self):
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) * 1024

    @property
    def bytes(self):
        return self._peak() - self._before


def build_bomb(prolog="", attribute="&e9;"):
    entities = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    body = add_message(rest=f'<x a="{attribute}">{attribute}</x>')
    return f'{prolog}<!DOCTYPE a [<!ENTITY e0 "{"x" * 100}">{entities}]>{body}'


HOSTILE = {
    "entity bomb": build_bomb,
    "entity bomb behind comments": lambda: build_bomb("<?xml version='1.0'?><!-- --> <?a b?>\n"),
    "entity bomb in utf-16": lambda: build_bomb().encode("utf-16"),
    "entity bomb in utf-16 without a mark": lambda: build_bomb().encode("utf-16-le"),
    "entity bomb in utf-7": lambda: ("<?xml version='1.0' encoding='utf-7'?>" + build_bomb()).encode("utf-7"),
    "quadratic entity": lambda: f'<!DOCTYPE a [<!ENTITY a "{"x" * 100_000}">]>{add_message(message="&a;" * 10_000)}',
    "external entity": lambda: f'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>{add_message(message="&a;")}',
    "parameter entity": lambda: f'<!DOCTYPE a [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>{add_message()}',
    "external subset": lambda: f'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">{add_message()}',
    "depth": lambda: build_request("<a>" * 1_000_000),
    "closed depth": lambda: build_request("<a>" * 100_000 + "</a>" * 100_000),
    "many elements": lambda: build_request(f'<addMessage xmlns="{NS}">{"<a/>" * 5_000_000}</addMessage>'),
    "many attributes": lambda: build_request(f"<a {' '.join(f'a{i}=%' for i in range(100_000))}/>").replace("%", "''"),
    "many namespaces": lambda: build_request(f"<a {' '.join(f'xmlns:a{i}=%u{i}%' for i in range(20_000))}/>").replace(
        "%", "'"
    ),
    "many comments without end": lambda: "<!--" * 5_000_000,
    "many comments": lambda: "<!---->" * 2_000_000,
    "a name without end": lambda: "<" + "a" * 20_000_000,
    "an attribute without end": lambda: '<a b="' + "a" * 20_000_000,
    "an instruction without end": lambda: "<?xml " + "a" * 20_000_000,
    "a prefix that is not declared": lambda: build_request("<x:addMessage/>"),
    "zeros": lambda: bytes(1_000_000),
    "a number without end": lambda: add_message(f"<flowInstanceID>{'9' * 1_000_000}x</flowInstanceID>"),
    "a boundary only": lambda: b"--x\r\n" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["text/xml", "text/xml; charset=UTF-8", "multipart/related; boundary=x"])
def test_hostile_input_is_a_fault_with_bounded_memory(name, kind):
    body = HOSTILE[name]()
    body = body if isinstance(body, bytes) else body.encode()
    mock = MockOpenE(strict=True)
    rise = Rise()
    response = send(mock, body, kind)
    assert response.status in {415, 500}
    assert b"root:" not in response.body
    assert len(response.body) < 10_000
    assert rise.bytes < LARGEST_RISE
    assert mock.list_messages() == []


@pytest.mark.parametrize("extra", ["<a>" * 600 + "</a>" * 600, "<a/>" * 200_000])
def test_depth_and_number_of_elements_are_bounded(extra):
    response = send(MockOpenE(), add_message(rest=extra))
    assert b"XML reader error: more than 200000 elements, or more than 500 nested elements" in response.body
    assert send(MockOpenE(), add_message(rest="<a>" * 400 + "</a>" * 400)).status == 200


def test_no_file_is_read_for_an_entity(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hemligt")
    mock = MockOpenE()
    for declared in [f'SYSTEM "{secret.as_uri()}"', f'PUBLIC "a" "{secret.as_uri()}"']:
        body = f"<!DOCTYPE a [<!ENTITY a {declared}>]>{add_message(message=GOOD.replace('Hej', '&a;'))}"
        assert b"XML reader error: Undeclared general entity" in send(mock, body).body
    assert mock.messages == []
    assert Path(secret).read_text() == "hemligt"


def test_ten_large_files_use_a_bounded_amount_of_memory():
    data = base64.b64encode(bytes(10 * 2**20)).decode()
    one = f"<attachments><encodedData>{data}</encodedData><filename>a</filename><size>1</size></attachments>"
    body = add_message(message=GOOD + one * 10).encode()
    mock = MockOpenE()
    rise = Rise()
    assert send(mock, body).status == 200
    assert rise.bytes < LARGEST_RISE
    assert len(mock.list_calls()[0].body) == 256 * 2**10
    assert mock.list_calls()[0].body_size == len(body)


@pytest.mark.parametrize("charset", ["utf-7", "idna", "unicode_escape", "zlib", "hex", "a\r\nb: c", "x" * 200, "ÿ"])
def test_charsets_that_xml_does_not_support_are_refused(charset):
    response = send(MockOpenE(), add_message(), f"text/xml; charset={charset}")
    assert response.status in {415, 500}
    assert response.headers.get("Content-Type", "text/xml; charset=utf-8") == "text/xml; charset=utf-8"


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "windows-1252", "us-ascii", "ISO-8859-15"])
def test_other_charsets_are_decoded_and_used_in_the_response(charset):
    mock = MockOpenE()
    text = "Hej" if charset == "us-ascii" else "Hej åäö"
    body = add_message(message=f"<added>2026-01-01</added><message>{text}</message>").encode(charset)
    response = send(mock, body, f"text/xml; charset={charset}")
    assert (response.status, response.headers["Content-Type"]) == (200, f"text/xml ;charset={charset}")
    assert mock.messages[0]["message"] == text


def test_compressed_body_is_a_fault():
    body = gzip.compress(add_message().encode())
    response = send(MockOpenE(), body, **{"content-encoding": "gzip"})
    assert response.status == 500
    assert b"Couldn't create SOAP message" in response.body


def build_mtom(part, *, start=""):
    include = '<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:file%401"/>'
    envelope = build_request_with_file(f"<encodedData>{include}</encodedData><filename>a</filename><size>3</size>")
    kind = f'multipart/related; type="application/xop+xml"; boundary="b:1"{start}'
    root = f"Content-Type: application/xop+xml; charset=UTF-8\r\nContent-ID: <root>\r\n\r\n{envelope}"
    return f"preamble\r\n--b:1\r\n{root}\r\n--b:1\r\n{part}\r\n--b:1--\r\n".encode(), kind


def test_mtom_requests_are_accepted_with_their_files():
    mock = MockOpenE()
    file = "Content-Type: application/octet-stream\r\nContent-ID: <file@1>\r\n\r\nhej"
    for start in ["", '; start="<root>"']:
        body, kind = build_mtom(file, start=start)
        response = send(mock, body, kind)
        assert (response.status, response.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
        stored = mock.list_messages()[-1].files[0].content
        assert (stored.size, mock.file(stored.sha256)) == (3, b"hej")


@pytest.mark.parametrize("part", ["", "Content-ID: <other>\r\n\r\nhej", "Content-ID: <file@1>"])
def test_mtom_requests_without_the_file_lack_its_data(part):
    body, kind = build_mtom(part)
    response = send(MockOpenE(), body, kind)
    # A part without a head is an empty file; any other part is not the one that the envelope references.
    assert (b"Encoded data field cannot be null" in response.body) == ("file@1" not in part)


def test_invalid_lengths_of_base64_are_no_data():
    for data in ["aGVqa", "aGVqaA=", "====", "aGVq" * 10 + "a"]:
        response = send(MockOpenE(), build_request_with_file(FILE.replace("aGVq", data)))
        assert b"Encoded data field cannot be null" in response.body


def test_misplaced_envelope_is_no_request():
    for body in [f'<a><Envelope xmlns="{SOAP}"/></a>', f'<Envelope xmlns="{SOAP}"><x><Body/></x></Envelope>']:
        assert b"Couldn't create SOAP message" in send(MockOpenE(), body).body
