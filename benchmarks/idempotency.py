"""Compare creating messages with an `Idempotency-Key` to creating them without, on one warm service, in turns.

Every key is new. The messages have no case, so that only the service and its database are measured. Exits with 1 if the
aim is not met.

Run: python -m benchmarks.idempotency [--database SQLite] [--rounds 7] [--seconds 1.5]
"""

import uuid
from statistics import median

from benchmarks.load import Job, Result, create_requests, run_load
from benchmarks.processor import read_processor_seconds
from benchmarks.stage import Program, Stage
from benchmarks.turns import run_on_databases

CONNECTIONS = 16
REQUESTS_PER_SECOND = 6000
"""More than the service can answer, so that no key occurs twice in a round."""

AIM = 0.9
"""The smallest ratio of requests per second with a key to those without."""

WITHOUT, WITH = "without a key", "with a key"


def main() -> None:
    run_on_databases("Create with an idempotency key", f"{CONNECTIONS} connections, durable commits", _measure, AIM)


def _measure(database: str, rounds: int, seconds: float, warm_up: float) -> float:
    """Print the figures of one database, and return the ratio."""
    found: dict[str, list[tuple[Result, float]]] = {WITHOUT: [], WITH: []}
    with Stage() as stage:
        program = stage.start_service(stage.create_database(database))
        for way in found:
            _load(program, way, warm_up)
        for turn in range(rounds):
            for way in (WITHOUT, WITH) if turn % 2 else (WITH, WITHOUT):
                before = read_processor_seconds(program.pid)
                result = _load(program, way, seconds)
                used = read_processor_seconds(program.pid) - before
                found[way].append((result, used * 1e6 / max(result.requests, 1)))
    ratios = [
        with_key.per_second / without.per_second
        for (without, _), (with_key, _) in zip(found[WITHOUT], found[WITH], strict=True)
    ]
    for way, samples in found.items():
        figures = [
            f"{median(result.per_second for result, _ in samples):.0f}",
            f"{median(result.p99 for result, _ in samples):.1f}",
            f"{median(cpu for _, cpu in samples):.0f}",
        ]
        of_keys = [f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})", f"{AIM:g}"]
        print(f"| {database} | {way} | {' | '.join(figures + (of_keys if way == WITH else ['', '']))} |", flush=True)
    return median(ratios)


def _load(program: Program, way: str, seconds: float) -> Result:
    """Create messages. Raises `RuntimeError` unless each of them was created."""
    requests = create_requests(program.key, count=int(seconds * REQUESTS_PER_SECOND))
    if way == WITH:
        requests = [each.replace("\r\n", f'\r\nIdempotency-Key: "{uuid.uuid4()}"\r\n', 1) for each in requests]
    result = run_load(Job(program.port, requests, CONNECTIONS, seconds))
    if result.refused or result.statuses.keys() != {"201"}:
        raise RuntimeError(f"{way}: unexpected responses: {result.statuses}, {result.broken} broken")
    return result


if __name__ == "__main__":
    main()
