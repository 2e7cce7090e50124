"""Open 10,000 idle or half-open connections in steps while another caller posts a message every second.

The connections come from a separate process: one third sends nothing, one third half a head, one third half a body.
Each post uses a new connection. Every post must get a 201, once with the default connection limit, where the service
closes the connections that have waited longest, and once with a limit that admits all.

Run: python -m benchmarks.idle_connections [--connections 10000] [--seconds 40] [--database SQLite]. The exit code is 1
if a post gets no 201.
"""

import argparse
import http.client
import json
import resource
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.large_bodies import forget_peak, read_resident_mb
from benchmarks.load import ROOT, create_requests
from benchmarks.stage import DATABASES, Program, Stage
from budkavle.settings import Settings

STEP = 500
"""Connections that are opened between two delays."""

STEP_SECONDS = 0.5
"""Delay of the opener after `STEP` connections, so that posts compete with idle connections, not with handshakes."""

POST_SECONDS = 1.0
"""Time from one post to the next, so that most of them meet connections that were already idle."""

CONNECT_SECONDS = 20.0

HEAD = b"POST /webmessages HTTP/1.1\r\nHost: 127.0.0.1\r\napikey: %s\r\nContent-Type: application/json\r\n"
DEFAULT_LIMIT: int = Settings.model_fields["max_connections"].default


@dataclass
class Posts:
    """Results of the caller: responses by status (0: none), and their times in milliseconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.statuses.total() - self.statuses[201]


def main() -> None:
    parser = argparse.ArgumentParser(description="Posts among idle and half-open connections.")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=40, help="Duration of the posts per row.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--open", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open is not None:
        _open(arguments.open, arguments.connections)
        return
    print(f"### {arguments.connections} idle or half-open connections\n")
    print(
        "| | limit | opened | not accepted | closed by the service | posts | 201 | slowest post, ms | MB above idle |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    failed = 0
    for database in arguments.database or DATABASES:
        for limit in (DEFAULT_LIMIT, arguments.connections + STEP):
            failed += _measure(database, limit, arguments.connections, arguments.seconds)
    print(f"\n{f'FAILED: {failed} posts without 201' if failed else 'Every post returned 201.'}")
    sys.exit(1 if failed else 0)


def _measure(database: str, limit: int, connections: int, seconds: float) -> int:
    """Print a row and return the number of failed posts."""
    with Stage() as stage:
        service = stage.start_service(stage.create_database(database), max_connections=limit, log_level="warning")
        message = create_requests(service.key, count=1)[0].partition("\r\n\r\n")[2]
        _post(service, message, Posts())
        idle = read_resident_mb(service)
        forget_peak(service)
        opener = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.idle_connections",
                "--open",
                str(service.port),
                "--connections",
                str(connections),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        posts = Posts()
        try:
            assert opener.stdin is not None
            opener.stdin.write(f"{service.key}\n")
            opener.stdin.flush()
            start = time.monotonic()
            while (elapsed := time.monotonic() - start) < seconds:
                _post(service, message, posts)
                time.sleep(max(0.0, POST_SECONDS - (time.monotonic() - start - elapsed)))
            peak = read_resident_mb(service, peak=True)
            output, _ = opener.communicate(timeout=60)
        finally:
            opener.kill()
            opener.wait()
    opened = json.loads(output)
    figures = (opened["opened"], opened["refused"], opened["closed"], posts.statuses.total(), posts.statuses[201])
    print(
        f"| {database} | {limit} | {' | '.join(map(str, figures))} | {max(posts.times):.0f} | {peak - idle:.0f} |",
        flush=True,
    )
    return posts.failed


def _post(service: Program, message: str, posts: Posts) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=CONNECT_SECONDS)
    headers = {"apikey": service.key, "Content-Type": "application/json"}
    start = time.perf_counter()
    try:
        connection.request("POST", "/webmessages", message, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    posts.statuses[status] += 1
    posts.times.append((time.perf_counter() - start) * 1000)


def _open(port: int, count: int) -> None:
    """Open connections, keep them until standard input ends, and print their states.

    The first line of standard input is an API key.
    """
    key = sys.stdin.readline().strip().encode()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    starts = (b"", b"GET /health/live HTTP/1.1\r\nHost: ", HEAD % key + b"Content-Length: 100\r\n\r\n{")
    opened: list[socket.socket] = []
    refused = 0
    for number in range(count):
        if number and number % STEP == 0:
            time.sleep(STEP_SECONDS)
        try:
            connection = socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS)
            opened.append(connection)
            connection.sendall(starts[number % len(starts)])
        except (BrokenPipeError, ConnectionResetError):
            # The service has already closed the connection.
            pass
        except OSError:
            refused += 1
    sys.stdin.read()
    print(json.dumps({"opened": len(opened), "refused": refused, "closed": sum(map(_is_closed, opened))}))


def _is_closed(connection: socket.socket) -> bool:
    """Return whether the service has closed a connection: its data and its end have arrived."""
    poll = select.poll()
    poll.register(connection, select.POLLIN | select.POLLRDHUP)
    return any(event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


if __name__ == "__main__":
    main()
