"""Attachments of a message: content, metadata and download."""

import base64
import hashlib
import re
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from contract_tests.api import Api
from contract_tests.rules.answers import (
    NO_UUID,
    describe_response,
    expect,
    expect_problem,
    expect_violations,
    media_type,
)
from contract_tests.rules.messages import file, reference, strip_generated

pytestmark = pytest.mark.needs("sender")

TEXT = "Hello å 😀\r\n".encode()
METADATA = {"id", "fileName", "mimeType", "size", "sha256"}


def attach(api: Api, *files: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Create a message with files and return it as it is read."""
    return api.read_message(api.create_message(api.message(attachments=list(files), **changes)))


def download(api: Api, message: dict[str, Any], number: int = 0) -> requests.Response:
    path = f"/webmessages/{message['id']}/attachments/{message['attachments'][number]['id']}"
    return expect(api.call("GET", path), 200)


@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (1, 2, 3, 4, 5), (65_535, 65_536, 65_537), (300_000, 1)], ids=str)
def test_base64_is_returned_unchanged(sizes: tuple[int, ...], api: Api) -> None:
    sent = [file(api.random.randbytes(size), f"{number}.bin") for number, size in enumerate(sizes)]
    found = attach(api, *sent)["attachments"]
    assert [item["base64Data"] for item in found] == [item["base64Data"] for item in sent]


def test_file_of_more_than_1_mib_is_returned_unchanged(api: Api) -> None:
    """Servers read large files in pieces, and gateways in front often limit bodies to 1 MiB."""
    content = api.random.randbytes(1_600_001)
    message = attach(api, file(content, "pieces.bin"))
    # Compare outside `assert`: pytest takes minutes to describe differences of texts of this length.
    is_same = base64.b64decode(message["attachments"][0]["base64Data"], validate=True) == content
    assert is_same, "the base64 of a file of 1600001 bytes must be returned as it was sent"
    is_same = download(api, message).content == content
    assert is_same, "a file of 1600001 bytes must be downloaded as it was sent"


def test_attachment_has_the_size_and_checksum_of_its_content(api: Api) -> None:
    contents = [bytes(range(256)), b"\0", b"a" * 1000]
    for item, content in zip(attach(api, *map(file, contents))["attachments"], contents, strict=True):
        assert set(item) == METADATA | {"base64Data"}, item
        digest = hashlib.sha256(content).hexdigest()
        assert (item["size"], item["sha256"]) == (len(content), digest), (
            f"size or checksum of {item} must match the content {content[:9]!r}…"
        )


def test_attachment_is_found_by_ids_in_any_case(api: Api) -> None:
    message = attach(api, file())
    id_, other = message["id"], message["attachments"][0]["id"]
    assert other == other.lower(), f"UUIDs must be returned in lower case, but got {other}"
    path = f"/webmessages/{id_.upper()}/attachments/{other.upper()}"
    assert expect(api.call("GET", path), 200).content == b"Hello\n"


def test_attachment_ids_are_unique(api: Api) -> None:
    ids = [item["id"] for item in attach(api, *[file()] * 10)["attachments"]]
    assert len(set(ids)) == 10, f"ten files must have ten ids, but got {ids}"


def test_lists_contain_attachments_without_content(api: Api) -> None:
    party = api.unused_uuid()
    about = reference("contract-check", party)
    whole = attach(api, file(), file(b"x", "b.txt"), partyId=party, externalReferences=[about])
    for item in whole["attachments"]:
        del item["base64Data"]
    for path in (f"recipients/{party}", f"external-references/{about['key']}/{about['value']}"):
        response = expect(api.call("GET", f"/webmessages/{path}"), 200)
        assert response.json() == [whole], f"expected {[whole]}, but {describe_response(response)}"


def named_by(disposition: str) -> str | None:
    """Return the file name in a Content-Disposition (RFC 6266, section 4.3): filename* precedes filename."""
    extended = re.search(r"(?i);\s*filename\*\s*=\s*UTF-8'[^']*'([^;\s]*)", disposition)
    plain = re.search(r'(?i);\s*filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', disposition)
    if extended is not None:
        return unquote(extended[1])
    return None if plain is None else re.sub(r"\\(.)", r"\1", plain[1] or "") or plain[2]


@pytest.mark.parametrize(
    "name",
    ["hello.txt", "räksmörgås 😀.txt", "a\"b;c=d,e%20f'.txt", "line\r\nSet-Cookie: a=b", "../../etc/passwd", "*"],
    ids=ascii,
)
def test_download_returns_the_content_and_the_file_name(name: str, api: Api) -> None:
    """RFC 6266: `filename*` can contain any name, and no part of the name becomes a header."""
    message = attach(api, file(TEXT, name))
    response = download(api, message)
    assert response.content == TEXT, "expected the bytes that were sent"
    assert response.headers["X-Content-Type-Options"].lower() == "nosniff"
    assert "Set-Cookie" not in response.headers or "a=b" not in response.headers["Set-Cookie"]
    disposition = response.headers["Content-Disposition"]
    assert disposition.lower().partition(";")[0].strip() == "attachment", disposition
    assert disposition.isascii(), disposition
    given = named_by(disposition)
    assert given == name, (
        f"expected the name {name!r} in filename*, or in filename if that can hold it, but was {disposition!r}"
    )


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\10\6\0\0\0\x1f\x15\xc4\x89", "a.txt", "image/png"),
        (b"%PDF-1.7\n", "b.txt", "application/pdf"),
        (b"Hello\n", "c.txt", "text/plain"),
        (b"a;b\n1;2\n", "numbers.csv", "text/csv"),
        (b"\x01\x02\x03", "nobody.knows", "application/octet-stream"),
    ],
    ids=["png", "pdf", "text", "csv", "unknown"],
)
def test_media_type_is_detected_from_content_then_from_name(content: bytes, name: str, expected: str, api: Api) -> None:
    message = attach(api, file(content, name))
    assert message["attachments"][0]["mimeType"] == expected
    response = download(api, message)
    assert media_type(response) == expected, f"expected the Content-Type {expected}; {response.headers}"


def test_each_download_returns_its_own_file(api: Api) -> None:
    message = attach(api, file(b"one", "a.txt"), file(b"two", "a.txt"))
    assert [download(api, message, number).content for number in (0, 1)] == [b"one", b"two"]


def test_attachment_is_found_only_by_its_own_message(api: Api) -> None:
    first, second = attach(api, file()), attach(api, file())
    path = f"/webmessages/{first['id']}/attachments/{second['attachments'][0]['id']}"
    expect_problem(api.call("GET", path), 404)
    expect_problem(api.call("GET", f"/webmessages/{first['id']}/attachments/{api.uuid()}"), 404)
    expect_problem(api.call("GET", f"/webmessages/{api.uuid()}/attachments/{first['attachments'][0]['id']}"), 404)


def test_both_invalid_ids_of_an_attachment_are_reported(api: Api) -> None:
    names = ("getWebMessageAttachment.attachmentId", "getWebMessageAttachment.id")
    expect_violations(api.call("GET", "/webmessages/x/attachments/y"), *((name, NO_UUID) for name in names))
    expect_violations(api.call("GET", f"/webmessages/{api.uuid()}/attachments/y"), (names[0], NO_UUID))


def test_longest_valid_values_are_accepted(api: Api) -> None:
    sent = api.message(
        externalReferences=[api.reference("k" * 128), reference("abc", "ä" * 128), reference("åäö", "1")],
        sender={"userId": "ö" * 255},
        attachments=[file(b"1", "å" * 251 + ".txt")] * 10,
    )
    found = api.read_message(api.create_message(sent))
    for name in ("externalReferences", "sender"):
        assert found[name] == sent[name], f"expected {sent[name]}, but got {found[name]}"
    assert [item["fileName"] for item in found["attachments"]] == ["å" * 251 + ".txt"] * 10


def test_lengths_are_counted_in_characters(api: Api) -> None:
    """Lengths are not counted in bytes or units of UTF-16; these characters have two units each."""
    sent = api.message(
        externalReferences=[api.reference("😀" * 128), reference("abc", "😀" * 128)],
        sender={"userId": "😀" * 255},
        attachments=[file(b"1", "😀" * 255)],
    )
    found = api.read_message(api.create_message(sent))
    assert strip_generated(found) == sent | {"oepInstance": "external"}, f"expected what was sent, but got {found}"


def test_shortest_valid_values_are_accepted(api: Api) -> None:
    sent = api.message(
        message="x", externalReferences=[reference("abc", "1")], sender={"userId": "u"}, attachments=[file(b"1", "f")]
    )
    found = api.read_message(api.create_message(sent))
    assert base64.b64decode(found["attachments"][0]["base64Data"]) == b"1"
    assert (found["message"], found["sender"], found["externalReferences"]) == (
        "x",
        {"userId": "u"},
        [reference("abc", "1")],
    )


@pytest.mark.full
@pytest.mark.one_database
def test_largest_message_is_accepted(api: Api) -> None:
    """Ten files of 10 MiB and the longest text together are below the limit of a body."""
    content = api.random.randbytes(10 * 1024 * 1024)
    about = api.unused_reference()
    sent = [file(content, f"{number}.bin") for number in range(10)]
    api.create_message(api.message(message="x" * 16_777_215, externalReferences=[about], attachments=sent))
    (message,) = api.read_messages(**about)
    described = [(item["fileName"], item["size"], item["sha256"]) for item in message["attachments"]]
    digest = hashlib.sha256(content).hexdigest()
    assert described == [(f"{number}.bin", len(content), digest) for number in range(10)]
    assert download(api, message, 9).content == content


@pytest.mark.full
@pytest.mark.one_database
def test_file_of_more_than_10_mib_is_refused(api: Api) -> None:
    about = api.reference()
    files = [file(), file(bytes(10 * 1024 * 1024 + 1))]
    response = api.post_message(api.message(externalReferences=[about], attachments=files))
    expect_violations(response, ("attachments[1].base64Data", None))
    assert api.read_messages(**about) == []


@pytest.mark.full
@pytest.mark.one_database
def test_text_is_limited_in_bytes_of_utf_8(api: Api) -> None:
    """The limit is 16777215 bytes of UTF-8: 8388607 letters of two bytes and one of one byte."""
    longest = "å" * 8_388_607 + "x"
    assert api.read_message(api.create_message(api.message(message=longest)))["message"] == longest
    expect_violations(api.post_message(api.message(message=longest + "x")), ("message", None))
