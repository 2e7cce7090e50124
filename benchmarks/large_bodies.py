"""Post ten files of 10 MiB as JSON and as a form, get and download them; measure peak memory and delays of others.

Each step uses a new service process. Memory is the rise of its resident set above the idle value (MB of 10^6 bytes,
from the kernel's peak). Delays are those of a probe that requests /health/live and a small message every few
milliseconds.

Run: python -m benchmarks.large_bodies [--database SQLite] [--rounds 1]
"""

import argparse
import http.client
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.large_client import FILE_BYTES, FILES, REFERENCE, Client, LargeResponse
from benchmarks.load import build_request, create_requests
from benchmarks.probe import ProbeResult, watching
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings

AIM_WAIT_MS = 100
AIMS_MB = {"JSON": 450, "form": 120, "GET": 80, "download": 80}
CASE = 1068
SETTLE_SECONDS = 0.5
STEPS = (("JSON", None), ("JSON", CASE), ("form", None), ("form", CASE), ("GET", None), ("download", None))


@dataclass
class Step:
    """The measurements of one large request."""

    database: str
    name: str
    kind: str
    response: LargeResponse
    peak_mb: float
    kept_mb: float
    seen: ProbeResult

    def list_misses(self) -> list[str]:
        """Return the targets that are missed."""
        found = []
        if self.response.status not in {200, 201}:
            found.append(f"status {self.response.status}")
        if self.peak_mb > AIMS_MB[self.kind]:
            found.append(f"{self.peak_mb:.0f} MB instead of {AIMS_MB[self.kind]}")
        if self.seen.slowest > AIM_WAIT_MS:
            found.append(f"a wait of {self.seen.slowest:.0f} ms instead of {AIM_WAIT_MS}")
        if sum(self.seen.refused.values()):
            found.append("others were refused")
        return [f"{self.name}, {self.database}: {', '.join(found)}"] if found else []


def main() -> None:
    parser = argparse.ArgumentParser(description="Large bodies: memory and waits.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    print(f"### Large bodies\n\n{FILES} files of {FILE_BYTES // 2**20} MiB each.\n")
    print(
        "| | | response | s | peak MB above idle | retained MB | worst live ms | small GET ms | lag of the machine ms |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    steps = []
    with Stage() as stage:
        mock = stage.start_mock_open_e()
        for _ in range(arguments.rounds):
            for database in arguments.database or DATABASES:
                for step in _measure_all(stage, mock, database):
                    steps.append(step)
                    print(_render_row(step), flush=True)
    misses = [miss for step in steps for miss in step.list_misses()]
    print(f"\nAims, JSON {AIMS_MB['JSON']} MB, form {AIMS_MB['form']} MB, GET by id {AIMS_MB['GET']} MB, no waits")
    print(f"more than {AIM_WAIT_MS} ms: {'not met: ' + '; '.join(misses) if misses else 'met'}")


def _render_row(step: Step) -> str:
    cells = [
        step.name,
        step.database,
        str(step.response.status),
        f"{step.response.seconds:.2f}",
        f"{step.peak_mb:.0f}",
        f"{step.kept_mb:.0f}",
        f"{step.seen.worst.get('live', 0):.0f}",
        f"{step.seen.worst.get('get', 0):.0f}",
        f"{step.seen.lag:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _measure_all(stage: Stage, mock: Program, database: str) -> list[Step]:
    service = stage.start_service(stage.create_database(database), **open_e_settings(mock))
    steps = []
    for kind, case in STEPS:
        if steps:
            stage.stop(service)
            service = stage.restart(service)
        small = _warm_up(service)
        what = kind if kind in {"JSON", "form"} else _find_large_path(service, attachment=kind == "download")
        steps.append(_measure(service, database, kind, what, case, small))
    stage.stop(service)
    return steps


def _measure(service: Program, database: str, kind: str, what: str, case: int | None, small: str) -> Step:
    targets = {
        "live": build_request("GET", "/health/live", service.key),
        "get": build_request("GET", small, service.key),
    }
    with Client(service.port, service.key, what, case=case) as client:
        idle = read_resident_mb(service)
        forget_peak(service)
        with watching(service.port, targets) as seen:
            response = client.send()
        peak = read_resident_mb(service, peak=True)
        time.sleep(SETTLE_SECONDS)
        resident = read_resident_mb(service)
    place = {"JSON": "POST", "form": "POST", "GET": "", "download": ""}[kind]
    name = f"{place} {kind}{' to a case' if case else ''}".strip()
    return Step(database, name, kind, response, peak - idle, resident - idle, seen)


def _warm_up(service: Program) -> str:
    """Use every path once with little data, to measure only the large request. Return the path of a small message."""
    for case in (CASE, None):
        location = _call(service, create_requests(service.key, case, count=1)[0])[1]
        _call(service, build_request("GET", location, service.key))
    return location


def _find_large_path(service: Program, *, attachment: bool) -> str:
    path = f"/webmessages/external-references/{'/'.join(REFERENCE)}?limit=1"
    found = json.loads(_call(service, build_request("GET", path, service.key))[0])[0]
    path = f"/webmessages/{found['id']}"
    return f"{path}/attachments/{found['attachments'][0]['id']}" if attachment else path


def _call(service: Program, text: str) -> tuple[bytes, str]:
    """Send a raw request, and return the body and the Location of the response."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(text.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    if response.status not in {200, 201}:
        raise RuntimeError(f"the service responded with {response.status}: {body[:300]!r}")
    return body, response.headers.get("Location", "")


def read_resident_mb(program: Program, *, peak: bool = False) -> float:
    """Return the resident memory of a program, or its peak since `forget_peak`."""
    mark = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{program.pid}/status").read_text().splitlines():
        if line.startswith(mark):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no {mark} in /proc")


def forget_peak(program: Program) -> None:
    """Reset the kernel's peak to the current memory."""
    Path(f"/proc/{program.pid}/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
