"""Send small requests to a program continuously, and report the slowest response.

`watching` starts the probe in a separate process. Run as a module, it reads its targets as JSON from the first line of
standard input, reports when it starts, and prints its results when standard input ends.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.load import ROOT

INTERVAL_SECONDS = 0.01
SECONDS = 300


@dataclass
class ProbeResult:
    """Responses by target: their number, those other than 2xx, the slowest in milliseconds.

    `work` is the maximum processor time that the watched process used during one response, in milliseconds: the
    duration of the slowest response on an otherwise idle machine. `lag` is the maximum excess of the probe's own
    intervals in milliseconds, which the machine causes.
    """

    counts: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    lag: float = 0.0

    @property
    def slowest(self) -> float:
        return max(self.worst.values(), default=0.0)


@contextmanager
def watching(
    port: int, targets: Mapping[str, str], interval: float = INTERVAL_SECONDS, pid: int | None = None
) -> Iterator[ProbeResult]:
    """Send requests while the block runs, and fill in the results at its end. `targets` are requests by name.

    `interval` is the seconds between a response and the next request; `pid` is the process whose processor time
    is measured.
    """
    seen = ProbeResult()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.probe"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(
            json.dumps({"port": port, "targets": dict(targets), "interval": interval, "pid": pid}) + "\n"
        )
        process.stdin.flush()
        process.stdout.readline()
        yield seen
        output, _ = process.communicate(timeout=SECONDS)
        for name, value in json.loads(output).items():
            setattr(seen, name, value)
    finally:
        process.kill()
        process.wait(10)


async def _ask(job: Mapping[str, Any], name: str, seen: ProbeResult, stopped: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", job["port"])
    request = job["targets"][name].encode()
    pid: int | None = job["pid"]
    while not stopped.is_set():
        used = 0.0 if pid is None else _read_processor_milliseconds(pid)
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r")[0])
        await reader.readexactly(length)
        took = (time.perf_counter() - start) * 1000
        used = 0.0 if pid is None else _read_processor_milliseconds(pid) - used
        seen.work[name] = max(seen.work.get(name, 0.0), used)
        seen.counts[name] = seen.counts.get(name, 0) + 1
        seen.worst[name] = max(seen.worst.get(name, 0.0), took)
        seen.refused[name] = seen.refused.get(name, 0) + (not head.startswith(b"HTTP/1.1 2"))
        await asyncio.sleep(job["interval"])
    writer.close()


def _read_processor_milliseconds(pid: int) -> float:
    """Return the processor time of all current threads of a process."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # The thread may have ended in the meantime.
        with suppress(OSError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e6


async def _watch_self(interval: float, seen: ProbeResult, stopped: asyncio.Event) -> None:
    while not stopped.is_set():
        start = time.perf_counter()
        await asyncio.sleep(interval)
        seen.lag = max(seen.lag, (time.perf_counter() - start - interval) * 1000)


async def _main(job: Mapping[str, Any]) -> ProbeResult:
    seen, stopped = ProbeResult(), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)
    print("begun", flush=True)
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(
            _watch_self(job["interval"], seen, stopped),
            *(_ask(job, name, seen, stopped) for name in job["targets"]),
        )
    return seen


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_main(json.loads(sys.stdin.readline()))))))
