"""Raw requests to WebMessageSender 3.2: bodies that are not JSON, broken framing, and paths."""

import pytest

from contract_tests.attacks import JSON, chunks, request, text
from contract_tests.raw_bytes.municipal import assert_bad_segments_are_refused, assert_no_message
from contract_tests.raw_bytes.test_json import LARGE, NO_JSON, NO_OBJECT
from contract_tests.target import CheckTarget

pytestmark = [pytest.mark.needs("sender"), pytest.mark.one_database]

GOOD = text(oepInstance="external")


def build_post(target: CheckTarget, body: bytes, **options: object) -> bytes:
    path = f"/{target.municipality}/webmessages"
    return request("POST", path, **{"body": body, "content_type": JSON, **options})  # type: ignore[arg-type]  # Options.


def test_body_that_is_not_strict_json_is_refused(target: CheckTarget) -> None:
    for name, bad in NO_JSON.items():
        body = bad.replace(b'{"message"', b'{"oepInstance": "external", "message"', 1)
        assert_no_message(target.send(build_post(target, body)), name)
    for body in NO_OBJECT:
        assert_no_message(target.send(build_post(target, body)), str(body[:20]))


@pytest.mark.parametrize("prefix", [b"", LARGE], ids=["small", "large"])
def test_chunked_body_that_is_not_strict_json_is_refused(prefix: bytes, target: CheckTarget) -> None:
    for name in ("cut at the end", "two values", "no UTF-8", "NUL after it", "100,000 brackets"):
        body = chunks(prefix + NO_JSON[name], 10_000)
        assert_no_message(target.send(build_post(target, body, headers=["Transfer-Encoding: chunked"])), name)


@pytest.mark.parametrize(
    "media_type", [None, "text/plain", "application/xml", "multipart/form-data; boundary=XX", "json"]
)
def test_body_of_another_media_type_is_refused(media_type: str | None, target: CheckTarget) -> None:
    body = GOOD if media_type is not None else b"{" + GOOD
    assert_no_message(target.send(build_post(target, body, content_type=media_type)), str(media_type))


def test_message_of_16_mib_is_refused(target: CheckTarget) -> None:
    body = text(message="x" * 2**24, oepInstance="external")
    assert_no_message(target.send(build_post(target, body)), "16 MiB")


def test_compressed_body_is_refused(target: CheckTarget) -> None:
    assert_no_message(target.send(build_post(target, GOOD, headers=["Content-Encoding: gzip"])), "gzip")


@pytest.mark.parametrize("rest", ["/webmessages/1-1-1-1-1", "/webmessages/recipients/1-1-1-1-1"])
def test_municipality_that_is_not_a_valid_segment_is_refused(rest: str, target: CheckTarget) -> None:
    assert_bad_segments_are_refused(target, rest)


@pytest.mark.parametrize(
    "segment", ["%ff", "%00", "1-1-1-1-1%00", "%ed%a0%80", "1-1-1-1-%2F", "1-1-1-1-1/", "0" * 5000]
)
def test_id_that_is_not_a_valid_segment_is_refused(segment: str, target: CheckTarget) -> None:
    for method in ("GET", "DELETE"):
        answer = target.send(request(method, f"/{target.municipality}/webmessages/{segment}"))
        assert answer.status in {400, 404, 405}, (method, answer.status)
