"""Profile the service during create, get and publish: py-spy's samples, by library.

`own` is the share of samples whose innermost frame is in that library; `within` also counts the functions that it
calls. Only samples of threads that hold or wait for the processor count.

Run: python -m benchmarks.time_profile [--database SQLite] [--seconds 5] [--functions 12]
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.load import ROOT, Job, build_request, create_requests, run_load
from benchmarks.stage import DATABASES, Program, Stage, open_e_settings

CONNECTIONS = 16
RATE = 200
CASE = 1068

_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^)]*?)(:\d+)?\)$")


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time goes.")
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--functions", type=int, default=12, help="How many single functions to list.")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--gil", action="store_true", help="Only samples of the thread that holds Python's lock.")
    arguments = parser.parse_args()
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists() and shutil.which("py-spy") is None:
        print("Left out: py-spy is not installed")
        return
    for database in arguments.database or DATABASES:
        with Stage() as stage:
            mock = stage.start_mock_open_e()
            service = stage.start_service(stage.create_database(database), **open_e_settings(mock))
            paths = run_load(Job(service.port, create_requests(service.key), 4, seconds=1)).locations
            loads = {
                "create": create_requests(service.key),
                "get": [build_request("GET", path, service.key) for path in paths],
                "publish": create_requests(service.key, CASE),
            }
            for name, requests in loads.items():
                job = Job(service.port, requests, arguments.connections, arguments.seconds + 1)
                stacks = _record(spy, service, job, arguments.seconds, ["--gil"] if arguments.gil else [])
                _print(f"{name}, {database}", stacks, arguments.functions)


def _record(spy: Path, service: Program, job: Job, seconds: int, options: list[str]) -> Counter[str]:
    """Return stacks (outermost frame first, separated by semicolons) with the number of their samples."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        output = Path(folder) / "stacks"
        load = pool.submit(run_load, job)
        command = [str(spy if spy.exists() else "py-spy"), "record", "--pid", str(service.pid), "--format", "raw"]
        command += [
            "--output",
            str(output),
            "--duration",
            str(seconds),
            "--rate",
            str(RATE),
            "--threads",
            "--nonblocking",
            *options,
        ]
        subprocess.run(command, capture_output=True, timeout=seconds + 60, check=True)
        result = load.result()
        print(f"\n{result.per_second:.0f} requests/s while it was watched, {result.refused} not 2xx")
        stacks: Counter[str] = Counter()
        for line in output.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            # py-spy reports idle threads of a pool as busy.
            if (
                ";wait (threading.py" not in f";{stack.rpartition(';')[2]}"
                and "Condition.wait" not in stack.rpartition(";")[2]
            ):
                stacks[stack] += int(count)
    return stacks


def _print(title: str, stacks: Counter[str], functions: int) -> None:
    total = sum(stacks.values()) or 1
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    own_functions: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for stack, count in stacks.items():
        thread, *frames = stack.split(";")
        threads[re.sub(r"[0-9x-]+|\d+", "", thread).strip()] += count
        places = [_name_place(frame) for frame in frames]
        if not places:
            continue
        own[places[-1]] += count
        own_functions[re.sub(r":\d+\)$", ")", frames[-1]).replace(f"{ROOT}/", "")] += count
        for place in set(places):
            within[place] += count
    print(f"\n#### {title}\n\n| library | own % | within % |\n|---|--:|--:|")
    for place, count in own.most_common(18):
        print(f"| {place} | {100 * count / total:.1f} | {100 * within[place] / total:.1f} |")
    print(f"\n| function | own % |\n|---|--:|\n{_render_rows(own_functions.most_common(functions), total)}")


def _render_rows(counts: Iterable[tuple[str, int]], total: int) -> str:
    return "\n".join(f"| `{name}` | {100 * count / total:.1f} |" for name, count in counts)


def _name_place(frame: str) -> str:
    """Return the library of a frame: our package and module, or the name of another package."""
    found = _FRAME.match(frame)
    file = (found["file"] if found else frame).replace("\\", "/")
    for ours in ("budkavle", "handlers", "persistence", "domain", "oauth2", "open_e"):
        if re.match(rf"(.*/)?{ours}/[a-z_]+\.py", file):
            return f"{ours}/{file.rsplit('/', 1)[1]}"
    parts = file.split("/")
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return parts[0] if len(parts) > 1 and not file.startswith("/") else f"python: {parts[-1]}"


if __name__ == "__main__":
    main()
