"""Import 100,000 messages with files from a real MariaDB, killed ten times, and compare with an import that was not.

The messages have one small file each, every 300th one of 1 MiB, and a few have ten files of 10 MiB. On each database,
one run is not interrupted; its resident set is sampled. Another one is killed with -9 ten times, at random moments, and
continued; in the end both databases must have the same rows. A third run, in which nothing is new, is timed.

Run: python -m benchmarks.message_imports [--messages 100000] [--kills 10] [--database SQLite] [--seed 1]. The exit code
is 1 if the rows differ, or if the memory for 30,000 messages or more grows by more than `GROWTH_MB`.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.stage import DATABASES, Stage, run_command
from persistence.tables import metadata
from persistence.work import long_read
from tests.databases import run_with_database
from tests.mariadb import OldService, running_mariadb

BATCH = 1000
SAMPLE_SECONDS = 0.2
GROWTH_MB = 20
"""Maximum growth of the median resident set from the first to the last fifth of a run."""

LARGE_FILES, LARGE_BYTES = 300, 1024 * 1024
LARGEST_EVERY, LARGEST_BYTES = 30_000, 10 * 1024 * 1024
TABLES = ("imported_messages", "web_messages", "web_message_references", "web_message_attachments")


def main() -> None:
    parser = argparse.ArgumentParser(description="Import many messages, killed and not.")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    faults: list[str] = []
    with running_mariadb() as server, Stage() as stage:
        old = server.create()
        size = fill(old, arguments.messages, chance)
        print(f"### Import\n\n{arguments.messages} messages, {size / 1e6:.0f} MB of files, seed {arguments.seed}.\n")
        print("| database | messages/s | RSS by fifths of the run, median MB | peak MB | kills | nothing new |")
        print("|---|--:|--:|--:|--:|--:|", flush=True)
        for kind in arguments.database or DATABASES:
            faults += measure(stage, kind, old, arguments, chance)
    print()
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


def measure(
    stage: Stage, kind: str, old: OldService, arguments: argparse.Namespace, chance: random.Random
) -> list[str]:
    whole, killed = (stage.create_database(kind) for _ in range(2))
    for url in (whole, killed):
        run_command(["migrate"], build_environment(url))
    process = start(whole, old)
    began, samples = time.monotonic(), []
    while process.poll() is None:
        samples.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    faults = check(process, kind, arguments.messages)
    fifths = [
        statistics.median(samples[len(samples) * part // 5 : len(samples) * (part + 1) // 5]) for part in range(5)
    ]
    if arguments.messages >= LARGEST_EVERY and fifths[4] > fifths[0] + GROWTH_MB:
        faults.append(f"{kind}: memory grew from {fifths[0]:.0f} to {fifths[4]:.0f} MB")
    kills = 0
    for number in range(1, arguments.kills + 1):
        process = start(killed, old)
        # At a random moment of its share of the messages.
        wanted = arguments.messages * (number - chance.random()) / (arguments.kills + 1)
        while process.poll() is None and count_imported(killed) < wanted:
            time.sleep(SAMPLE_SECONDS)
        time.sleep(chance.uniform(0, SAMPLE_SECONDS))
        kills += process.poll() is None
        process.kill()
        process.wait()
    process = start(killed, old)
    process.wait()
    faults += check(process, kind, arguments.messages)
    if kills < arguments.kills:
        faults.append(f"{kind}: only {kills} runs were killed before their end")
    if hash_rows(whole) != hash_rows(killed):
        faults.append(f"{kind}: the rows differ")
    began = time.monotonic()
    process = start(killed, old)
    process.wait()
    again = time.monotonic() - began
    faults += check(process, kind, arguments.messages)
    print(
        f"| {kind} | {arguments.messages / seconds:.0f} | {', '.join(f'{each:.0f}' for each in fifths)} "
        f"| {max(samples):.0f} | {kills} | {again:.1f} s |",
        flush=True,
    )
    return faults


def fill(old: OldService, count: int, chance: random.Random) -> int:
    """Store messages as the old service does, and return the bytes of their files."""
    total = 0
    with old.connect() as connection, connection.cursor() as cursor:
        for start_number in range(0, count, BATCH):
            numbers = range(start_number, min(start_number + BATCH, count))
            ids = {number: build_id(chance) for number in numbers}
            if LARGEST_EVERY - 1 in ids:
                # It is imported first: allocators keep memory after the first large message.
                ids[LARGEST_EVERY - 1] = f"00000000{ids[LARGEST_EVERY - 1][8:]}"
            cursor.execute("start transaction")
            cursor.executemany(
                "insert into web_message values (%s, '2281', 'EXTERNAL', %s, 'joe01doe', %s, %s, %s)",
                [[ids[number], build_id(chance), build_time(number), number, "Hej! " * 40] for number in numbers],
            )
            cursor.executemany(
                "insert into external_reference values (%s, %s, %s, %s)",
                [
                    [f"{ids[number]}-{place}", ids[number], *pair]
                    for number in numbers
                    for place, pair in enumerate((("flowInstanceId", number % 5000 + 1), ("errand", f"A-{number}")))
                ],
            )
            for number in numbers:
                for place, size in enumerate(list_sizes(number, chance)):
                    values = [f"{ids[number]}-{place}", ids[number], f"{place}.bin", chance.randbytes(size)]
                    cursor.execute("insert into attachment values (%s, %s, %s, 'image/png', %s)", values)
                    total += size
            cursor.execute("commit")
    return total


def list_sizes(number: int, chance: random.Random) -> list[int]:
    if number % LARGEST_EVERY == LARGEST_EVERY - 1:
        return [LARGEST_BYTES] * 10
    return [LARGE_BYTES] if number % LARGE_FILES == 0 else [chance.randint(1, 8000)]


def build_id(chance: random.Random) -> str:
    digits = f"{chance.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def build_time(number: int) -> str:
    return f"202{number % 5}-{number % 12 + 1:02}-{number % 28 + 1:02} {number % 24:02}:{number % 60:02}:00.{number:06}"


def build_environment(url: str, old: OldService | None = None) -> dict[str, str]:
    return {"BUDKAVLE_DATABASE_URL": url} | ({} if old is None else {"OLD_DATABASE": old.url})


def start(url: str, old: OldService) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "budkavle", "import", "web-message-sender", "env:OLD_DATABASE"]
    return subprocess.Popen(
        [*command, "--time-zone", "Europe/Stockholm", "--report", os.devnull],
        env={**os.environ, **build_environment(url, old)},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )


def check(process: subprocess.Popen[str], kind: str, count: int) -> list[str]:
    """Return the faults of a run that ended by itself."""
    assert process.stdout is not None
    text = process.stdout.read()
    if process.returncode != 0:
        return [f"{kind}: exit code {process.returncode}: {text}"]
    summary: dict[str, Any] = json.loads(text)
    done = summary["imported"] + summary["importedBefore"]
    return [] if (summary["found"], done) == (count, count) else [f"{kind}: {text}"]


def hash_rows(url: str) -> str:
    """Return a hash of all rows in the order of their keys."""

    def read(connection: sa.Connection) -> str:
        digest = hashlib.sha256()
        for name in TABLES:
            table = metadata.tables[name]
            select = table.select().order_by(*table.primary_key.columns).execution_options(yield_per=100)
            for row in connection.execute(select):
                digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()

    return run_with_database(url, lambda database: database.read(long_read(read)))


def count_imported(url: str) -> int:
    """Return the number of imported messages."""
    count = sa.select(sa.func.count()).select_from(metadata.tables["imported_messages"])
    return run_with_database(
        url, lambda database: database.read(long_read(lambda connection: connection.scalar(count)))
    )


if __name__ == "__main__":
    main()
