"""A cheap load generator with keep-alive connections and pre-rendered requests, in a separate process.

Each connection sends its next request as soon as the previous response is complete. `run_load` starts the process. Run
as a module, it reads the job as JSON from standard input and prints the result as JSON.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

ROOT = Path(__file__).parent.parent

KEPT_LOCATIONS = 2000
MOST_BREAKS = 1000

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: *([^\r]+)", re.IGNORECASE)


@dataclass
class Job:
    """The requests to send. `most` limits their number; requests of the warm-up are sent but not counted."""

    port: int
    requests: list[str]
    connections: int
    seconds: float
    warm_up: float = 0.0
    most: int = 1_000_000_000


@dataclass
class Result:
    """The responses. Times are in milliseconds; `broken` counts connections that closed without a response."""

    requests: int = 0
    seconds: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    locations: list[str] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def refused(self) -> int:
        """Return the number of responses other than 2xx, and of requests without a response."""
        return self.broken + sum(count for status, count in self.statuses.items() if not status.startswith("2"))


def build_request(method: str, path: str, key: str, body: str = "") -> str:
    """Return a raw request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\napikey: {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}\r\n{body}"


def create_requests(key: str, case: int | None = None, count: int = 64) -> list[str]:
    """Return requests that create messages with one reference each, with or without a case."""
    bodies = (
        {
            "partyId": f"81471222-5798-11e9-ae24-{number:012x}",
            "message": "Your application has been received. We will write again when it has been read.",
            "externalReferences": [
                {"key": "errandNumber", "value": f"A-2026-{number}"}
                if case is None
                else {"key": "flowInstanceId", "value": str(case)}
            ],
        }
        for number in range(count)
    )
    return [build_request("POST", "/webmessages", key, json.dumps(body)) for body in bodies]


def run_load(job: Job) -> Result:
    """Run a job in another process and return its result."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asdict(job)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=job.seconds + job.warm_up + 120,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"the load generator failed: {result.stderr[-800:]}")
    return Result(**json.loads(result.stdout))


class _Load:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = [text.encode() for text in job.requests]
        self._sent = 0
        self._open = 0
        self._times: list[float] = []
        self._statuses: Counter[int] = Counter()
        self._locations: list[bytes] = []
        self._broken = 0
        self._begins = self._ends = self._last = 0.0
        self._done = asyncio.Event()
        self._reconnecting: set[asyncio.Task[None]] = set()

    async def run(self) -> Result:
        self._begins = self._last = time.perf_counter() + self._job.warm_up
        self._ends = self._begins + self._job.seconds
        await asyncio.gather(*(self._connect() for _ in range(self._job.connections)))
        async with asyncio.timeout(self._job.warm_up + self._job.seconds + 60):
            await self._done.wait()
        times = sorted(self._times) or [0.0]
        return Result(
            requests=len(self._times),
            seconds=self._last - self._begins,
            p50=times[len(times) // 2] * 1000,
            p99=times[len(times) * 99 // 100] * 1000,
            worst=times[-1] * 1000,
            statuses={str(status): count for status, count in self._statuses.items()},
            broken=self._broken,
            locations=[location.decode() for location in self._locations],
        )

    def get_next_request(self) -> bytes | None:
        if self._sent >= self._job.most or time.perf_counter() >= self._ends:
            return None
        self._sent += 1
        return self._requests[self._sent % len(self._requests)]

    def count_response(self, sent: float, head: bytes) -> None:
        now = time.perf_counter()
        if sent < self._begins:
            return
        self._times.append(now - sent)
        self._last = now
        self._statuses[int(head[9:12])] += 1
        if len(self._locations) < KEPT_LOCATIONS and (location := _LOCATION.search(head)):
            self._locations.append(location[1])

    def count_opened(self) -> None:
        self._open += 1

    def count_closed(self, *, waiting: bool) -> None:
        self._open -= 1
        if waiting:
            self._broken += 1
            if self._broken < MOST_BREAKS and time.perf_counter() < self._ends:
                task = asyncio.get_running_loop().create_task(self._connect())
                self._reconnecting.add(task)
                task.add_done_callback(self._reconnecting.discard)
                return
        if self._open == 0:
            self._done.set()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._job.port)


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # It is no other kind.
        self._transport = transport
        self._load.count_opened()
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end]
        length = _LENGTH.search(head)
        if length is None:
            # Neither the service nor a peer sends such a response to a small request.
            self._transport.abort()
            return
        if len(self._buffer) < end + 4 + int(length[1]):
            return
        self._buffer = b""
        self._waiting = False
        self._load.count_response(self._sent, head)
        self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        self._load.count_closed(waiting=self._waiting)

    def _send(self) -> None:
        request = self._load.get_next_request()
        if request is None:
            self._transport.close()
            return
        self._waiting = True
        self._sent = time.perf_counter()
        self._transport.write(request)


async def _main(job: Job) -> Result:
    return await _Load(job).run()


if __name__ == "__main__":
    result = asdict(uvloop.run(_main(Job(**json.load(sys.stdin)))))
    # With PYTHONUNBUFFERED, standard output does not repeat a write that was interrupted before its end.
    with open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False) as output:
        json.dump(result, output)
