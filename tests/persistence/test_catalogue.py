"""Apply a catalogue: one transaction, audited, and objects in use are not removed without confirmation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from domain.audit import CATALOGUE, ChainedEntry
from domain.callers import build_certificate_caller
from domain.catalogue import Catalogue, ClientCertificate, WebMessageEvent
from domain.errors import StorageFailed
from domain.subscriptions import Entry, Identity
from persistence import audit, subscriptions, tables
from persistence import catalogue as stored
from persistence.catalogue import Applied, Apply, CatalogueInUse, Pruned
from persistence.database import Database
from persistence.work import short_write
from tests.catalogues import (
    EMPTY,
    FINGERPRINT,
    HEADERS,
    OTHER_ID,
    SYSTEM_ID,
    TOKEN_CLIENT,
    build_catalogue,
    build_message_type,
    build_system,
)
from tests.factories import NOW
from tests.persistence.rows import build_delivery_row, build_event_row, count_rows

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)


async def apply(database: Database, wanted: Catalogue, **options: bool) -> Applied:
    return await stored.apply(database, Apply(wanted, NOW, "request", **options))


async def subscribe(database: Database, system_id: str, *pairs: tuple[int, int]) -> None:
    wanted = [Entry(place, *pair[:1], 101, pair[1], "/webhook", START) for place, pair in enumerate(pairs)]
    call = subscriptions.SyncCall(system_id, wanted, NOW, build_certificate_caller(FINGERPRINT), "sync")
    await subscriptions.sync(database, call)


async def queue_messages(database: Database, system_id: str, number: int) -> None:
    """Queue that number of deliveries on each queue of a system, all claimed by a worker, the first of them parked."""

    @short_write
    def put(connection: sa.Connection) -> None:
        of_system = sa.select(tables.subscriptions.c.id).where(tables.subscriptions.c.system_id == system_id)
        queues = connection.execute(of_system).scalars().all()
        for place in range(number):
            event = build_event_row(NOW)
            connection.execute(tables.events.insert(), [event])
            changes = {"lease": "worker"} if place else {"state": "parked", "due": None}
            rows = [build_delivery_row(event, system_id, queue, **changes) for queue in queues]
            connection.execute(tables.deliveries.insert(), rows)

    await database.write(put)


@asynccontextmanager
async def refused_writes(database: Database) -> AsyncIterator[None]:
    """Make writes to the rows of the catalogue fail meanwhile."""
    names = ("systems", "certificates", "message_types", "allowed_subscriptions", "web_message_events")
    triggers = [(f"refuse_{event}_{name}", event, name) for name in names for event in ("insert", "update", "delete")]

    @short_write
    def begin(connection: sa.Connection) -> None:
        is_sqlite = connection.dialect.name == "sqlite"
        body = "begin select raise(abort, 'written'); end" if is_sqlite else "execute function refuse()"
        if not is_sqlite:
            connection.exec_driver_sql(
                "create function refuse() returns trigger language plpgsql as $$begin raise 'written'; end$$"
            )
        for trigger, event, name in triggers:
            connection.exec_driver_sql(f"create trigger {trigger} before {event} on {name} for each row {body}")

    @short_write
    def end(connection: sa.Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("drop function refuse() cascade")

    await database.write(begin)
    yield
    await database.write(end)


async def list_entries(database: Database, chain: str = CATALOGUE) -> list[ChainedEntry]:
    ends, broken = await audit.verify(database)
    assert broken is None, ends
    return [entry for _, entry in await audit.list_page(database, after=0, limit=1000, chain=chain)]


FULL = build_catalogue(
    build_system(
        webhook_secrets=("env:NEW", "file:/secrets/old"),
        allow_private_addresses=True,
        client_certificate=ClientCertificate("file:/own.pem", "file:/own.key"),
        ca="file:/ca.pem",
        headers=HEADERS,
        oauth2=TOKEN_CLIENT,
    ),
    build_system(OTHER_ID, certificates=frozenset({FINGERPRINT, "00" * 32})),
    types=[build_message_type(start=date(2024, 10, 1), end=date(2999, 12, 31)), 203],
    event=WebMessageEvent(7, -1, 203),
)


async def test_read_returns_the_applied_catalogue(database: Database) -> None:
    assert await stored.read(database) == EMPTY
    for wanted in (FULL, build_catalogue(), EMPTY, FULL):
        applied = await apply(database, wanted)
        assert applied.changes
        assert await stored.read(database) == wanted


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (build_catalogue(event=WebMessageEvent(1, 1, 202)), build_catalogue(types=[203], allowed=[])),
        (
            build_catalogue(event=WebMessageEvent(1, 1, 202)),
            build_catalogue(types=[204], allowed=[(1, 204)], event=WebMessageEvent(1, 1, 204)),
        ),
    ],
    ids=["goes", "moves"],
)
async def test_apply_stores_a_type_with_its_event(database: Database, before: Catalogue, after: Catalogue) -> None:
    await apply(database, before)
    await apply(database, after)
    assert await stored.read(database) == after


async def test_repeated_apply_writes_only_its_call_entry(database: Database) -> None:
    await apply(database, FULL)
    before = await count_rows(database)
    async with refused_writes(database):
        assert await apply(database, FULL) == Applied(())
        with pytest.raises((StorageFailed, sa.exc.IntegrityError)):
            await apply(database, EMPTY)
    after = await count_rows(database)
    assert after == before | {"audit_entries": before["audit_entries"] + 1}
    last = (await list_entries(database))[-1].entry
    assert (last.kind, last.outcome) == ("call", "unchanged")


async def test_apply_is_audited_with_before_and_after(database: Database) -> None:
    await apply(database, build_catalogue())
    await apply(database, build_catalogue(build_system(name="Other")))
    first, second, call, change = (item.entry for item in await list_entries(database))
    assert (first.kind, second.kind) == ("call", "change")
    assert first.detail == {"added": 5, "changed": 0, "removed": 0, "prunedSubscriptions": 0, "droppedMessages": 0}
    assert (call.operation, call.caller, call.outcome, call.request_id) == ("apply", "-", "changed", "request")
    assert call.time == NOW
    assert call.detail["changed"] == 1
    entry: dict[str, Any] = {
        "name": "Fasit",
        "baseUrl": "https://fasit.example/star",
        "certificates": [f"sha256:{FINGERPRINT}"],
        "webhookSecrets": [],
        "allowPrivateAddresses": False,
        "clientCertificate": None,
        "ca": None,
        "headers": {},
        "oauth2": None,
    }
    assert change.detail == {
        "changes": [{"section": "system", "key": [SYSTEM_ID], "before": entry, "after": entry | {"name": "Other"}}]
    }


async def test_dry_run_returns_the_same_and_writes_only_its_call_entry(database: Database) -> None:
    await apply(database, build_catalogue(build_system(), build_system(OTHER_ID)))
    await subscribe(database, SYSTEM_ID, (1, 202))
    await queue_messages(database, SYSTEM_ID, 2)
    before = await count_rows(database)
    dry = await apply(database, EMPTY, is_dry_run=True, is_pruning=True)
    assert await count_rows(database) == before | {"audit_entries": before["audit_entries"] + 1}
    assert (await list_entries(database))[-1].entry.outcome == "dry run"
    assert await apply(database, EMPTY, is_pruning=True) == dry


@pytest.mark.parametrize("is_dry_run", [False, True])
@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (build_catalogue(build_system(OTHER_ID)), ["system"]),
        (build_catalogue(build_system(), build_system(OTHER_ID), allowed=[(2, 203)]), ["allowedSubscription"]),
        (
            build_catalogue(build_system(), build_system(OTHER_ID), types=[203], allowed=[(2, 203)]),
            ["messageType", "allowedSubscription"],
        ),
        (EMPTY, ["system", "messageType", "messageType", "allowedSubscription", "allowedSubscription"]),
    ],
    ids=["system", "pair", "type", "all"],
)
async def test_objects_in_use_are_kept_and_all_listed(
    database: Database, wanted: Catalogue, named: list[str], *, is_dry_run: bool
) -> None:
    await apply(database, build_catalogue(build_system(), build_system(OTHER_ID)))
    await subscribe(database, SYSTEM_ID, (1, 202), (2, 203))
    before, rows = await stored.read(database), await count_rows(database)
    with pytest.raises(CatalogueInUse) as caught:
        await apply(database, wanted, is_dry_run=is_dry_run)
    assert [part.item.section for part in caught.value.parts] == named
    assert {part.systems for part in caught.value.parts} == {(SYSTEM_ID,)}
    assert (await stored.read(database), await count_rows(database)) == (before, rows)


async def test_prune_removes_only_dependent_objects(database: Database) -> None:
    await apply(database, build_catalogue(build_system(), build_system(OTHER_ID)))
    await subscribe(database, SYSTEM_ID, (1, 202), (2, 203))
    await subscribe(database, OTHER_ID, (2, 203))
    await queue_messages(database, SYSTEM_ID, 3)
    before = len(await list_entries(database, SYSTEM_ID))
    applied = await apply(
        database,
        build_catalogue(build_system(), build_system(OTHER_ID), types=[203], allowed=[(2, 203)]),
        is_pruning=True,
    )
    assert applied.pruned == (Pruned(SYSTEM_ID, 1, 3),)
    assert (await count_rows(database))["deliveries"] == 3
    assert [item.identity for item in await subscriptions.list_subscriptions(database, SYSTEM_ID)] == [
        Identity(2, 101, 203)
    ]
    assert len(await subscriptions.list_subscriptions(database, OTHER_ID)) == 1
    assert (await list_entries(database))[-2].entry.detail["prunedSubscriptions"] == 1
    assert (await list_entries(database))[-2].entry.detail["droppedMessages"] == 3
    (entry,) = [item.entry for item in (await list_entries(database, SYSTEM_ID))[before:]]
    assert (entry.kind, entry.operation, entry.outcome, entry.request_id) == (
        "change",
        "apply",
        "changed",
        "request",
    )
    assert entry.detail == {
        "deleted": [[1, 101, 202, "/webhook", "2026-01-01T01:00:00+01:00", None]],
        "droppedMessages": 3,
    }
    assert len(await list_entries(database, OTHER_ID)) == 2


async def test_prune_removes_a_system_and_keeps_its_audit(database: Database) -> None:
    await apply(database, build_catalogue())
    await subscribe(database, SYSTEM_ID, (1, 202), (2, 203))
    assert (await apply(database, EMPTY, is_pruning=True)).pruned == (Pruned(SYSTEM_ID, 2, 0),)
    assert (await count_rows(database)).keys() == {"chains", "audit_entries"}
    assert [item.entry.operation for item in await list_entries(database, SYSTEM_ID)][-1] == "apply"


async def test_removed_certificate_gives_no_access(database: Database) -> None:
    await apply(database, FULL)
    assert await subscriptions.find_systems(database, FINGERPRINT) == {SYSTEM_ID, OTHER_ID}
    await apply(database, build_catalogue(build_system(certificates=frozenset({"11" * 32})), build_system(OTHER_ID)))
    assert await subscriptions.find_systems(database, FINGERPRINT) == {OTHER_ID}
    assert await subscriptions.find_systems(database, "00" * 32) == set()
    assert await subscriptions.find_systems(database, "11" * 32) == {SYSTEM_ID}


async def test_concurrent_applies_are_serialised(database: Database) -> None:
    names = [f"System {number}" for number in range(8)]
    results = await asyncio.gather(*(apply(database, build_catalogue(build_system(name=name))) for name in names))
    changes = [item.entry for item in await list_entries(database) if item.entry.kind == "change"]
    assert len(changes) == len(results) == 8
    # Each began where the previous one had ended.
    states = [
        change["after"]["name"]
        for entry in changes
        for change in entry.detail["changes"]
        if change["key"] == [SYSTEM_ID]
    ]
    previous = [
        change["before"] for entry in changes for change in entry.detail["changes"] if change["key"] == [SYSTEM_ID]
    ]
    assert [None if item is None else item["name"] for item in previous] == [None, *states[:-1]]
    assert (await stored.read(database)).systems[SYSTEM_ID].name == states[-1]


async def test_concurrent_applies_and_syncs_leave_no_subscription_without_its_catalogue_rows(
    database: Database,
) -> None:
    await apply(database, build_catalogue(build_system(), build_system(OTHER_ID)))
    smaller = build_catalogue(build_system(), build_system(OTHER_ID), types=[203], allowed=[(2, 203)])
    larger = build_catalogue(build_system(), build_system(OTHER_ID))
    work = [
        work
        for _ in range(5)
        for work in (
            subscribe(database, SYSTEM_ID, (1, 202), (2, 203)),
            apply(database, smaller, is_pruning=True),
            subscribe(database, OTHER_ID, (1, 202)),
            apply(database, larger),
            apply(database, smaller),
        )
    ]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    unforeseen = [
        outcome
        for outcome in outcomes
        if isinstance(outcome, BaseException) and not isinstance(outcome, CatalogueInUse | subscriptions.SyncRefused)
    ]
    assert unforeseen == []
    await apply(database, smaller, is_pruning=True)
    types = {
        item.identity.entity_type
        for system_id in (SYSTEM_ID, OTHER_ID)
        for item in await subscriptions.list_subscriptions(database, system_id)
    }
    assert types <= {203}
    await list_entries(database)
