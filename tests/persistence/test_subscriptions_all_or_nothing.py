"""The sync is all or nothing: in any sequence, concurrently, and after a failure at any point."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.subscriptions import Entry, Subscription
from persistence import audit, subscriptions
from persistence.database import Database
from persistence.opening import open_database
from persistence.subscriptions import SyncRefused
from tests.factories import NOW
from tests.persistence.catalogues import (
    END,
    SYSTEM,
    SYSTEM_IDS,
    build_entries,
    build_entry,
    list_all_entries,
    map_ids,
    prepare,
    queue_deliveries,
    set_of,
    sync,
)
from tests.persistence.rows import count_rows

SYSTEMS = SYSTEM_IDS[:3]


@dataclass(frozen=True)
class Call:
    """A sync as the model sees it. `fault` is an entry that violates a rule."""

    system_id: str
    wanted: tuple[Entry, ...]
    fault: Entry | None
    is_dry_run: bool

    @property
    def is_change(self) -> bool:
        return self.fault is None and not self.is_dry_run


ENTRY = st.builds(
    build_entry,
    org_code=st.integers(0, 5),
    entity_type=st.sampled_from([202, 203]),
    webhook_url=st.sampled_from(["/a", "/b"]),
    end=st.sampled_from([None, END]),
)
FAULT = st.sampled_from(
    [
        build_entry(org_type=2),
        build_entry(entity_type=999),
        build_entry(start=END, end=NOW),
        build_entry(is_clean=False),
    ]
)
CALL = st.builds(
    Call,
    system_id=st.sampled_from(SYSTEMS),
    wanted=st.lists(ENTRY, max_size=8, unique_by=lambda item: item.identity).map(tuple),
    fault=st.one_of(st.none(), st.none(), FAULT),
    is_dry_run=st.sampled_from([False, False, False, True]),
)
GROUPS = st.lists(st.lists(CALL, min_size=1, max_size=4), max_size=5)
"""Groups of calls: the groups run one after the other, the calls of a group concurrently."""


async def make(database: Database, call: Call) -> None:
    wanted = [*call.wanted, *([call.fault] if call.fault else [])]
    if call.fault is None:
        await sync(database, wanted, call.system_id, is_dry_run=call.is_dry_run)
    else:
        with pytest.raises(SyncRefused):
            await sync(database, wanted, call.system_id, is_dry_run=call.is_dry_run, is_refused_anyway=True)


async def list_sets(database: Database, system_ids: Sequence[str]) -> dict[str, list[Subscription]]:
    return {system_id: await subscriptions.list_subscriptions(database, system_id) for system_id in system_ids}


def test_any_sequence_of_syncs_leaves_the_last_valid_set(database_url: str) -> None:
    async def follow(database: Database, groups: list[list[Call]]) -> None:
        for system_id in SYSTEMS:
            await sync(database, [], system_id)
        model: dict[str, list[Subscription]] = {system_id: [] for system_id in SYSTEMS}
        for group in groups:
            await asyncio.gather(*(make(database, call) for call in group))
            found = await list_sets(database, SYSTEMS)
            for system_id in SYSTEMS:
                changes = [call for call in group if call.system_id == system_id and call.is_change]
                assert found[system_id] in ([set_of(call.wanted) for call in changes] or [model[system_id]])
            model = found
        assert (await audit.verify(database))[1] is None

    with asyncio.Runner() as runner:
        database = open_database(database_url)
        runner.run(prepare(database))

        @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(GROUPS)
        def check(groups: list[list[Call]]) -> None:
            runner.run(follow(database, groups))

        check()
        runner.run(database.close())


@pytest.mark.anyio
async def test_concurrent_callers_end_in_one_of_their_sets_without_deadlock(database_url: str) -> None:
    """Two databases represent two processes."""
    databases = [open_database(database_url), open_database(database_url)]
    await prepare(databases[0])
    wanted = {
        (system_id, number): build_entries(10 + number, webhook_url=f"/{number}")
        for system_id in SYSTEM_IDS
        for number in range(50 if system_id == SYSTEM else 5)
    }
    async with asyncio.timeout(120):
        await asyncio.gather(*(sync(databases[n % 2], set_, system) for (system, n), set_ in wanted.items()))
    for system_id, found in (await list_sets(databases[0], SYSTEM_IDS)).items():
        assert found in [set_of(set_) for (system, _), set_ in wanted.items() if system == system_id]
    assert (await audit.verify(databases[0]))[1] is None
    calls = [item for item in await list_all_entries(databases[0]) if item.kind == "call" and item.chain == SYSTEM]
    assert len(calls) == 50
    for database in databases:
        await database.close()


class Fault(Exception):
    """The error that these tests inject."""


@contextmanager
def failing(at: int) -> Iterator[list[str]]:
    """Fail before that statement or commit, counted from 0. Yield the reached number."""
    reached: list[str] = []

    def reach(what: str) -> None:
        reached.append(what)
        if len(reached) > at:
            raise Fault(what)

    def before_statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        reach(statement)

    def before_commit(_connection: object) -> None:
        reach("commit")

    sa.event.listen(sa.Engine, "before_cursor_execute", before_statement)
    sa.event.listen(sa.Engine, "commit", before_commit)
    try:
        yield reached
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before_statement)
        sa.event.remove(sa.Engine, "commit", before_commit)


async def read_state(database: Database) -> dict[str, Any]:
    return {
        "sets": await list_sets(database, SYSTEM_IDS[:2]),
        "ids": await map_ids(database),
        "rows": await count_rows(database),
        "audit": await list_all_entries(database),
        "chains": await audit.verify(database),
    }


@pytest.mark.anyio
async def test_failure_before_any_statement_keeps_the_old_set(database_url: str) -> None:
    database = open_database(database_url)
    await prepare(database)
    await sync(database, build_entries(4))
    await sync(database, build_entries(2), SYSTEM_IDS[1])
    await queue_deliveries(database, SYSTEM, 2)
    before = await read_state(database)
    assert before["chains"][1] is None
    # A sync that creates, updates and deletes.
    wanted = [build_entry(0, org_code=0), build_entry(1, org_code=1, webhook_url="/b"), build_entry(2, org_code=9)]
    faults = 0
    while True:
        try:
            with failing(at=faults) as reached:
                result = await sync(database, wanted)
            break
        except Fault:
            faults += 1
        assert await read_state(database) == before
    assert faults == len(reached)
    assert reached[-1] == "commit"
    assert faults >= 12
    assert (result.created, result.updated, result.deleted, result.dropped_messages) == (1, 1, 2, 4)
    assert await subscriptions.list_subscriptions(database, SYSTEM) == set_of(wanted)
    assert (await audit.verify(database))[1] is None
    await database.close()
