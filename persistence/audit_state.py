"""Compare the stored catalogue, subscriptions, pauses and API keys with the changes in the audit."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from domain.audit import API_KEYS, CATALOGUE, OTHER_CHAINS
from domain.audit_state import (
    CHANGED,
    RecordedChange,
    compare_catalogue,
    compare_keys,
    compare_pauses,
    compare_subscriptions,
    find_incomplete_calls,
    list_pause_changes,
)
from persistence.api_keys import list_keys
from persistence.audit_checkpoints import read_last_checkpoint
from persistence.catalogue import OPERATION as APPLY
from persistence.catalogue import read_catalogue
from persistence.database import Database
from persistence.delivery_pauses import PAUSE, RESUME, list_in_force
from persistence.subscriptions import OPERATION as SYNC
from persistence.subscriptions import read_set
from persistence.tables import audit_entries, chains, delivery_pauses, subscriptions
from persistence.work import long_read


async def list_differences(database: Database, now: datetime) -> list[str]:
    """Return the differences between what is stored at `now` and what the audit says, each with its chain."""
    return await database.read(_list_differences, now)


_CHANGES = (
    sa.select(
        audit_entries.c.number,
        audit_entries.c.kind,
        audit_entries.c.operation,
        audit_entries.c.request_id,
        audit_entries.c.detail,
        audit_entries.c.caller,
    )
    .where(
        audit_entries.c.chain == sa.bindparam("chain_name"),
        (audit_entries.c.kind == "change") | (audit_entries.c.outcome == CHANGED),
    )
    .order_by(audit_entries.c.number)
    # Fetch few rows at a time, because one entry may describe 50,000 changes.
    .execution_options(yield_per=20)
)


@long_read
def _list_differences(connection: sa.Connection, now: datetime) -> list[str]:
    comparisons: list[tuple[str, Callable[[], list[str]]]] = [
        (CATALOGUE, lambda: compare_catalogue(_iterate(connection, CATALOGUE), read_catalogue(connection))),
        (CATALOGUE, lambda: find_incomplete_calls(_iterate(connection, CATALOGUE, APPLY))),
        (API_KEYS, lambda: compare_keys(_iterate(connection, API_KEYS), list_keys(connection))),
    ]
    names = set(connection.execute(sa.select(chains.c.name)).scalars()) - {*OTHER_CHAINS}
    for table in (subscriptions, delivery_pauses):
        names |= set(connection.execute(sa.select(table.c.system_id).distinct()).scalars())
    for name in sorted(names):
        comparisons += [
            (name, partial(_compare_set, connection, name)),
            (name, partial(find_incomplete_calls, _iterate(connection, name, SYNC))),
            (name, partial(_compare_pauses, connection, name, now)),
        ]
    found = []
    for name, compare in comparisons:
        try:
            found += [f"{name!r}: {text}" for text in compare()]
        except (AttributeError, KeyError, TypeError, ValueError):
            # The service writes no such details.
            found.append(f"{name!r}: the detail of an entry cannot be read")
    return found


def _compare_set(connection: sa.Connection, system_id: str) -> list[str]:
    return compare_subscriptions(_iterate(connection, system_id), read_set(connection, system_id).subscriptions)


def _compare_pauses(connection: sa.Connection, system_id: str, now: datetime) -> list[str]:
    return compare_pauses(
        _iterate(connection, system_id, PAUSE, RESUME), list_in_force(connection, now, system_id), now
    )


def _iterate(connection: sa.Connection, chain: str, *operations: str) -> Iterator[RecordedChange]:
    """Yield the entries that describe changes; with operations only theirs, and their calls that report changes.

    The first ones replace all that were removed up to a checkpoint.
    """
    last = read_last_checkpoint(connection)
    state = {} if last is None else last.checkpoint.state.get(chain, {})
    if not operations and state:
        yield RecordedChange(0, "change", "-", state)
    if PAUSE in operations:
        yield from list_pause_changes(state)
    with connection.execute(_CHANGES, {"chain_name": chain}) as rows:
        for number, kind, operation, request_id, detail, caller in rows:
            if operation in operations or (not operations and kind == "change"):
                yield RecordedChange(number, kind, request_id, json.loads(detail), caller)
