"""The audit: entries are only added, and any other change is detected."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from domain.audit import (
    CATALOGUE,
    FIRST_HASH,
    NO_SYSTEM,
    AuditEntry,
    BrokenChain,
    ChainHead,
    hash_entry,
    write_detail,
)
from domain.time_ranges import TimeRange
from persistence import audit
from persistence.database import Database
from persistence.opening import open_database
from persistence.tables import audit_entries
from persistence.work import long_read, short_read, short_write
from tests.factories import NOW
from tests.persistence.catalogues import SYSTEM, build_entries, prepare, sync
from tests.persistence.rows import execute

pytestmark = pytest.mark.anyio

CHAIN = "a"


def build_audit_entry(**changes: Any) -> AuditEntry:
    values = {
        "chain": CHAIN,
        "kind": "call",
        "time": NOW,
        "operation": "hentAbonnementer",
        "caller": "-",
        "outcome": "answered",
        "request_id": "r-1",
        "detail": {"æ": [1.5, 1e300, "\u2028\ud800\x00", None], "b": {"ä": 2**70}},
    }
    return AuditEntry(**(values | changes))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def chain(database: Database) -> Sequence[tuple[int, str]]:
    """Return ids and hashes of a chain of four entries, next to another chain."""
    for number in range(1, 5):
        await audit.record(database, build_audit_entry(request_id=f"r-{number}"))
        await audit.record(database, build_audit_entry(chain=NO_SYSTEM))
    page = await audit.list_page(database, after=0, limit=100, chain=CHAIN)
    assert await find_break(database) is None
    return [(id_, item.hash) for id_, item in page]


async def find_break(database: Database, head: str | None = None) -> BrokenChain | None:
    return (await audit.verify(database, head))[1]


async def test_record_chains_entries_by_hash(database: Database) -> None:
    first, second = (
        build_audit_entry(),
        build_audit_entry(time=NOW + timedelta(seconds=1, microseconds=999), outcome="failed"),
    )
    await audit.record(database, first)
    await audit.record(database, build_audit_entry(chain=NO_SYSTEM))
    await audit.record(database, second)
    page = await audit.list_page(database, after=0, limit=10, chain=CHAIN)
    kept_second = build_audit_entry(time=NOW + timedelta(seconds=1), outcome="failed")
    first_hash = hash_entry(first, write_detail(first.detail), 1, FIRST_HASH)
    second_hash = hash_entry(kept_second, write_detail(first.detail), 2, first_hash)
    assert [(item.entry, item.number, item.hash) for _, item in page] == [
        (first, 1, first_hash),
        (kept_second, 2, second_hash),
    ]
    heads, found = await audit.verify(database)
    assert found is None
    assert heads[CHAIN] == ChainHead(second_hash, 2)
    assert set(heads) == {CHAIN, NO_SYSTEM}


async def test_list_page_is_filtered_oldest_first(database: Database) -> None:
    for number in range(6):
        chain_name, time = (CHAIN, NO_SYSTEM)[number % 2], NOW + timedelta(minutes=number)
        await audit.record(database, build_audit_entry(chain=chain_name, time=time, request_id=f"r-{number}"))

    async def ids(**filters: Any) -> list[str]:
        found, after = [], 0
        while page := await audit.list_page(database, after=after, limit=2, **filters):
            assert len(page) <= 2
            found += [item.entry.request_id for _, item in page]
            after = page[-1][0]
        return found

    assert await ids() == ["r-0", "r-1", "r-2", "r-3", "r-4", "r-5"]
    assert await ids(chain=CHAIN) == ["r-0", "r-2", "r-4"]
    assert await ids(since=NOW + timedelta(minutes=3)) == ["r-3", "r-4", "r-5"]
    assert await ids(chain=NO_SYSTEM, since=NOW + timedelta(minutes=2)) == ["r-3", "r-5"]
    assert await ids(chain="nobody") == []


@pytest.mark.parametrize(
    ("filters", "index"),
    [((CHAIN, None), "ix_audit_entries_chain_number"), ((None, NOW), "ix_audit_entries_time_id")],
    ids=["chain", "since"],
)
async def test_list_page_reads_only_what_is_listed(database: Database, filters: tuple[Any, Any], index: str) -> None:
    """Neither a long log of other chains nor older entries make it slow."""
    older = build_audit_entry(chain=NO_SYSTEM, time=NOW - timedelta(days=1))
    for _ in range(3):
        await audit.record_all(database, NO_SYSTEM, [older] * 2000)
        await audit.record_all(database, CHAIN, [build_audit_entry()] * 200)
    [*_, (middle, _)] = await audit.list_page(database, after=0, limit=300, chain=CHAIN)
    for plan in await database.read(short_read(_explain_pages), [0, middle], *filters):
        assert index in plan
        # Neither database reads and sorts all entries of the chain, or since the time.
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan.replace("Incremental Sort", "").replace("Sort Key", "")


async def test_list_latest_and_list_of_request_return_whole_entries(database: Database) -> None:
    for place in range(4):
        await audit.record(
            database, build_audit_entry(chain=(CHAIN, NO_SYSTEM)[place % 2], request_id=f"r-{place // 2}")
        )
    latest = await audit.list_latest(database, CHAIN, 9)
    assert [(each.number, each.entry.request_id) for each in latest] == [(2, "r-1"), (1, "r-0")]
    assert [each.number for each in await audit.list_latest(database, CHAIN, 1)] == [2]
    found = await audit.list_of_request(database, "r-1", TimeRange(NOW, NOW + timedelta(seconds=1)), 9)
    assert [each.entry.chain for each in found] == [CHAIN, NO_SYSTEM]
    assert await audit.list_of_request(database, "r", TimeRange(), 9) == []
    assert await audit.list_of_request(database, "r-1", TimeRange(until=NOW), 9) == []


def _explain_pages(connection: sa.Connection, after: list[int], chain: str | None, since: Any) -> list[str]:
    """Return the plans of the pages after these ids."""
    word = "explain query plan" if connection.dialect.name == "sqlite" else "explain"
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("analyze audit_entries")
    plans = []
    for id_ in after:
        select = audit._select_page(connection, id_, 1, chain, since)
        text = select.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        plans.append("\n".join(str(row) for row in connection.exec_driver_sql(f"{word} {text}")))
    return plans


async def test_list_page_since_a_time_is_ordered_by_time(database: Database) -> None:
    """Processes may append in another order than that of their times."""
    for minutes in (5, 1, 4, 1, 3, 2):
        await audit.record(database, build_audit_entry(time=NOW + timedelta(minutes=minutes)))
    found, after = [], 0
    while page := await audit.list_page(database, after=after, limit=2, since=NOW + timedelta(minutes=1)):
        found += [(item.entry.time - NOW) // timedelta(minutes=1) for _, item in page]
        after = page[-1][0]
    assert found == [1, 1, 2, 3, 4, 5]


async def test_list_page_includes_entries_with_one_number(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    """The log shows an entry that was added, although `verify` rejects it."""
    await execute(database, f"update audit_entries set number = 2 where chain = '{CHAIN}'")
    found, after = [], 0
    while page := await audit.list_page(database, after=after, limit=1, chain=CHAIN):
        after = page[-1][0]
        found.append(after)
    assert found == [id_ for id_, _ in chain]


async def test_concurrent_entries_are_chained(database: Database) -> None:
    names = [CHAIN, NO_SYSTEM, CATALOGUE]
    async with asyncio.timeout(60):
        await asyncio.gather(*(audit.record(database, build_audit_entry(chain=names[n % 3])) for n in range(90)))
    heads, found = await audit.verify(database)
    assert found is None
    assert {name: head.length for name, head in heads.items()} == dict.fromkeys(names, 30)


async def test_verify_reads_valid_chains_once(database: Database) -> None:
    """It reads chain by chain, several times as slowly, only to find the first invalid entry."""
    times = [NOW + timedelta(milliseconds=n) for n in range(1200)]
    for name in (CHAIN, NO_SYSTEM):
        await audit.record_all(database, name, [build_audit_entry(chain=name, time=time) for time in times])
    await audit.record(database, build_audit_entry(detail={"created": ["æ" * 100] * 300}))
    await audit.record(database, build_audit_entry(operation='"\\\n\x7f\u2028æ'))
    reported: list[tuple[int, int]] = []
    heads, found = await audit.verify(database, report=lambda done, total: reported.append((done, total)))
    assert (found, reported) == (None, [(1000, 2402), (2000, 2402), (2402, 2402)])
    assert await database.read(long_read(audit._read_ends), heads[NO_SYSTEM].hash, {}, print) == (heads, True)
    assert await database.read(long_read(audit._read_ends), "f" * 64, {}, print) == (heads, False)
    await execute(database, f"update audit_entries set outcome = 'x' where chain = '{NO_SYSTEM}' and number = 1150")
    assert await find_break(database) == BrokenChain(NO_SYSTEM, 1150, "it was changed or moved")


async def test_entry_of_the_lowest_id_is_detected(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    lowest = f"{-(2**63)}, chain, 0, kind, time, operation, caller, outcome, request_id, detail, hash, null"
    await execute(database, f"insert into audit_entries select {lowest} from audit_entries where id = {chain[0][0]}")
    assert await find_break(database) == BrokenChain(CHAIN, 0, "it was added")


async def test_verify_of_an_empty_audit_succeeds(database: Database) -> None:
    assert await audit.verify(database) == ({}, None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "'change'"),
        ("operation", "'apply'"),
        ("caller", "'sha256:ab'"),
        ("outcome", "'changed'"),
        ("request_id", "'r-9'"),
        ("detail", "'{}'"),
        ("detail", "detail || ' '"),
        ("hash", f"'{FIRST_HASH}'"),
        ("time", "'2026-03-01 12:00:00.124000'"),
        ("time", "'2026-03-01 12:00:00.123001'"),
    ],
)
async def test_changed_entry_is_detected(
    database: Database, chain: Sequence[tuple[int, str]], column: str, value: str
) -> None:
    await execute(database, f"update audit_entries set {column} = {value} where id = {chain[1][0]}")
    assert await find_break(database) == BrokenChain(CHAIN, 2, "it was changed or moved")


@pytest.mark.parametrize("number", [1, 2, 4])
async def test_removed_entry_is_detected(database: Database, chain: Sequence[tuple[int, str]], number: int) -> None:
    await execute(database, f"delete from audit_entries where id = {chain[number - 1][0]}")
    assert await find_break(database) == BrokenChain(CHAIN, number, "it is missing")


async def test_removed_entry_is_detected_when_later_ones_are_renumbered(
    database: Database, chain: Sequence[tuple[int, str]]
) -> None:
    await execute(database, f"delete from audit_entries where id = {chain[1][0]}")
    await execute(database, f"update audit_entries set number = number - 1 where chain = '{CHAIN}' and number > 2")
    assert await find_break(database) == BrokenChain(CHAIN, 2, "it was changed or moved")


async def test_reordered_entries_are_detected(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    swap = "update audit_entries set number = 5 - number where number in (2, 3) and chain = 'a'"
    await execute(database, swap)
    assert await find_break(database) == BrokenChain(CHAIN, 2, "it was changed or moved")


async def test_entries_with_reordered_ids_are_detected(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    """`list` sorts by id, which no hash covers."""
    await execute(database, f"update audit_entries set id = 1000 where id = {chain[1][0]}")
    assert await find_break(database) == BrokenChain(CHAIN, 3, "it was changed or moved")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, (0, "it was added")), (-5, (-5, "it was added")), (2, (2, "it was added")), (5, (5, "it was added"))],
)
async def test_added_entry_is_detected(
    database: Database, chain: Sequence[tuple[int, str]], number: int, expected: tuple[int, str]
) -> None:
    """This includes an entry that correctly continues the chain, without a matching head."""

    def insert(connection: sa.Connection) -> None:
        made_up = build_audit_entry(request_id="made up", detail={})
        row = {name: getattr(made_up, name) for name in ("chain", "kind", "time", "operation", "caller", "outcome")}
        hash_ = hash_entry(made_up, "{}", number, chain[-1][1])
        row |= {"request_id": "made up", "detail": "{}", "number": number, "hash": hash_}
        connection.execute(audit_entries.insert(), row)

    await database.write(short_write(insert))
    assert await find_break(database) == BrokenChain(CHAIN, *expected)


async def test_entry_moved_to_another_chain_is_detected(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    await execute(database, f"update audit_entries set chain = 'b' where id = {chain[3][0]}")
    assert await find_break(database) == BrokenChain(CHAIN, 4, "it is missing")


async def test_chain_without_its_head_is_detected(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    await execute(database, "delete from chains where name = 'a'")
    assert await find_break(database) == BrokenChain(CHAIN, 4, "its chain is not known")


@pytest.mark.parametrize("head", [FIRST_HASH, "f" * 64])
async def test_chain_with_only_its_head_is_detected(
    database: Database, chain: Sequence[tuple[int, str]], head: str
) -> None:
    await execute(database, "delete from audit_entries where chain = 'a'")
    assert await find_break(database) == BrokenChain(CHAIN, 1, "it is missing")
    await execute(database, f"update chains set length = 0, head = '{head}' where name = 'a'")
    assert await find_break(database) == BrokenChain(CHAIN, 1, "it is missing")


async def test_wrong_head_is_detected(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    await execute(database, f"update chains set head = '{FIRST_HASH}' where name = 'a'")
    assert await find_break(database) == BrokenChain(CHAIN, 4, "its hash differs from the stored end of the chain")


async def test_missing_required_chain_is_detected(database: Database) -> None:
    await prepare(database)
    await sync(database, build_entries(1))
    assert await find_break(database) is None
    for name in (CATALOGUE, SYSTEM):
        await execute(database, f"delete from audit_entries where chain = '{name}'")
        await execute(database, f"delete from chains where name = '{name}'")
    assert await find_break(database) == BrokenChain(SYSTEM, 1, "it is missing")
    await execute(database, "delete from subscriptions")
    assert await find_break(database) == BrokenChain(CATALOGUE, 1, "it is missing")


async def test_stored_hash_detects_a_rewritten_chain(database: Database, chain: Sequence[tuple[int, str]]) -> None:
    for _, hash_ in chain:
        assert await find_break(database, hash_) is None
    assert await find_break(database, "f" * 64) == BrokenChain("", 0, f"no entry has the hash {'f' * 64}")
    await execute(database, "delete from audit_entries where chain = 'a'")
    await execute(database, "delete from chains where name = 'a'")
    for number in range(1, 4):
        await audit.record(database, build_audit_entry(request_id=f"r-{number}"))
    assert await find_break(database) is None
    assert await find_break(database, chain[2][1]) is None
    assert await find_break(database, chain[3][1]) == BrokenChain("", 0, f"no entry has the hash {chain[3][1]}")


@pytest.mark.parametrize(
    ("column", "value"),
    [(column, "'x'") for column in ("time", "detail", "number")]
    + [(column, f"cast({column} as blob)") for column in ("time", "detail")],
)
async def test_unreadable_value_is_detected(migrated_sqlite: bytes, tmp_path: Path, column: str, value: str) -> None:
    """SQLite accepts any value in any column."""
    (tmp_path / "test.db").write_bytes(migrated_sqlite)
    database = open_database(f"sqlite:///{tmp_path}/test.db")
    for _ in range(3):
        await audit.record(database, build_audit_entry())
    await execute(database, f"update audit_entries set {column} = {value} where number = 2")
    found = await find_break(database)
    await database.close()
    assert found is not None
    assert found.chain == CHAIN
    assert found.number == 2


@pytest.mark.parametrize("time", ["'2026-03-01 12:00:00.123+00 BC'", "'12026-03-01 12:00:00.123+00'"])
async def test_time_outside_the_range_is_detected(url: str, time: str) -> None:
    """PostgreSQL accepts times that Python does not have, and may format them like others."""
    database = open_database(url)
    for _ in range(3):
        await audit.record(database, build_audit_entry())
    await execute(database, f"update audit_entries set time = {time} where number = 2")
    found = await find_break(database)
    await database.close()
    assert found == BrokenChain(CHAIN, 1, "it cannot be read")


async def test_verify_sees_one_state_during_writes(database: Database) -> None:
    for _ in range(30):
        await audit.record(database, build_audit_entry())
    task = asyncio.create_task(_record_often(database))
    for _ in range(10):
        assert await find_break(database) is None
    assert await task == 100
    heads, found = await audit.verify(database)
    assert found is None
    assert heads[CHAIN].length == 130


async def _record_often(database: Database) -> int:
    for _ in range(100):
        await audit.record(database, build_audit_entry())
    return 100
