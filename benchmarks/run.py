"""Run all benchmarks or all soak tests in sequence, and print one summary in Markdown.

Run: python -m benchmarks.run bench | soak
"""

import os
import platform
import signal
import subprocess
import sys
import time
from importlib.metadata import version

from benchmarks.load import ROOT

BENCHES = {
    "throughput": ([], 1500),
    "idempotency": ([], 240),
    "tokens": ([], 240),
    "start_up": ([], 240),
    "slow_open_e": ([], 120),
    "large_bodies": ([], 240),
    "memory_after_load": ([], 420),
    "soap_memory": ([], 120),
    "sync": ([], 240),
    "deliveries": ([], 300),
    "deliveries_compared": ([], 600),
    "idle_worker": ([], 240),
    "many_systems": ([], 300),
    "queue_flat": ([], 360),
    "dead_receiver": ([], 420),
    "fair_delivery": ([], 240),
    "metrics_scrape": ([], 300),
    "worst_wait": ([], 900),
}
"""Modules with their arguments and their timeouts in seconds."""

SOAKS = {
    "kill_publish": ([], 10800),
    "publication_rounds": ([], 1500),
    "hanging_open_e": ([], 900),
    "kill_sync": ([], 2400),
    "kill_workers": ([], 3600),
    "queue_flat": (["--soak"], 1500),
    "contract_check": ([], 5400),
    "idle_connections": ([], 600),
    "real_environment": ([], 3600),
    "memory_over_time": ([], 1200),
    "all_layers": ([], 1800),
    "growth": ([], 1800),
    "message_imports": ([], 5400),
}


def main() -> None:
    if sys.argv[1:] not in (["bench"], ["soak"]):
        sys.exit("usage: python -m benchmarks.run bench | soak")
    programs = BENCHES if sys.argv[1] == "bench" else SOAKS
    print(f"{_describe_machine()}\n", flush=True)
    start = time.monotonic()
    failed = [name for name, (arguments, seconds) in programs.items() if not _run(name, arguments, seconds)]
    print(f"Took {(time.monotonic() - start) / 60:.1f} minutes.")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _describe_machine() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("connexion", "sqlalchemy", "uvicorn"))
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores shared by service, database and clients, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {libraries}."
    )


def _run(name: str, arguments: list[str], seconds: int) -> bool:
    """Run a benchmark with its output passed through, and return whether it succeeded."""
    if name == "soap_memory":
        print("### Memory of a call to Open-E\n", flush=True)
    process = subprocess.Popen([sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT)
    try:
        code = process.wait(seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        # An interrupt lets the benchmark stop the programs that it started.
        process.send_signal(signal.SIGINT)
        code = process.wait(120)
        print(f"\n{name} was ended after {seconds} s")
    print(flush=True)
    return code == 0


if __name__ == "__main__":
    main()
