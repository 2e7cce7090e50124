"""JWK Sets at https URLs: fetched in the background, whatever the server does."""

import asyncio
import gzip
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from oauth2.key_sets import MAX_BYTES, KeySetUnusable, parse_key_set
from oauth2.remote_key_sets import FetchTimes, RemoteKeySet
from openapi.observation.logs import set_up_logs
from tests.certificates import Authority
from tests.oauth2.key_set_server import (
    Respond,
    create_certificate,
    running_key_set_server,
    send,
    send_keys,
    send_raw,
    stay_silent,
)
from tests.tokens import create_key_set, create_token_key
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

KEYS = json.dumps(create_key_set())
OLD, NEW = create_token_key("ES256", "old"), create_token_key("ES256", "new")
SOON = FetchTimes(shortest_age=0.02, first_retry=0.02, longest_retry=0.04)
"""Times with which a set is fetched again within milliseconds."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def fetch_once(url: str, context: ssl.SSLContext | None, **options: Any) -> RemoteKeySet:
    """Return the source after its first fetch."""
    source = RemoteKeySet(url, tls=context, **options)
    source.start()
    await source.wait_for_first()
    return source


async def test_keys_are_fetched_at_the_start(authority: Authority) -> None:
    async with running_key_set_server(create_certificate(authority)) as server:
        source = await fetch_once(server.url, authority.create_context())
        keys = source.get_current()
        source.stop()
    assert keys is not None
    assert [key.key_id for key in keys.keys] == ["key-1"]
    (request,) = server.requests
    assert request.startswith("GET /jwks.json HTTP/1.1\r\n")
    assert "cookie" not in request.lower()


@pytest.mark.parametrize(
    ("headers", "shortest", "longest"),
    [
        ((), 420, 540),
        (("Cache-Control: max-age=120",), 84, 108),
        (("Cache-Control: public, MAX-AGE=120, must-revalidate",), 84, 108),
        (('Cache-Control: max-age="120"',), 84, 108),
        (("Cache-Control: public", "Cache-Control: max-age=120"), 84, 108),
        (("Cache-Control: max-age=0",), 42, 54),
        (("Cache-Control: max-age=999999999",), 2520, 3240),
        (("Cache-Control: max-age=9999999999999",), 420, 540),
        (("Cache-Control: s-maxage=120",), 420, 540),
        (("Cache-Control: max-age=-1",), 420, 540),
        (("Cache-Control: no-store",), 42, 54),
        (("Cache-Control: no-cache, max-age=120",), 42, 54),
    ],
)
async def test_set_is_fetched_again_before_it_expires(
    authority: Authority, headers: tuple[str, ...], shortest: float, longest: float
) -> None:
    """The age is that of `max-age` within one minute and one hour, and the fetch comes at 70 to 90 % of it."""
    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = send_keys(create_key_set(), *headers)
        source = await fetch_once(server.url, authority.create_context(), monotonic=Clock())
        assert shortest <= source.get_retry_seconds() <= longest
        source.stop()


async def test_rotated_keys_are_fetched_in_the_background(authority: Authority) -> None:
    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = send_keys(create_key_set(OLD), "Cache-Control: max-age=0")
        source = await fetch_once(server.url, authority.create_context(), times=SOON)
        assert find_key_ids(source) == ["old"]
        server.respond = send_keys(create_key_set(OLD, NEW), "Cache-Control: max-age=0")
        await wait_until(lambda: find_key_ids(source) == ["old", "new"])
        server.respond = send_keys(create_key_set(NEW), "Cache-Control: max-age=0")
        await wait_until(lambda: find_key_ids(source) == ["new"])
        source.stop()


def find_key_ids(source: RemoteKeySet) -> list[str | None]:
    keys = source.get_current()
    return [] if keys is None else [key.key_id for key in keys.keys]


def redirect(status: int, location: str) -> Respond:
    return send("", f"Location: {location}", status=f"{status} Moved")


BAD_RESPONSES: dict[str, Respond] = {
    "an error": send(KEYS, status="500 Internal Server Error"),
    "not found": send(KEYS, status="404 Not Found"),
    "accepted": send(KEYS, status="202 Accepted"),
    "no content": send_raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "partial content": send(KEYS, status="206 Partial Content"),
    "not modified": send_raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "a redirect": redirect(302, "/other.json"),
    "a permanent redirect": redirect(308, "/other.json"),
    "a redirect to http": redirect(301, "http://127.0.0.1:1/jwks.json"),
    "an HTML page": send("<html><body>Log in</body></html>", "Content-Type: text/html"),
    "nothing": send(""),
    "null": send("null"),
    "a list": send("[]"),
    "an empty object": send("{}"),
    "no keys": send('{"keys":[]}'),
    "keys that are an object": send('{"keys":{}}'),
    "keys that are no objects": send('{"keys":[1,"2",null,[]]}'),
    "only a symmetric key": send('{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}'),
    "keys twice": send('{"keys":[],' + KEYS.removeprefix("{")),
    "half of the keys": send(KEYS[: len(KEYS) // 2]),
    "not UTF-8": send(KEYS.encode("utf-16")),
    "deep nesting": send('{"keys":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "compressed": send(gzip.compress(KEYS.encode()), "Content-Encoding: gzip"),
    "more than a megabyte": send(" " * MAX_BYTES + KEYS),
    "an endless body": send_raw(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536, forever=True),
    "endless chunks": send_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", forever=True),
    "an endless head": send_raw(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n", forever=True),
    "endless interim responses": send_raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", forever=True),
    "a body that is cut off": send_raw(f"HTTP/1.1 200 OK\r\nContent-Length: {len(KEYS) + 1}\r\n\r\n{KEYS}".encode()),
    "no HTTP": send_raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "an end before the response": send_raw(),
    "silence": stay_silent,
    "silence after the head": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"", forever=True),
}


@pytest.mark.parametrize("name", BAD_RESPONSES)
async def test_bad_response_is_a_failure_and_keeps_the_last_good_set(authority: Authority, name: str) -> None:
    times = FetchTimes(timeout=0.5, shortest_age=0.02, first_retry=0.02, longest_retry=0.04)
    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = BAD_RESPONSES[name]
        source = await fetch_once(server.url, authority.create_context(), times=times)
        assert source.failures == 1
        assert (source.get_current(), source.get_age()) == (None, None)
        server.respond = send_keys(create_key_set(), "Cache-Control: max-age=0")
        await wait_until(lambda: find_key_ids(source) == ["key-1"])
        server.respond = BAD_RESPONSES[name]
        failures = source.failures
        await wait_until(lambda: source.failures > failures)
        assert find_key_ids(source) == ["key-1"]
        assert source.get_age() > 0
        source.stop()
        await wait_until(lambda: server.ended == len(server.requests))
    assert not [head for head in server.requests if "/other.json" in head]


async def test_endless_body_is_cut_off_at_the_limit(authority: Authority) -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while written < 100 * MAX_BYTES and not writer.is_closing():
            writer.write(b" " * 65536)
            await writer.drain()
            await asyncio.sleep(0)
            written += 65536

    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = flood
        source = await fetch_once(server.url, authority.create_context(), times=FetchTimes(timeout=60))
        assert source.failures == 1
        source.stop()
    # The buffers of both sides hold a few megabytes.
    assert written < 20 * MAX_BYTES


async def test_large_set_does_not_stop_the_event_loop(authority: Authority) -> None:
    # Points that are not on the curve.
    unusable = {"kty": "EC", "crv": "P-521", "x": 88 * "A", "y": 88 * "B"}
    text = json.dumps({"keys": 4500 * [unusable]})
    began = time.perf_counter()
    with pytest.raises(KeySetUnusable):
        parse_key_set(text.encode())
    duration = time.perf_counter() - began
    longest_wait = 0.0

    async def measure_waits() -> None:
        nonlocal longest_wait
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0)
            longest_wait = max(longest_wait, time.perf_counter() - before)

    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = send(text)
        measuring = asyncio.create_task(measure_waits())
        source = await fetch_once(server.url, authority.create_context(), times=FetchTimes(timeout=60))
        measuring.cancel()
        source.stop()
    assert source.failures == 1
    assert longest_wait < duration / 2


@pytest.fixture
def logged_warnings() -> Iterator[None]:
    """Log warnings, which tests usually omit."""
    set_up_logs("json", "warning")
    yield
    set_up_logs("json", "error")


@pytest.mark.usefixtures("logged_warnings")
async def test_log_does_not_quote_the_response(authority: Authority) -> None:
    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = send_raw(b"secret-of-another-service\r\n")
        with capture_logs() as lines:
            source = await fetch_once(server.url, authority.create_context())
        source.stop()
    [line] = lines
    assert line["event"] == "key_set_fetch_failed"
    assert "secret" not in str(line)


async def test_slow_response_ends_after_the_timeout(authority: Authority) -> None:
    """Each byte arrives in time, but the whole response does not."""

    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = trickle
        began = asyncio.get_running_loop().time()
        source = await fetch_once(server.url, authority.create_context(), times=FetchTimes(timeout=0.3))
        assert asyncio.get_running_loop().time() - began < 3
        assert source.failures == 1
        source.stop()


async def test_certificate_of_another_authority_is_a_failure(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    async with running_key_set_server(create_certificate(authority)) as server:
        source = await fetch_once(server.url, other.create_context())
        assert (source.failures, source.get_current(), server.requests) == (1, None, [])
        source.stop()


async def test_authorities_are_those_of_the_machine(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators add their own with the variable of OpenSSL."""
    async with running_key_set_server(create_certificate(authority)) as server:
        unknown = await fetch_once(server.url, None)
        assert (unknown.failures, server.requests) == (1, [])
        unknown.stop()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        source = await fetch_once(server.url, None)
        assert find_key_ids(source) == ["key-1"]
        source.stop()


async def test_certificate_of_another_host_is_a_failure(authority: Authority) -> None:
    async with running_key_set_server(authority.issue("other.example")) as server:
        source = await fetch_once(server.url, authority.create_context())
        assert (source.failures, source.get_current(), server.requests) == (1, None, [])
        source.stop()


async def test_server_that_is_down_is_tried_again(authority: Authority) -> None:
    certificate = create_certificate(authority)
    async with running_key_set_server(certificate) as server:
        url = server.url
    source = await fetch_once(url, authority.create_context(), times=SOON)
    await wait_until(lambda: source.failures >= 3)
    async with running_key_set_server(certificate, int(url.split(":")[2].split("/")[0])):
        await wait_until(lambda: find_key_ids(source) == ["key-1"])
    source.stop()


async def test_retries_back_off(authority: Authority) -> None:
    clock = Clock()
    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = send("", status="500 Error")
        source = RemoteKeySet(server.url, tls=authority.create_context(), monotonic=clock)
        delays = []
        for _ in range(6):
            clock.seconds += 100
            await source.look_for_new_keys()
            delays.append(source.get_retry_seconds())
        source.stop()
    assert [low <= delay <= high for delay, low, high in zip(delays, LOW, HIGH, strict=True)] == [True] * 6, delays


LOW, HIGH = (4, 8, 16, 32, 48, 48), (5, 10, 20, 40, 60, 60)


async def test_unknown_keys_cause_one_fetch_per_interval(authority: Authority) -> None:
    clock = Clock()
    async with running_key_set_server(create_certificate(authority)) as server:
        source = await fetch_once(server.url, authority.create_context(), monotonic=clock)
        for expected in (2, 2, 3):
            await asyncio.gather(*(source.look_for_new_keys() for _ in range(100)))
            assert len(server.requests) == expected
            clock.seconds += 15
        source.stop()


async def test_cancelled_caller_does_not_cancel_the_fetch(authority: Authority) -> None:
    released = asyncio.Event()
    send_at_last = send_keys(create_key_set())

    async def respond(writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await send_at_last(writer)

    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = respond
        source = RemoteKeySet(server.url, tls=authority.create_context())
        callers = [asyncio.create_task(source.look_for_new_keys()) for _ in range(2)]
        await wait_until(lambda: len(server.requests) == 1)
        callers[0].cancel()
        await asyncio.wait(callers[:1])
        released.set()
        await callers[1]
        assert find_key_ids(source) == ["key-1"]
        source.stop()


async def test_stop_ends_a_fetch(authority: Authority) -> None:
    async with running_key_set_server(create_certificate(authority)) as server:
        server.respond = stay_silent
        source = RemoteKeySet(server.url, tls=authority.create_context())
        source.start()
        await wait_until(lambda: len(server.requests) == 1)
        source.stop()
        await wait_until(lambda: server.ended == 1)
        await wait_until(lambda: len(asyncio.all_tasks()) <= 2)


def test_keys_over_http_are_rejected() -> None:
    with pytest.raises(ValueError, match="https only"):
        RemoteKeySet("http://localhost/jwks.json")
