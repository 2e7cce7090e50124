"""A cheap client for large requests and responses: bodies are prepared before, response bodies are discarded.

Run as a module in a separate process (`Client`): it reports when its body is ready, and sends the request on a line of
input.
"""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Self

from benchmarks.load import ROOT

FILES = 10
FILE_BYTES = 10 * 2**20
BOUNDARY = "9f86d081884c7d659a2feaa0c55ad015"
TIMEOUT_SECONDS = 120
REFERENCE = ("errandNumber", "A-2026-17")

Piece = bytes


@dataclass
class LargeResponse:
    """A response: status, bytes of the body, seconds from the first byte sent to the last byte received."""

    status: int
    size: int
    seconds: float
    location: str


class Client:
    """One large request, which is prepared on entering and sent by `send`."""

    def __init__(self, port: int, key: str, what: str, *, case: int | None = None) -> None:
        self._job = {"port": port, "key": key, "what": what, "case": case}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.large_client", json.dumps(self._job)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def send(self) -> LargeResponse:
        output, _ = self._process.communicate("send\n", timeout=TIMEOUT_SECONDS * 2)
        return LargeResponse(**json.loads(output))

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)


def build_message(case: int | None) -> str:
    """Return the JSON of a message without its attachments and without the closing brace."""
    reference = REFERENCE if case is None else ("flowInstanceId", str(case))
    body = {
        "message": "The decision, with all its appendices.",
        "externalReferences": [dict(zip(("key", "value"), reference, strict=True))],
    }
    return json.dumps(body)[:-1]


def _build_json_body(case: int | None) -> list[Piece]:
    encoded = base64.b64encode(os.urandom(FILE_BYTES))
    pieces = [f'{build_message(case)}, "attachments": ['.encode()]
    for number in range(FILES):
        comma = ", " if number else ""
        pieces += [f'{comma}{{"fileName": "{number}.bin", "base64Data": "'.encode(), encoded, b'"}']
    return [*pieces, b"]}"]


def _build_form_body(case: int | None) -> list[Piece]:
    data = os.urandom(FILE_BYTES)
    disposition = f"\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    pieces = [f'{disposition}"message"\r\nContent-Type: application/json\r\n\r\n{build_message(case)}}}'[2:].encode()]
    for number in range(FILES):
        head = f'{disposition}"attachments"; filename="{number}.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'
        pieces += [head.encode(), data]
    return [*pieces, f"\r\n--{BOUNDARY}--\r\n".encode()]


def _build_pieces(what: str, case: int | None, key: str) -> list[Piece]:
    if what.startswith("/"):
        return [f"GET {what} HTTP/1.1\r\nHost: 127.0.0.1\r\napikey: {key}\r\n\r\n".encode()]
    body = _build_json_body(case) if what == "JSON" else _build_form_body(case)
    kind = "application/json" if what == "JSON" else f"multipart/form-data; boundary={BOUNDARY}"
    head = (
        f"POST /webmessages HTTP/1.1\r\nHost: 127.0.0.1\r\napikey: {key}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {sum(map(len, body))}\r\n\r\n"
    )
    return [head.encode(), *body]


def _exchange(port: int, pieces: list[Piece]) -> LargeResponse:
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
        start = time.perf_counter()
        for piece in pieces:
            connection.sendall(piece)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65_536)
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]  # The service always sends it.
        size, scratch = len(rest), bytearray(2**20)
        while size < length:
            count = connection.recv_into(scratch)
            if not count:
                break
            size += count
        location = re.search(rb"(?i)location: *(\S+)", head)
        seconds = time.perf_counter() - start
    return LargeResponse(int(head[9:12]), size, seconds, location[1].decode() if location else "")


def _main() -> None:
    job = json.loads(sys.argv[1])
    pieces = _build_pieces(job["what"], job["case"], job["key"])
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(vars(_exchange(job["port"], pieces))))


if __name__ == "__main__":
    _main()
