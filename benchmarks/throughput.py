"""Compare create and get of Budkavle with its peers, alternately, with 16 connections, one process and durable commits.

Run: python -m benchmarks.throughput [--seconds 1.5] [--rounds 5]
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.load import Job, Result, create_requests, request, run_load
from benchmarks.stage import DATABASES, Program, Stage, free_port

CONNECTIONS = 16
WARM_UP_SECONDS = 0.5
AIM = 0.6
PEERS = Path(__file__).parent / "peers"
KEY = "benchmark"
OPERATIONS = ("create", "get")


@dataclass
class Cell:
    """The results of one program, operation and database, one per round."""

    results: list[Result] = field(default_factory=list)

    def add(self, operation: str, program: Program, seconds: float) -> None:
        """Measure once more. Get requests use the messages created last."""
        requests = create_requests(program.key)
        if operation == "get":
            paths = _created.get(program.port) or ["/webmessages/none"]
            requests = [request("GET", path, program.key) for path in paths]
        result = run_load(Job(program.port, requests, CONNECTIONS, seconds, WARM_UP_SECONDS))
        if operation == "create":
            _created[program.port] = result.locations
        self.results.append(result)

    def per_second(self) -> float:
        return median(result.per_second for result in self.results)

    def ratio(self, other: "Cell") -> float:
        """Return the median over the rounds of the ratio to the other program."""
        pairs = zip(self.results, other.results, strict=True)
        return median(own.per_second / max(theirs.per_second, 0.001) for own, theirs in pairs)


_created: dict[int, list[str]] = {}
"""Paths of messages, by the port of their program."""

Table = dict[tuple[str, str, str], Cell]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare create and get with the peers.")
    parser.add_argument("--seconds", type=float, default=1.5, help="Per program, operation, database and round.")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    reason = _prepare_express()
    names = ["Budkavle", *([] if reason else ["Express"]), "FastAPI", "FastAPI async"]
    print(
        f"### Throughput\n\n{CONNECTIONS} connections, one process each, durable commits; medians of "
        f"{arguments.rounds} rounds of {arguments.seconds:g} s, in turns.\n"
    )
    if reason:
        print(f"Express is left out: {reason}\n")
    table: Table = {}
    tracebacks = 0
    for database in DATABASES:
        with Stage() as stage:
            programs = {name: _start(stage, name, stage.database(database)) for name in names}
            for turn in range(arguments.rounds):
                order = names[turn % len(names) :] + names[: turn % len(names)]
                for operation in OPERATIONS:
                    for name in order:
                        cell = table.setdefault((database, operation, name), Cell())
                        cell.add(operation, programs[name], arguments.seconds)
            tracebacks += programs["Budkavle"].tracebacks()
    _print(table, names)
    print(f"\nTraces in the log of Budkavle: {tracebacks}")


def _prepare_express() -> str | None:
    """Install the Express peer if necessary. Return the reason if it cannot run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node is not installed"
    if (PEERS / "express" / "node_modules" / "express").is_dir():
        return None
    done = subprocess.run(
        ["npm", "ci"], cwd=PEERS / "express", capture_output=True, text=True, timeout=300, check=False
    )
    return None if done.returncode == 0 else f"npm ci failed: {done.stderr.strip()[-200:]}"


def _start(stage: Stage, name: str, database_url: str) -> Program:
    if name == "Budkavle":
        return stage.service(database_url)
    port = free_port()
    if name == "Express":
        environment = {"DATABASE_URL": database_url, "API_KEY": KEY, "PORT": str(port), "NODE_ENV": "production"}
        return stage.start("express", port, ["node", "app.mjs"], environment, PEERS / "express", KEY)
    module, sqlite, postgresql = {
        "FastAPI": ("fastapi_orm", "sqlite", "postgresql+psycopg"),
        "FastAPI async": ("fastapi_async_orm", "sqlite+aiosqlite", "postgresql+asyncpg"),
    }[name]
    scheme, rest = database_url.split("://", 1)
    url = f"{sqlite if scheme == 'sqlite' else postgresql}://{rest}"
    command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--app-dir", str(PEERS), "--port", str(port)]
    return stage.start(
        module,
        port,
        [*command, "--no-access-log", "--log-level", "warning"],
        {"DATABASE_URL": url, "API_KEY": KEY},
        key=KEY,
    )


def _print(table: Table, names: list[str]) -> None:
    print("| | | requests/s | p50 ms | p99 ms | worst ms | of Express | of FastAPI | not 2xx |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    misses = []
    for database in DATABASES:
        for operation in OPERATIONS:
            for name in names:
                cell = table[database, operation, name]
                ratios = [
                    f"{cell.ratio(table[database, operation, other]):.2f}" if other in names and other != name else ""
                    for other in ("Express", "FastAPI")
                ]
                times = [
                    median(result.p50 for result in cell.results),
                    median(result.p99 for result in cell.results),
                    max(result.worst for result in cell.results),
                ]
                refused = sum(result.refused for result in cell.results)
                print(
                    f"| {operation}, {database} | {name} | {cell.per_second():.0f} | "
                    + " | ".join(f"{value:.1f}" for value in times)
                    + f" | {ratios[0]} | {ratios[1]} | {refused} |"
                )
                if name == "Budkavle" and "Express" in names and float(ratios[0]) < AIM:
                    misses.append(f"{operation}, {database}: {ratios[0]}")
    if "Express" in names:
        print(f"\nAim, at least {AIM} of Express: {'not met: ' + '; '.join(misses) if misses else 'met'}")


if __name__ == "__main__":
    main()
