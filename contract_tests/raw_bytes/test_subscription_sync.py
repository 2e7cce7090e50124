"""Syncs with invalid JSON, a wrong media type, wrong framing or excessive size: never a 500, never a change."""

import json
import re
from collections.abc import Callable

import pytest

from contract_tests.attacks import (
    assert_error_list,
    assert_no_http,
    assert_refused,
    assert_silent,
    chunks,
    sync,
)
from contract_tests.target import CERTIFICATE, CheckTarget

pytestmark = pytest.mark.needs("certificate", "attacked_system", "allowed")

LARGE = b"\n" * (300 * 1024)
LIMIT = 16 * 1024 * 1024
CHUNKED = "Transfer-Encoding: chunked"
DATES = {"webhookUrl": "/webhook", "startDato": "2023-01-01T00:00:00"}


@pytest.fixture
def good(target: CheckTarget) -> bytes:
    """Return a valid sync of a set that must stay unchanged."""
    org_type, entity_type = target.allowed[0]
    entry = {"orgType": org_type, "orgCode": 101, "entityType": entity_type, **DATES}
    return json.dumps({"systemIdentifier": target.attacked_system, "abonnementer": [entry]}).encode()


def with_org_type(good: bytes, raw: bytes) -> bytes:
    return re.sub(rb'(?<="orgType": )[0-9]+', lambda _: raw, good)


NO_JSON: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut": lambda good: good[:-1],
    "two values": lambda good: good + good,
    "NaN": lambda good: with_org_type(good, b"NaN"),
    "Infinity": lambda good: with_org_type(good, b"-Infinity"),
    "1e999": lambda good: with_org_type(good, b"1e999"),
    "5,000 digits": lambda good: with_org_type(good, b"9" * 5000),
    "leading zero": lambda good: with_org_type(good, b"01"),
    "property twice": lambda good: good[:-1] + b', "abonnementer": []}',
    "property twice, once escaped": lambda good: good[:-1] + rb', "\u0061bonnementer": []}',
    "property twice in an entry": lambda good: with_org_type(good, b'1, "orgType": 1'),
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "no UTF-8": lambda good: good.replace(b"/webhook", b"/\xff"),
    "half of a pair": lambda good: good.replace(b"/webhook", rb"/\ud800"),
    "100,000 brackets": lambda _: b"[" * 100_000,
    "100,000 closed braces": lambda _: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "65 brackets": lambda good: with_org_type(good, b"[" * 65 + b"]" * 65),
}


@pytest.mark.parametrize("broken", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("is_large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_sync_that_is_not_strict_json_is_refused(
    broken: Callable[[bytes], bytes], is_large: bool, in_chunks: bool, good: bytes, target: CheckTarget
) -> None:
    sent = LARGE + broken(good) if is_large else broken(good)
    framed = (chunks(sent), [CHUNKED]) if in_chunks else (sent, [])
    answer = target.send(sync(framed[0], CERTIFICATE, headers=framed[1]))
    assert_error_list(answer, 400, (None, None, 1014))


@pytest.mark.parametrize(
    "raw",
    [pytest.param(raw, marks=pytest.mark.own) for raw in (b"1.0", b"1e0", b"1E3")]
    + [b"true", b"null", b'"1"', b"-1", b"2147483648", b"9" * 4000, b"1e-999", b"[[]]", b"{}"],
    ids=lambda raw: raw[:12].decode(),
)
def test_number_that_is_not_a_32_bit_integer_is_refused(raw: bytes, good: bytes, target: CheckTarget) -> None:
    assert_error_list(target.send(sync(with_org_type(good, raw), CERTIFICATE)), 400, (0, "orgType", 1014))


@pytest.mark.parametrize(
    ("raw", "code"),
    [(rb"/\u0000", 150102), (rb"/a\n", 150102), ("/å".encode(), 150102), (rb"/\ud83d\ude00", 150102)],
)
def test_invalid_path_character_is_refused(raw: bytes, code: int, good: bytes, target: CheckTarget) -> None:
    body = good.replace(b"/webhook", raw)
    assert_error_list(target.send(sync(body, CERTIFICATE)), 400, (0, "webhookUrl", code))


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "multipart/form-data; boundary=XX", "application/jsonx", "*/*", b"json\xff"],
)
def test_other_media_type_is_refused(content_type: str | bytes, good: bytes, target: CheckTarget) -> None:
    answer = target.send(sync(good, CERTIFICATE, content_type))
    assert_error_list(answer, 415, (None, None, 1014))


@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json;charset=utf-16", None])
def test_json_is_validated_with_any_spelling_of_its_media_type(
    content_type: str | None, good: bytes, target: CheckTarget
) -> None:
    answer = target.send(sync(with_org_type(good, b"-1"), CERTIFICATE, content_type))
    assert_error_list(answer, 400, (0, "orgType", 1014))


def test_compressed_sync_is_refused(good: bytes, target: CheckTarget) -> None:
    answer = target.send(sync(good, CERTIFICATE, headers=["Content-Encoding: gzip"]))
    assert_error_list(answer, 415, (None, None, 1014))


@pytest.mark.parametrize("length", [LIMIT + 1, 10**12, 2**63 - 1])
def test_sync_with_an_excessive_length_is_refused_before_it_is_sent(length: int, target: CheckTarget) -> None:
    data = sync(b"", CERTIFICATE, headers=[f"Content-Length: {length}"])
    answer = target.send(data, is_unfinished=True)
    assert_error_list(answer, 413, (None, None, 1014))


def test_sync_over_the_limit_is_refused_while_it_is_sent(target: CheckTarget) -> None:
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = target.send(sync(b"", CERTIFICATE, headers=[CHUNKED]), *[piece] * 17, is_unfinished=True)
    assert_error_list(answer, 413, (None, None, 1014))


@pytest.mark.parametrize("headers", [["Content-Length: 5", CHUNKED], ["Content-Length: -1"], [CHUNKED, CHUNKED]])
def test_contradicting_frames_end_the_connection(headers: list[str], good: bytes, target: CheckTarget) -> None:
    assert_no_http(target.send(sync(chunks(good), CERTIFICATE, headers=headers), is_unfinished=True))


@pytest.mark.parametrize("headers", [["Content-Length: 10000"], [CHUNKED]])
def test_sync_that_ends_too_early_is_not_accepted(headers: list[str], good: bytes, target: CheckTarget) -> None:
    with target.connect() as connection:
        connection.send(sync(good, CERTIFICATE, headers=headers))
        connection.end_sending()
        answer = connection.read_response()
    assert_refused(answer)
    assert answer is None or not target.is_direct or answer.status == 400


@pytest.mark.parametrize("certificate", [None, "", ":", "::", ":AAAA:", "x", ":" + "A" * 50_000 + ":", ":é:"])
def test_sync_without_a_certificate_is_refused_before_its_body(
    certificate: str | None, good: bytes, target: CheckTarget
) -> None:
    for body in (good, b"{"):
        answer = target.send(sync(body, certificate, "text/plain"))
        assert_error_list(answer, 401, (None, None, 1101))
        assert not answer.is_direct or "www-authenticate" in answer.headers


def test_error_responses_do_not_contain_the_request(good: bytes, target: CheckTarget) -> None:
    for body in (b'{"secret": s3cr3t}', good.replace(b"/webhook", b"s3cr3t"), good + b"s3cr3t"):
        assert_silent(target.send(sync(body, CERTIFICATE)), "s3cr3t")
