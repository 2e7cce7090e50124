"""Responses of a connection: their heads, and how they are sent."""

import asyncio
import logging
from collections.abc import Iterable

import pytest
from starlette.types import Message
from uvicorn.protocols.http.flow_control import FlowControl

from openapi.server.responses import BoundedCycle, HeadBuffer


class Sent(asyncio.Transport):
    """A transport that keeps what each call sends."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.calls.append(b"".join(list_of_data))

    def close(self) -> None:
        self.calls.append(b"close")


def test_head_and_first_chunk_of_a_body_are_sent_in_one_call() -> None:
    sent = Sent()
    response = HeadBuffer(sent)
    for data in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"one", b"two"):
        response.write(data)
    response.close()
    assert sent.calls == [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\none", b"two", b"close"]


def test_head_of_a_truncated_response_is_sent() -> None:
    sent = Sent()
    response = HeadBuffer(sent)
    response.write(b"HTTP/1.1 200 OK\r\n\r\n")
    response.close()
    assert sent.calls == [b"HTTP/1.1 200 OK\r\n\r\n", b"close"]


def send_messages(*messages: Message, method: str = "GET", keep_alive: bool = True) -> list[bytes]:
    """Send a response over a new connection, and return the calls of its transport."""
    sent = Sent()

    async def send_all() -> None:
        cycle = BoundedCycle(
            scope={"type": "http", "method": method},  # type: ignore[typeddict-item]  # The response reads only these.
            transport=sent,
            flow=FlowControl(sent),
            logger=logging.getLogger(__name__),
            access_logger=logging.getLogger(__name__),
            access_log=False,
            default_headers=[(b"date", b"now")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=lambda: sent.calls.append(b"complete"),
        )
        for message in messages:
            await cycle.send(message)

    asyncio.run(send_all())
    return sent.calls


def begin(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def test_response_with_a_length_is_sent_as_it_is() -> None:
    body = {"type": "http.response.body", "body": b"one"}
    assert send_messages(begin((b"Content-Length", b"3"), (b"x-a", b"\xe5\tb")), body) == [
        b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 3\r\nx-a: \xe5\tb\r\n\r\n",
        b"one",
        b"complete",
    ]


def test_response_without_a_length_is_sent_in_chunks() -> None:
    body = {"type": "http.response.body", "body": b"one", "more_body": True}
    assert send_messages(begin(), body, {"type": "http.response.body"}) == [
        b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n",
        b"3\r\none\r\n",
        b"0\r\n\r\n",
        b"complete",
    ]


@pytest.mark.parametrize(
    ("status", "method"), [pytest.param(204, "DELETE", id="204"), pytest.param(200, "HEAD", id="HEAD")]
)
def test_response_without_a_body_is_not_sent_in_chunks(status: int, method: str) -> None:
    head, *_ = send_messages(begin(status=status), {"type": "http.response.body"}, method=method)
    assert head.endswith(b"\r\ndate: now\r\n\r\n")


def test_response_announces_once_that_its_connection_closes() -> None:
    body = {"type": "http.response.body"}
    closing = begin((b"content-length", b"0"), (b"connection", b"close"), (b"x-a", b"1"))
    for message, keep_alive in ((closing, True), (closing, False), (begin((b"content-length", b"0")), False)):
        head, *calls = send_messages(message, body, keep_alive=keep_alive)
        assert head.count(b"\r\nconnection: close\r\n") == 1
        assert b"close" in calls


@pytest.mark.parametrize(
    "header",
    [
        pytest.param((b"x-a", b"1\r\nx-b: 2"), id="two lines"),
        pytest.param((b"x-a", b"1\nx-b: 2"), id="line feed"),
        pytest.param((b"x-a", b"\r"), id="carriage return"),
        pytest.param((b"x-a", b"\0"), id="nul"),
        pytest.param((b"x-a", b"\x7f"), id="delete"),
        pytest.param((b"x a", b"1"), id="name with a space"),
        pytest.param((b"x-a:", b"1"), id="name with a colon"),
        pytest.param((b"x-a\r\nb", b"1"), id="name of two lines"),
        pytest.param((b"", b"1"), id="no name"),
    ],
)
def test_head_with_an_invalid_header_is_not_sent(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(RuntimeError, match="header"):
        send_messages(begin(header))


@pytest.mark.parametrize("body", [b"on", b"ones"])
def test_body_of_another_length_is_an_error(body: bytes) -> None:
    with pytest.raises(RuntimeError, match="than Content-Length"):
        send_messages(begin((b"content-length", b"3")), {"type": "http.response.body", "body": body})
