"""Parse responses of any server as they arrive."""

import pytest

from contract_tests.attacks import assert_in_order, assert_refused
from contract_tests.raw_http import CLOSED, RawResponse
from contract_tests.target import CheckTarget
from tests.contract_tests.recording import running_recorder


def receive(response: bytes, *, is_direct: bool = False) -> RawResponse:
    with running_recorder() as recorder:
        target = CheckTarget(recorder.url, is_direct=is_direct)
        found = recorder.take(1, lambda: target.send(b"x"), response=response)
    assert isinstance(found, RawResponse)
    return found


def test_response_is_read_with_every_framing() -> None:
    for framed in (
        b"Content-Length: 5\r\n\r\nHello",
        b"Transfer-Encoding: Chunked\r\n\r\n2\r\nHe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"\r\nHello",
    ):
        response = receive(b"HTTP/1.1 400 No\r\nX: a\r\nx: b\r\n" + framed)
        assert (response.status, response.headers["x"], response.body) == (400, "a, b", b"Hello")


@pytest.mark.parametrize("response", [b"\x15\x03\x01\x00\x02\x02\x0a", b"\0\0\x06\x04\0\0\0\0\0", b"<html>"])
def test_data_that_is_not_http_is_no_response(response: bytes) -> None:
    assert receive(response) is CLOSED
    with pytest.raises(AssertionError):
        receive(response, is_direct=True)


@pytest.mark.parametrize("status", [400, 404, 499, 501, 505])
def test_refusal_is_a_4xx_of_the_contract_or_of_http(status: int) -> None:
    assert_refused(RawResponse(status, {}, b""))


@pytest.mark.parametrize("status", [100, 200, 302, 500, 502, 503])
def test_other_statuses_are_no_refusals(status: int) -> None:
    with pytest.raises(AssertionError):
        assert_refused(RawResponse(status, {}, b""))


def test_request_that_a_gateway_may_repair_may_be_accepted() -> None:
    assert_refused(RawResponse(200, {}, b""), may_be_mended=True)
    with pytest.raises(AssertionError):
        assert_refused(RawResponse(500, {}, b""), may_be_mended=True)


def test_gateway_may_close_a_connection_after_the_first_response() -> None:
    theirs = [RawResponse(status, {}, b"", is_direct=False) for status in (201, 422)]
    assert_in_order([*theirs, None], 201, 400, 200)
    for wrong in ([None, *theirs], [theirs[1], theirs[0], None]):
        with pytest.raises(AssertionError):
            assert_in_order(wrong, 201, 400, 200)
    ours = [RawResponse(status, {}, b"") for status in (201, 400)]
    assert_in_order(ours, 201, 400)
    with pytest.raises(AssertionError):
        assert_in_order([*ours, None], 201, 400, 200)
