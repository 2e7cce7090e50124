"""SQLite with one writer, other processes on the same file, and files or disks that cannot be written."""

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain.errors import StorageFailed
from handlers.metrics import count_in_doubt
from persistence import web_message_lists
from persistence import web_messages as stored
from persistence.database import Database
from persistence.opening import open_database
from persistence.sqlite import database as sqlite
from persistence.sqlite import write_ahead_log
from persistence.web_message_inserts import LARGE_BYTES
from persistence.work import large_read, large_write, short_read, short_write
from tests.factories import NOW, PARTY_ID, build_attachment, build_web_message
from tests.persistence.rows import read_content
from tests.processes import Process, python, running

pytestmark = pytest.mark.anyio

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.stdin.readline().strip(), isolation_level=None)
connection.execute("begin immediate")
connection.execute("delete from web_messages where id = ''")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("commit")
print("free", flush=True)
"""


@pytest.fixture
def holder(path: Path) -> Iterator[Process]:
    """Yield another process that holds the write lock until it receives a line."""
    with running(*python(HOLD)) as process:
        process.write_line(str(path))
        process.wait_for("locked")
        yield process


async def test_connections_are_durable_and_check_foreign_keys(database: Database) -> None:
    def pragmas(connection: sa.Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return {name: connection.exec_driver_sql(f"pragma {name}").scalar() for name in names}

    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert await database.read(short_read(pragmas)) == expected
    assert await database.read(large_read(pragmas)) == expected
    assert await database.write(short_write(pragmas)) == expected
    assert await database.write(large_write(pragmas)) == expected


async def test_reads_continue_while_a_write_waits_for_another_process(database: Database, holder: Process) -> None:
    """If the wait were on the event loop, this test could not tell the other process to end before it fails."""
    before = build_web_message(party_id=None)
    writes = [
        asyncio.create_task(stored.store(database, message))
        for message in (
            build_web_message(),
            build_web_message(attachments=(build_attachment(b"x" * (LARGE_BYTES + 1)),)),
            build_web_message(),
        )
    ]
    for _ in range(100):
        await database.check_health()
        assert await web_message_lists.list_by_party(database, PARTY_ID, 10, None) == []
        await asyncio.sleep(0)
    assert not any(write.done() for write in writes)
    holder.write_line("go on")
    await asyncio.gather(*writes)
    await stored.store(database, before)
    assert len(await web_message_lists.list_by_party(database, PARTY_ID, 10, None)) == 3


async def test_write_that_waits_too_long_fails_and_later_ones_succeed(
    database: Database, holder: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0)
    for message in (build_web_message(), build_web_message(message="x" * (LARGE_BYTES + 1))):
        with pytest.raises(StorageFailed):
            await stored.store(database, message)
    assert await web_message_lists.list_by_party(database, PARTY_ID, 10, None) == []
    holder.write_line("go on")
    holder.wait_for("free")
    await stored.store(database, build_web_message())
    assert len(await web_message_lists.list_by_party(database, PARTY_ID, 10, None)) == 1


async def test_write_that_is_cancelled_while_it_waits_leaves_the_database_usable(
    database: Database, holder: Process
) -> None:
    first = asyncio.create_task(stored.store(database, build_web_message()))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(stored.store(database, build_web_message()))
    for _ in range(10):
        await asyncio.sleep(0)
    holder.write_line("go on")
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    await stored.store(database, build_web_message())
    assert len(await web_message_lists.list_by_party(database, PARTY_ID, 10, None)) in {2, 3}


async def test_other_processes_see_writes_and_can_write(database: Database, path: Path) -> None:
    await stored.store(database, build_web_message())
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("select count(*) from web_messages").fetchone() == (1,)
    other.execute("delete from web_messages")
    other.close()
    assert await web_message_lists.list_by_party(database, PARTY_ID, 10, None) == []


async def test_read_does_not_block_writers_of_other_processes(database: Database, path: Path) -> None:
    """No read leaves a transaction open."""
    await stored.store(database, build_web_message(attachments=(build_attachment(b"x" * (LARGE_BYTES + 1)),)))
    (message,) = await web_message_lists.list_by_party(database, PARTY_ID, 1, None)
    await read_content(database, message.attachments[0])
    other = sqlite3.connect(path, isolation_level=None, timeout=0)
    other.execute("begin exclusive")
    other.execute("rollback")
    assert other.execute("pragma wal_checkpoint(truncate)").fetchone() == (0, 0, 0)
    other.close()


async def test_file_that_is_not_a_database_is_a_storage_failure(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("This is no database. " * 1000)
    database = open_database(f"sqlite:///{path}")
    for call in (database.check_health, lambda: stored.store(database, build_web_message()), database.migrate):
        with pytest.raises(StorageFailed):
            await call()
    await database.close()


async def test_file_that_cannot_be_created_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "test.db"):
        database = open_database(f"sqlite:///{path}")
        for call in (database.check_health, database.migrate):
            with pytest.raises(StorageFailed):
                await call()
        await database.close()


@pytest.mark.parametrize("size", [200_000, LARGE_BYTES + 1], ids=["inline", "in-thread"])
async def test_full_file_fails_only_the_write(database: Database, size: int) -> None:
    async def limit(pages: int) -> None:
        def run(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"pragma max_page_count = {pages}")

        await database.write(short_write(run))
        await database.write(large_write(run))

    small, large = build_web_message(), build_web_message(message="x" * size)
    await stored.store(database, small)
    await limit(1)
    with pytest.raises(StorageFailed):
        await stored.store(database, build_web_message(message="x" * size))
    await limit(1_000_000)
    await stored.store(database, large)
    assert [(await stored.get(database, item.id)).message for item in (small, large)] == [small.message, large.message]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own can only be mounted by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_health_fails_while_the_disk_is_full(small_disk: Path, migrated_sqlite: bytes) -> None:
    path = small_disk / "test.db"
    path.write_bytes(migrated_sqlite)
    database = open_database(f"sqlite:///{path}")
    await stored.store(database, build_web_message())
    await database.check_health()
    filler = small_disk / "filler"
    fill(filler)
    reasons = []
    while len(reasons) < 3:
        try:
            await stored.store(database, build_web_message(message="x" * 100_000))
        except StorageFailed as exc:
            reasons.append(exc.reason)
    assert all("SQLITE_FULL" in reason for reason in reasons)
    with pytest.raises(StorageFailed):
        await database.check_health()
    # It still answers, which is what `budkavle_database_up` says.
    assert await count_in_doubt(database, NOW, timedelta(seconds=1)) is not None
    filler.unlink()
    await database.check_health()
    await stored.store(database, build_web_message())
    await database.close()


async def test_copies_of_the_log_to_a_full_disk_lose_nothing(
    small_disk: Path, migrated_sqlite: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead_log, "LOG_PAGES", 10)
    path = small_disk / "test.db"
    path.write_bytes(migrated_sqlite)
    database = open_database(f"sqlite:///{path}")
    try:
        message = build_web_message()
        await stored.store(database, message)
        filler = small_disk / "filler"
        fill(filler)
        stored_ids, failures = {message.id}, 0
        while failures < 3:
            message = build_web_message(message="x" * 50_000)
            try:
                await stored.store(database, message)
                stored_ids.add(message.id)
            except StorageFailed:
                failures += 1
        filler.unlink()
        message = build_web_message()
        await stored.store(database, message)
        found = await web_message_lists.list_by_party(database, PARTY_ID, 100, None)
        assert {each.id for each in found} == stored_ids | {message.id}
        await database.check_health()
    finally:
        await database.close()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


async def test_others_run_between_the_batches_of_waiting_writes(database: Database) -> None:
    @short_write
    def insert(connection: sa.Connection) -> None:
        connection.exec_driver_sql("select 1")

    writes = [asyncio.create_task(database.write(insert)) for _ in range(4 * sqlite.BATCH)]
    counts = [0]
    while not all(write.done() for write in writes):
        await asyncio.sleep(0)
        counts.append(sum(write.done() for write in writes))
    assert max(after - before for before, after in pairwise(counts)) <= sqlite.BATCH
