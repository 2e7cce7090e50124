"""Stop Open-E while 1,000 callers publish: it accepts connections and never answers. Then let it continue.

Each caller has one message with an `Idempotency-Key`, and repeats it after `Retry-After` until it gets a 201. Stopped
means frozen: after it continues, the mock also works on the requests that the service has given up. Checked are:

- in doubt are at most the calls that begin before the circuit of each process opens, and one probe at a time;
- while it is open, callers are refused at once with `Retry-After`, and nothing is stored or sent for them;
- health and metrics show it;
- after Open-E answers, every message is on its case exactly once and readable, and none is in doubt.

Run: python -m benchmarks.hanging_open_e [--database SQLite] [--processes 2] [--seconds 75] [--callers 1000]. The exit
code is 1 if a check fails.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import uvloop

from benchmarks.kill_publish import find_messages
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings
from budkavle.settings import Settings
from tests.publication_model import Content, PublicationModel, build_body

CASES = 40
PROCESSES = (1, 2)
CALL_SECONDS = 120
RECOVERY_SECONDS = 120
"""Maximum seconds after Open-E continues until every caller has its 201 and no message is in doubt."""

REFUSED_SECONDS = 1.0
"""Maximum seconds of 99 % of the refusals while the circuit is open."""

_DEFAULTS = Settings.model_fields
THREADS = _DEFAULTS["open_e_threads"].default
TIMEOUT_SECONDS = _DEFAULTS["open_e_connect_timeout"].default + _DEFAULTS["open_e_read_timeout"].default
PROBE_SECONDS = _DEFAULTS["open_e_pause_seconds"].default
RUNNING = THREADS + THREADS // 4 + _DEFAULTS["open_e_pause_after"].default
"""Maximum calls of a process that begin before its circuit opens: those that have a slot, and one for each timeout."""

_IN_DOUBT = re.compile(r'^budkavle_messages_in_doubt\{state="\w+"\} ([0-9.]+)$', re.MULTILINE)
_OPEN = re.compile(r'^budkavle_open_e_paused\{open_e="external"\} 1', re.MULTILINE)


@dataclass
class Callers:
    """Callers that repeat their message until it is published."""

    service: Program
    model: PublicationModel = field(default_factory=PublicationModel)
    answers: list[tuple[float, float, int, bool]] = field(default_factory=list)
    """Begin and end by the monotonic clock, status, and whether the answer has `Retry-After`."""
    causes: Counter[str] = field(default_factory=Counter)
    """The texts of the answers with 503."""

    async def run(self, count: int) -> None:
        """Return when each caller has its 201."""
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(self.service.url, connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._publish(session, number) for number in range(count)))

    async def _publish(self, session: aiohttp.ClientSession, number: int) -> None:
        content = Content(number % CASES + 1, f"Message {number}")
        headers = {"apikey": self.service.key, "Idempotency-Key": f'"key-{number}"'}
        status = 0
        while status != 201:
            post, began = self.model.begin(content, f"key-{number}"), time.monotonic()
            async with session.post("/webmessages", json=build_body(content), headers=headers) as response:
                text = await response.text()
            status, after = response.status, response.headers.get("Retry-After")
            self.model.end(post, status, response.headers.get("Location"))
            self.answers.append((began, time.monotonic(), status, after is not None))
            if status == 503:
                self.causes[json.loads(text)["detail"]] += 1
            if status != 201:
                await asyncio.sleep(float(after or 1) * random.uniform(1, 2))


@dataclass
class Seen:
    """What metrics and health showed. `open` is the first and the last time at which metrics showed an open circuit."""

    open: list[float] = field(default_factory=list)
    in_doubt: int = 0
    settled: float = 0.0
    health: Counter[str] = field(default_factory=Counter)


async def _watch(service: Program, seen: Seen) -> None:
    async with aiohttp.ClientSession(service.url, connector=aiohttp.TCPConnector(force_close=True)) as session:
        while True:
            async with session.get("/metrics") as response:
                metrics = await response.text()
            async with session.get("/health/ready") as response:
                health = await response.json()
            now, in_doubt = time.monotonic(), int(sum(map(float, _IN_DOUBT.findall(metrics))))
            seen.in_doubt = max(seen.in_doubt, in_doubt)
            if in_doubt:
                seen.settled = 0.0
            elif not seen.settled:
                seen.settled = now
            if _OPEN.search(metrics):
                seen.open = [*seen.open[:1], now]
                seen.health[str(health["components"]["openEExternal"])] += 1
            await asyncio.sleep(0.5)


@contextmanager
def _stopped(program: Program) -> Iterator[None]:
    os.kill(program.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(program.pid, signal.SIGCONT)


async def _run(stage: Stage, database: str, processes: int, seconds: float, count: int) -> list[str]:
    mock = stage.start_mock_open_e()
    service = stage.start_service(stage.create_database(database), processes=processes, **open_e_settings(mock))
    callers, seen = Callers(service), Seen()
    watching = asyncio.create_task(_watch(service, seen))
    with _stopped(mock):
        posting = asyncio.create_task(callers.run(count))
        await asyncio.wait([posting, watching], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    continued = time.monotonic()
    async with asyncio.timeout(RECOVERY_SECONDS):
        await posting
    published = time.monotonic()
    while not seen.settled and time.monotonic() - continued < RECOVERY_SECONDS:  # noqa: ASYNC110  # Metrics have no event.
        await asyncio.sleep(0.2)
    watching.cancel()
    await asyncio.wait([watching])
    found = await asyncio.to_thread(find_messages, service, mock)
    begun, ended = seen.open[:1] or [0.0], seen.open[-1:] or [0.0]
    refused = [end - begin for begin, end, status, _ in callers.answers if status == 503 and begin > begun[0] + 1]
    first = min(end for _, end, status, _ in callers.answers if status == 201)
    p99 = sorted(refused)[len(refused) * 99 // 100] if refused else 0.0
    most = processes * (RUNNING + 1 + int(seconds // (TIMEOUT_SECONDS + PROBE_SECONDS)))
    statuses = Counter(status for _, _, status, _ in callers.answers)
    answers = ", ".join(f"{number} with {status}" for status, number in sorted(statuses.items()))
    print(
        f"| {database} | {processes} | {seen.in_doubt} ({most}) | {begun[0] - continued + seconds:.0f} | "
        f"{len(refused)} | {p99 * 1000:.0f} | {answers} | "
        f"{first - continued:.1f} | {ended[0] - continued:.1f} | {published - continued:.0f} | "
        f"{seen.settled - continued:.0f} | {dict(seen.health)} |",
        flush=True,
    )
    violations = callers.model.check(found)
    if seen.in_doubt > most:
        violations.append(f"{seen.in_doubt} messages in doubt, at most {most} are expected")
    if not refused or p99 > REFUSED_SECONDS:
        violations.append(f"{len(refused)} refusals, 99 % of them within {p99:.1f} s")
    if len(callers.causes) > 1:
        violations.append(f"other causes of 503 than the open circuit: {dict(callers.causes)}")
    if missing := sum(status == 503 and not has for _, _, status, has in callers.answers):
        violations.append(f"{missing} answers 503 without Retry-After")
    if not seen.health["PAUSED"]:
        violations.append("health did not show the open circuit")
    if traces := service.count_tracebacks():
        violations.append(f"{traces} traces in the log")
    return violations


def main() -> None:
    parser = argparse.ArgumentParser(description="An Open-E that hangs.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--processes", type=int, action="append", help="Of the service; by default 1, and then 2.")
    parser.add_argument("--seconds", type=float, default=75, help="How long Open-E hangs.")
    parser.add_argument("--callers", type=int, default=1000)
    arguments = parser.parse_args()
    print(
        f"### An Open-E that hangs\n\n{arguments.callers} callers, {arguments.seconds:g} s; seconds after Open-E hung, "
        "or after it continued.\n\n| | processes | most in doubt | circuit open after s | refused at once | p99 ms | "
        "all answers | first 201 after s | closed after s | all published after s | none in doubt after s | "
        "health while open |\n|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|---|"
    )
    faults = []
    for database in arguments.database or DATABASES:
        for processes in arguments.processes or PROCESSES:
            with Stage() as stage:
                found = uvloop.run(_run(stage, database, processes, arguments.seconds, arguments.callers))
            faults += [f"{database}, {processes} processes: {fault}" for fault in found]
    print("\n" + ("\n".join(["FAILED:", *faults]) if faults else "No message was lost, doubled or left in doubt."))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
