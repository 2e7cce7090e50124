"""Syncs that are no strict JSON, of another media type, framed wrongly, or too large: never a 500, never a change."""

import json

import pytest

from contract_tests.attacks import (
    ATTACKED_SYSTEM,
    assert_error_list,
    assert_no_http,
    chunks,
    sync,
)
from contract_tests.target import CERTIFICATE, Target

LARGE = b"\n" * (300 * 1024)
LIMIT = 16 * 1024 * 1024
CHUNKED = "Transfer-Encoding: chunked"
ENTRY = {"orgType": 1, "orgCode": 101, "entityType": 202, "webhookUrl": "/webhook", "startDato": "2023-01-01T00:00:00"}
GOOD = json.dumps({"systemIdentifier": ATTACKED_SYSTEM, "abonnementer": [ENTRY]}).encode()
OPEN = GOOD[:-1]


def with_org_type(raw: bytes) -> bytes:
    return GOOD.replace(b'"orgType": 1', b'"orgType": ' + raw)


NO_JSON = {
    "nothing": b"",
    "cut": OPEN,
    "two values": GOOD + GOOD,
    "NaN": with_org_type(b"NaN"),
    "Infinity": with_org_type(b"-Infinity"),
    "1e999": with_org_type(b"1e999"),
    "5,000 digits": with_org_type(b"9" * 5000),
    "leading zero": with_org_type(b"01"),
    "property twice": OPEN + b', "abonnementer": []}',
    "property twice, once escaped": OPEN + rb', "\u0061bonnementer": []}',
    "property twice in an entry": with_org_type(b'1, "orgType": 1'),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + GOOD,
    "no UTF-8": GOOD.replace(b"/webhook", b"/\xff"),
    "half of a pair": GOOD.replace(b"/webhook", rb"/\ud800"),
    "100,000 brackets": b"[" * 100_000,
    "100,000 closed braces": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "65 brackets": with_org_type(b"[" * 65 + b"]" * 65),
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_sync_that_is_no_strict_json_is_refused(body: bytes, is_large: bool, in_chunks: bool, target: Target) -> None:
    sent = LARGE + body if is_large else body
    framed = (chunks(sent), [CHUNKED]) if in_chunks else (sent, [])
    answer = target.send(sync(framed[0], CERTIFICATE, headers=framed[1]))
    assert_error_list(answer, 400, (None, None, 1014))


@pytest.mark.parametrize(
    "raw",
    [b"1.0", b"1e0", b"1E3", b"true", b"null", b'"1"', b"-1", b"2147483648", b"9" * 4000, b"1e-999", b"[[]]", b"{}"],
    ids=lambda raw: raw[:12].decode(),
)
def test_number_that_is_no_integer_of_32_bits_is_refused(raw: bytes, target: Target) -> None:
    assert_error_list(target.send(sync(with_org_type(raw), CERTIFICATE)), 400, (0, "orgType", 1014))


@pytest.mark.parametrize(
    ("raw", "code"),
    [(rb"/\u0000", 150102), (rb"/a\n", 150102), ("/å".encode(), 150102), (rb"/\ud83d\ude00", 150102)],
)
def test_character_that_no_path_has_is_refused(raw: bytes, code: int, target: Target) -> None:
    body = GOOD.replace(b"/webhook", raw)
    assert_error_list(target.send(sync(body, CERTIFICATE)), 400, (0, "webhookUrl", code))


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "multipart/form-data; boundary=XX", "application/jsonx", "*/*", b"json\xff"],
)
def test_other_media_type_is_refused(content_type: str | bytes, target: Target) -> None:
    answer = target.send(sync(GOOD, CERTIFICATE, content_type))
    assert_error_list(answer, 415, (None, None, 1014))


@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json;charset=utf-16", None])
def test_json_is_validated_however_its_media_type_is_written(content_type: str | None, target: Target) -> None:
    answer = target.send(sync(with_org_type(b"-1"), CERTIFICATE, content_type))
    assert_error_list(answer, 400, (0, "orgType", 1014))


def test_compressed_sync_is_refused(target: Target) -> None:
    answer = target.send(sync(GOOD, CERTIFICATE, headers=["Content-Encoding: gzip"]))
    assert_error_list(answer, 415, (None, None, 1014))


@pytest.mark.parametrize("length", [LIMIT + 1, 10**12, 2**63 - 1])
def test_sync_that_announces_too_much_is_refused_before_it_comes(length: int, target: Target) -> None:
    answer = target.send(sync(b"", CERTIFICATE, headers=[f"Content-Length: {length}"]))
    assert_error_list(answer, 413, (None, None, 1014))


def test_sync_is_cut_off_while_it_comes(target: Target) -> None:
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with target.connect() as connection:
        connection.send(sync(b"", CERTIFICATE, headers=[CHUNKED]), *[piece] * 17)
        answer = connection.answer()
    assert answer is not None
    assert_error_list(answer, 413, (None, None, 1014))


@pytest.mark.parametrize("headers", [["Content-Length: 5", CHUNKED], ["Content-Length: -1"], [CHUNKED, CHUNKED]])
def test_contradicting_frames_end_the_connection(headers: list[str], target: Target) -> None:
    assert_no_http(target.send(sync(chunks(GOOD), CERTIFICATE, headers=headers)))


@pytest.mark.parametrize("headers", [["Content-Length: 10000"], [CHUNKED]])
def test_sync_that_ends_too_early_is_not_taken(headers: list[str], target: Target) -> None:
    with target.connect() as connection:
        connection.send(sync(GOOD, CERTIFICATE, headers=headers))
        connection.end_sending()
        answer = connection.answer()
    assert answer is None or answer.status == 400


@pytest.mark.parametrize("certificate", [None, "", ":", "::", ":AAAA:", "x", ":" + "A" * 50_000 + ":", ":é:"])
def test_sync_without_a_certificate_is_refused_before_its_body(certificate: str | None, target: Target) -> None:
    for body in (GOOD, b"{"):
        answer = target.send(sync(body, certificate, "text/plain"))
        assert_error_list(answer, 401, (None, None, 1101))
        assert "www-authenticate" in answer.headers


def test_no_answer_repeats_what_was_sent(target: Target) -> None:
    for body in (b'{"secret": s3cr3t}', GOOD.replace(b"/webhook", b"s3cr3t"), GOOD + b"s3cr3t"):
        assert b"s3cr3t" not in target.send(sync(body, CERTIFICATE)).body
