"""Webhook receivers for benchmarks. The path selects the behaviour, and every attempt is logged.

Paths: `/ok/MS` responds with 200 after that number of milliseconds; `/flaky` responds with 500, resets the connection
or sends a malformed response on some attempts and responds with 200 on others; `/gone` responds with 404 to every event
whose version ends with 7; `/operator` accepts events for operators. Before each of them, `/gateway` requires a key and
a valid access token. `/token/SECONDS` issues tokens, which become invalid together after each period of that length.

Run: python -m benchmarks.receiver PORT LOG HOST ... The log has a line for each attempt: time, path, delivery, key,
SHA-256 of the body, sequence, status (0 without a response).
"""

import asyncio
import hashlib
import json
import socket
import struct
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import uvloop

ANSWERS = {status: b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status for status in (200, 404, 500)}
ANSWERS[401] = b'HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer error="invalid_token"\r\nContent-Length: 2\r\n\r\nno'
GATEWAY_KEY = "the-key-of-the-gateway"
RESET, GARBAGE = 1, 2


class ReceiverProtocol(asyncio.Protocol):
    """One connection of a worker."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._data = b""
        self._seen: dict[str, int] = SEEN

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if len(body) < int(headers.get("content-length", "0")):
            return
        self._data = b""
        method, path, _ = lines[0].split(" ")
        if method == "GET":
            self._transport.write(ANSWERS[200])
            return
        if path.startswith("/token/"):
            self._issue_token(int(path.rpartition("/")[2]))
            return
        is_authorised = not path.startswith("/gateway/") or _is_authorised(headers)
        self._take(path, headers.get("webhook-id", ""), body, is_authorised=is_authorised)

    def _issue_token(self, seconds: int) -> None:
        token = {"access_token": _build_token(seconds), "token_type": "Bearer", "expires_in": 3600}
        body = json.dumps(token).encode()
        head = b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)

    def _take(self, path: str, delivery: str, body: bytes, *, is_authorised: bool) -> None:
        event = json.loads(body)
        *_, kind, detail = ["", *path.split("/")]
        milliseconds = int(detail) if kind == "ok" else 0
        status = 200
        if detail == "gone" and event["versionIdentifier"].endswith("7"):
            status = 404
        if detail == "flaky":
            # Two of three events fail on their first attempt, each in a different way.
            attempt = self._seen[delivery] = self._seen.get(delivery, 0) + 1
            way = zlib.crc32(delivery.encode()) % 4
            status = 200 if attempt > 1 else (500, RESET, GARBAGE, 200)[way]
        if not is_authorised:
            status, milliseconds = 401, 0
        # Events of web messages have neither a person nor a version, and those for operators only a type.
        key = event.get("identifikation") or event.get("eksternIdentifier") or event["type"]
        body_hash = hashlib.sha256(body).hexdigest()
        attempt_fields = (path, delivery, key, body_hash, event.get("versionIdentifier", "0"), status)
        if milliseconds:
            asyncio.get_running_loop().call_later(milliseconds / 1000, self._respond, attempt_fields)
        else:
            self._respond(attempt_fields)

    def _respond(self, attempt_fields: tuple[str, str, str, str, str, int]) -> None:
        *fields, status = attempt_fields
        if self._transport.is_closing():
            # The worker has died, so it does not receive the response.
            status = 0
        print(f"{time.time():.4f}", *fields, status if status >= 100 else 0, file=self._log, sep=" ")
        if status == RESET:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif status == GARBAGE:
            self._transport.write(b"\x00\xff not HTTP\r\n\r\n")
            self._transport.close()
        elif status:
            self._transport.write(ANSWERS[status])


SEEN: dict[str, int] = {}


def _build_token(seconds: int) -> str:
    """Return the token of the present period, which a restarted receiver knows too."""
    return f"token-{seconds}-{time.time() // seconds:.0f}"


def _is_authorised(headers: dict[str, str]) -> bool:
    token = headers.get("authorization", "").removeprefix("Bearer ")
    return headers.get("x-api-key") == GATEWAY_KEY and token == _build_token(int(token.split("-")[1]))


async def _serve(port: int, log: Path, hosts: list[str]) -> None:
    # Flush after each line, so that no line is lost when this process is killed.
    with log.open("a", buffering=1) as lines:
        server = await asyncio.get_running_loop().create_server(
            lambda: ReceiverProtocol(lines), hosts, port, backlog=1000
        )
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
