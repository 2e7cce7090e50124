"""Receive bodies: cut off at a limit, whatever length is announced."""

import base64
import gc
import json
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import anyio
import pytest

from domain.errors import Invalid, TooLarge, Violation
from openapi.bodies.budget import BodyBudget, Reservation
from openapi.bodies.json_reader import JsonReader
from openapi.bodies.multipart_reader import MultipartReader
from openapi.bodies.receiving import BATCH_BYTES, JSON, MULTIPART, SMALL_BYTES, Allowance, Body, receive_body


class Caller:
    """Sends a body in chunks, and counts the chunks that were read."""

    def __init__(self, *pieces: bytes, goes_away: bool = False) -> None:
        self._messages: list[MutableMapping[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": goes_away or index + 1 < len(pieces)}
            for index, piece in enumerate(pieces)
        ]
        if goes_away:
            self._messages.append({"type": "http.disconnect"})
        self.reads = 0

    async def receive(self) -> MutableMapping[str, Any]:
        self.reads += 1
        return self._messages[self.reads - 1]


def received(
    caller: Caller,
    media_type: str = JSON,
    length: int | None = None,
    limit: int = 1000,
    media_types: tuple[str, ...] = (JSON, MULTIPART),
) -> Body:
    async def run(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> Body:
        with Reservation(BodyBudget(limit, 1)) as reservation:
            allowance = Allowance(media_types, limit, has_files=MULTIPART in media_types)
            return await receive_body(receive, media_type, media_type + "; boundary=x", length, allowance, reservation)

    return anyio.run(run, caller.receive)


@pytest.mark.parametrize("pieces", [(b"[1]",), (b"[", b"1", b"]"), (b"[1]", b""), (b"", b"[1]")])
def test_receive_body_joins_chunks(pieces: tuple[bytes, ...]) -> None:
    assert received(Caller(*pieces)).value == [1]


def test_receive_body_accepts_exactly_its_limit() -> None:
    assert received(Caller(b"[1]"), length=3, limit=3).value == [1]
    assert received(Caller(b"[", b"1]"), limit=3).value == [1]


def test_receive_body_refuses_an_announced_body_before_it_is_sent() -> None:
    caller = Caller(b"[1]")
    with pytest.raises(TooLarge, match="at most 2 bytes"):
        received(caller, length=3, limit=2)
    assert caller.reads == 0


def test_receive_body_stops_at_the_chunk_that_exceeds_the_limit() -> None:
    caller = Caller(b"[1", b"2]", b"more", b"and more")
    with pytest.raises(TooLarge):
        received(caller, limit=3)
    assert caller.reads == 2


def test_receive_body_does_not_trust_a_length_that_is_too_small() -> None:
    with pytest.raises(TooLarge):
        received(Caller(b"[1,2,3]"), length=1, limit=3)


@pytest.mark.parametrize("media_type", [JSON, MULTIPART])
def test_receive_body_reports_a_disconnected_caller(media_type: str) -> None:
    with pytest.raises(Invalid) as caught:
        received(Caller(b"[1", goes_away=True), media_type)
    (violation,) = caught.value.violations
    assert violation == Violation("body", "must be complete; the connection was closed before")


@pytest.mark.parametrize(
    "size", [SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1]
)
def test_receive_body_handles_bodies_around_its_thresholds(size: int) -> None:
    empty = json.dumps({"base64Data": "YQ==", "text": ""}).encode()
    text = json.dumps({"base64Data": "YQ==", "text": "x" * (size - len(empty))}).encode()
    assert len(text) == size
    for piece in (size, 100_000):
        caller = Caller(*(text[start : start + piece] for start in range(0, size, piece)))
        body = received(caller, limit=size)
        assert len(body.value["text"]) == size - len(empty)
        contents = body.contents.get(body.value["base64Data"])
        assert body.value["base64Data"] == "YQ==" or (contents is not None and contents.data == b"a")


def test_receive_body_refuses_a_large_body_that_is_not_json_while_it_is_sent() -> None:
    caller = Caller(*[b"[" + b"0," * BATCH_BYTES] * 3, b"]")
    with pytest.raises(Invalid):
        received(caller, limit=10**9)
    assert caller.reads < 4


def test_receive_body_extracts_the_content_of_large_bodies() -> None:
    data = bytes(range(256)) * 10_000
    text = json.dumps({"base64Data": base64.b64encode(data).decode()}).encode()
    body = received(Caller(*(text[start : start + 65536] for start in range(0, len(text), 65536))), limit=len(text))
    assert body.contents[body.value["base64Data"]].data == data


FORM = b'--x\r\nContent-Disposition: form-data; name="message"\r\n\r\n{}\r\n--x\r\n' + (
    b'Content-Disposition: form-data; name="attachments"; filename="a"\r\n\r\n%s\r\n--x' % (b"x" * SMALL_BYTES)
)


@pytest.mark.parametrize(
    ("media_type", "pieces"),
    [
        (JSON, [b'{"attachments":[{"base64Data":"', b"AAAA" * SMALL_BYTES, b'"}]}']),
        (MULTIPART, [FORM, b"--\r\n"]),
        (MULTIPART, [FORM, b"\r\nContent-Disposition: form-data; name=other\r\nno header"]),
        (MULTIPART, [FORM]),
    ],
    ids=["JSON", "form", "invalid", "unfinished"],
)
def test_contents_are_freed_without_a_collection_of_cycles(media_type: str, pieces: list[bytes]) -> None:
    reader = JsonReader() if media_type == JSON else MultipartReader(f"{media_type}; boundary=x")
    with suppress(Invalid):
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
    reference = weakref.ref(reader)
    gc.disable()
    try:
        del reader
        assert reference() is None
    finally:
        gc.enable()
