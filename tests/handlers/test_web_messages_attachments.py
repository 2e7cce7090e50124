"""Attachments over HTTP: streamed as base64, downloaded, and with metadata."""

import base64
import hashlib
import os
from urllib.parse import unquote

import pytest

from conftest import RunningService
from persistence.web_message_inserts import PIECE_BYTES
from tests.handlers.messages import get_message, post_message, read_violations


def build_file(data: bytes, name: str = "a.bin") -> dict[str, str]:
    return {"fileName": name, "base64Data": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    "sizes",
    [(1,), (2,), (3,), (1, 2, 3, 4), (PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1), (400_000, 1)],
    ids=str,
)
def test_get_web_message_by_id_streams_base64_with_the_correct_length(
    shared: RunningService, sizes: tuple[int, ...]
) -> None:
    contents = [os.urandom(size) for size in sizes]
    message_id = post_message(
        shared, attachments=[build_file(content, f'å"{index}\\') for index, content in enumerate(contents)]
    )
    response = shared.client.get(f"/webmessages/{message_id}")
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["content-type"] == "application/json"
    attachments = response.json()["attachments"]
    assert [base64.b64decode(attachment["base64Data"], validate=True) for attachment in attachments] == contents
    assert [attachment["size"] for attachment in attachments] == list(sizes)
    assert [attachment["sha256"] for attachment in attachments] == [
        hashlib.sha256(content).hexdigest() for content in contents
    ]
    assert [attachment["fileName"] for attachment in attachments] == [f'å"{index}\\' for index in range(len(sizes))]


@pytest.mark.parametrize(
    "name",
    ["hello.txt", "räksmörgås 😀.txt", "a\"b;c=d,e%20f'.txt", "line\r\nSet-Cookie: a=b", "../../etc/passwd", "*"],
)
def test_get_web_message_attachment_is_a_download_with_its_file_name(shared: RunningService, name: str) -> None:
    message = get_message(shared, post_message(shared, attachments=[build_file(b"Hello\n", name)]))
    attachment = message["attachments"][0]
    response = shared.client.get(f"/webmessages/{message['id']}/attachments/{attachment['id']}")
    assert (response.status_code, response.content) == (200, b"Hello\n")
    assert response.headers["content-type"] == attachment["mimeType"]
    assert response.headers["content-length"] == "6"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in response.headers
    start = "attachment; filename*=UTF-8''"
    disposition = response.headers["content-disposition"]
    assert disposition.startswith(start)
    assert disposition.isascii()
    assert not set(" \"';,()<>@:\\/[]?={}") & set(disposition.removeprefix(start))
    assert unquote(disposition.removeprefix(start)) == name


def test_get_web_message_attachment_returns_large_files_completely(shared: RunningService) -> None:
    content = os.urandom(1_000_000)
    message = get_message(
        shared, post_message(shared, attachments=[build_file(content, "a.pdf"), build_file(b"%PDF-1.7\n", "b.txt")])
    )
    first, second = message["attachments"]
    response = shared.client.get(f"/webmessages/{message['id']}/attachments/{first['id']}")
    assert hashlib.sha256(response.content).hexdigest() == first["sha256"]
    response = shared.client.get(f"/webmessages/{message['id']}/attachments/{second['id']}")
    assert response.headers["content-type"] == "application/pdf"
    assert response.content == b"%PDF-1.7\n"


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\10\6\0\0\0\x1f\x15\xc4\x89", "a.pdf", "image/png"),
        (b"a;b\n1;2\n", "numbers.csv", "text/csv"),
        (b"<html><script>alert(1)</script></html>", "page.html", "text/html"),
        (b"\x01\x02\x03", "nobody.knows", "application/octet-stream"),
    ],
)
def test_create_web_message_detects_the_media_type(
    shared: RunningService, content: bytes, name: str, expected: str
) -> None:
    message = get_message(shared, post_message(shared, attachments=[build_file(content, name)]))
    assert message["attachments"][0]["mimeType"] == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x", [("getWebMessageById.id", "not a valid UUID")]),
        (
            "x/attachments/y",
            [
                ("getWebMessageAttachment.attachmentId", "not a valid UUID"),
                ("getWebMessageAttachment.id", "not a valid UUID"),
            ],
        ),
        ("81471222-5798-11e9-ae24-57fa13b361e1%0a", [("getWebMessageById.id", "not a valid UUID")]),
        ("81471222579811e9ae2457fa13b361e1", [("getWebMessageById.id", "not a valid UUID")]),
        ("81471222-5798-11e9-ae24-57fa13b361e%F0%9D%9F%8F", [("getWebMessageById.id", "not a valid UUID")]),
        ("%00", [("getWebMessageById.id", "must not contain U+0000")]),
        ("%c3", [("getWebMessageById.id", "must be UTF-8")]),
        ("%2F", [("getWebMessageById.id", "not a valid UUID")]),
        (
            "x?base64=1",
            [
                ("getWebMessageById.base64", "not a parameter of this operation"),
                ("getWebMessageById.id", "not a valid UUID"),
            ],
        ),
    ],
)
def test_reads_by_id_report_faults_of_a_path(
    contract: RunningService, path: str, expected: list[tuple[str, str]]
) -> None:
    assert read_violations(contract.client.get(f"/webmessages/{path}")) == expected


def test_delete_web_message_by_id_reports_faults_of_a_path(contract: RunningService) -> None:
    assert read_violations(contract.client.delete("/webmessages/x?force=true")) == [
        ("deleteWebMessageById.force", "not a parameter of this operation"),
        ("deleteWebMessageById.id", "not a valid UUID"),
    ]
