"""An insider forges the audit and computes all hashes again: `verify` alone accepts it, seals and state detect it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from budkavle.clock import now
from budkavle.ids import create_id
from domain.audit import API_KEYS, CATALOGUE, NO_SYSTEM, SEALS
from domain.callers import build_certificate_caller
from domain.catalogue import WebMessageEvent
from domain.subscriptions import Entry, Identity
from persistence import api_keys, audit_state, catalogue, delivery_pauses, subscriptions
from persistence.catalogue import Apply
from persistence.database import Database
from persistence.delivery_pauses import Command
from persistence.subscriptions import SyncCall
from tests import catalogues
from tests.budkavle.commands.audit_insider import Row, rewrite_audit
from tests.budkavle.commands.test_audit_seals import Seals
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import subscribe
from tests.budkavle.services import put_key
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.database_copies import Copy
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.catalogues import END, START
from tests.persistence.rows import execute

Rewrite = Callable[[list[Row]], list[Row]]


@pytest.fixture(scope="module")
def copies() -> dict[str, Copy]:
    """Return copies of what `sealed` created, by kind of database."""
    return {}


@pytest.fixture
def sealed(database_url: str, invoke: Invoke, tmp_path: Path, copies: dict[str, Copy]) -> Seals:
    """Return a database with three seals, and entries between them."""
    seals = Seals(database_url, invoke, tmp_path)
    kind = database_url.partition(":")[0]
    if kind in copies:
        copies[kind].restore(database_url, tmp_path)
    else:
        fill(seals)
        copies[kind] = Copy(database_url, tmp_path)
    return seals


def fill(seals: Seals) -> None:
    subscribe(seals.url)
    put_key(seals.url, "sealed")
    for number in range(3):
        for chain in (NO_SYSTEM, SYSTEM_ID):
            seals.record(chain=chain, request_id=f"r-{number}", detail={})
        assert seals.seal().startswith(f"ok: seal {number + 1} of ")
    assert seals.verify().startswith("ok: seals 1 to 3")


def _is_of(row: Row, chain: str, request_id: str) -> bool:
    return (row.entry.chain, row.entry.request_id) == (chain, request_id)


def change_rows(chain: str, request_id: str, change: Callable[[Row], Row]) -> Rewrite:
    return lambda rows: [change(row) if _is_of(row, chain, request_id) else row for row in rows]


def remove_rows(*removed: tuple[str, str]) -> Rewrite:
    return lambda rows: [row for row in rows if (row.entry.chain, row.entry.request_id) not in removed]


def remove_chain(name: str) -> Rewrite:
    return lambda rows: [row for row in rows if row.entry.chain != name]


def swap(rows: list[Row]) -> list[Row]:
    first, second = (next(row for row in rows if _is_of(row, NO_SYSTEM, name)) for name in ("r-0", "r-1"))
    return [second if row is first else first if row is second else row for row in rows]


def invent_entry(rows: list[Row]) -> list[Row]:
    """Add an entry after those of the first seal."""
    place = next(place for place, row in enumerate(rows) if _is_of(row, NO_SYSTEM, "r-1"))
    return [*rows[:place], rows[place].change(caller="sha256:aa", outcome="refused"), *rows[place:]]


def replace_last(rows: list[Row]) -> list[Row]:
    return change_rows(NO_SYSTEM, "r-2", lambda row: row.change(caller="somebody else"))(rows)


FORGERIES: dict[str, tuple[Rewrite, str]] = {
    "changed entry": (
        change_rows(SYSTEM_ID, "r-0", lambda row: row.change(outcome="refused")),
        f"entry 3 of '{SYSTEM_ID}': its hash is not the sealed one",
    ),
    "changed time": (
        change_rows(NO_SYSTEM, "r-1", lambda row: row.delay(1)),
        "entry 2 of '-': its hash is not the sealed one",
    ),
    "invented last entry": (replace_last, "entry 3 of '-': its hash is not the sealed one"),
    "invented entry": (invent_entry, "entry 2 of '-': its hash is not the sealed one"),
    "swapped entries": (swap, "entry 1 of '-': its hash is not the sealed one"),
    "truncated chain": (
        remove_rows((NO_SYSTEM, "r-2"), (NO_SYSTEM, "r-1")),
        "entry 2 of '-': it was sealed and is missing",
    ),
    "removed entry": (remove_rows((SYSTEM_ID, "r-1")), f"entry 4 of '{SYSTEM_ID}': its hash is not the sealed one"),
    "entry moved to another chain": (
        change_rows(NO_SYSTEM, "r-0", lambda row: row.change(chain=SYSTEM_ID)),
        "entry 1 of '-': its hash is not the sealed one",
    ),
    "removed chain": (remove_chain(NO_SYSTEM), "entry 1 of '-': it was sealed and is missing"),
    "removed record of seals": (remove_chain(SEALS), "entry 1 of 'seals': it was sealed and is missing"),
    "removed key creation": (remove_chain(API_KEYS), "entry 1 of 'api-keys': it was sealed and is missing"),
    "recomputed catalogue": (
        lambda rows: [row.change(caller="x") if row.entry.chain == CATALOGUE else row for row in rows],
        "entry 2 of 'catalogue': its hash is not the sealed one",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_seals_detect_what_verify_alone_accepts(sealed: Seals, name: str) -> None:
    forge, reason = FORGERIES[name]
    rewrite_audit(sealed.url, forge)
    assert sealed.verify_without().startswith("ok: ")
    assert re.escape(reason) in re.escape(sealed.verify())
    # The next seal does not cover it up.
    assert sealed.seal().startswith("Error: ")


def test_audit_that_an_insider_left_alone_passes(sealed: Seals) -> None:
    rewrite_audit(sealed.url, lambda rows: rows)
    assert sealed.verify().startswith("ok: seals 1 to 3")


def test_truncated_file_of_seals_is_detected(sealed: Seals) -> None:
    """Without its last seal, the file does not cover the entries after it."""
    rewrite_audit(sealed.url, replace_last)
    sealed.file.write_text("".join(sealed.lines[:-1]))
    assert sealed.verify() == "Error: seal 3, which the audit has recorded, is missing or differs"


def test_replayed_file_of_seals_is_detected_by_its_age(sealed: Seals) -> None:
    """The insider removes the later record of seals too, so only the age of the last seal shows it."""
    last = [(row_chain, "r-2") for row_chain in (NO_SYSTEM, SYSTEM_ID)]

    def forget(rows: list[Row]) -> list[Row]:
        kept = remove_rows(*last)(rows)
        return [row for row in kept if row.entry.chain != SEALS or '"number":3' not in row.detail]

    rewrite_audit(sealed.url, forget)
    old = sealed.folder / "old.jsonl"
    old.write_text("".join(sealed.lines[:-1]))
    assert sealed.verify(file=old).startswith("ok: seals 1 to 2")
    assert "is too old" in sealed.verify("--max-age", "0", file=old)
    # The file that was kept elsewhere shows it in any case.
    assert "it was sealed and is missing" in sealed.verify()


def test_seals_of_another_key_are_refused(sealed: Seals) -> None:
    """An insider who seals a forged audit lacks the operator's key."""
    rewrite_audit(sealed.url, remove_chain(SEALS))
    rewrite_audit(sealed.url, swap)
    key = sealed.folder / "insider.key"
    sealed.create_key(key, sealed.folder / "insider.pub")
    forged = sealed.folder / "forged.jsonl"
    assert sealed.seal(key=key, file=forged).startswith("ok: seal 1 of ")
    assert "is not among the given public keys" in sealed.verify(file=forged)


FINGERPRINT = "cd" * 32


def invent_sync(rows: list[Row]) -> list[Row]:
    """Add a sync that deletes a subscription, after the last seal."""
    call, change = (row for row in rows if row.entry.operation == "syncWebhookAbonnementer")
    deleted = json.dumps({"created": [], "updated": [], "deleted": json.loads(change.detail)["created"]})
    invented = (call.change(request_id="r-9"), replace(change.change(request_id="r-9"), detail=deleted))
    return [*rows, *invented]


def invent_call(rows: list[Row]) -> list[Row]:
    return [*rows, next(row for row in rows if row.entry.operation == "syncWebhookAbonnementer")]


def invent_change(rows: list[Row]) -> list[Row]:
    """Add a change of the catalogue that changes nothing."""
    change = next(row for row in rows if (row.entry.chain, row.entry.kind) == (CATALOGUE, "change"))
    return [*rows, change.change(request_id="r-9")]


def invent_unreadable(rows: list[Row]) -> list[Row]:
    return [*rows, replace(invent_change(rows)[-1], detail='{"changes":[1]}')]


def invent_key_revocation(rows: list[Row]) -> list[Row]:
    created = next(row for row in rows if row.entry.chain == API_KEYS)
    return [*rows, replace(created, detail=created.detail.replace("created", "revoked"))]


INVENTED: dict[str, tuple[Rewrite, str]] = {
    "sync": (invent_sync, f"'{SYSTEM_ID}': subscription 1/101/202 is not in the audit"),
    "call of a sync": (invent_call, f"'{SYSTEM_ID}': entry 6 reports a change that no entry describes"),
    "change of the catalogue": (invent_change, "'catalogue': entry 3 describes a change that no call reports"),
    "unreadable change": (invent_unreadable, "'catalogue': the detail of an entry cannot be read"),
    "revoked key": (invent_key_revocation, "'api-keys': API key 'sealed' is not in the audit"),
}


@pytest.mark.parametrize("name", INVENTED)
def test_state_detects_an_invented_last_entry(sealed: Seals, name: str) -> None:
    """Seals cover no entry after the last one."""
    forge, reason = INVENTED[name]
    rewrite_audit(sealed.url, forge)
    assert sealed.verify().startswith("ok: ")
    assert reason in sealed.verify("--state")


TABLES = {
    "removed subscription": (
        "delete from subscriptions",
        f"'{SYSTEM_ID}': subscription 1/101/202 is in the audit, but is not stored",
    ),
    "changed subscription": (
        "update subscriptions set webhook_url = '/x'",
        f"'{SYSTEM_ID}': subscription 1/101/202 differs from the audit",
    ),
    "added subscription": (
        """insert into subscriptions (system_id, org_type, org_code, entity_type, webhook_url, start_time)
        select system_id, org_type, 7, entity_type, webhook_url, start_time from subscriptions""",
        f"'{SYSTEM_ID}': subscription 1/7/202 is not in the audit",
    ),
    "changed system": (
        "update systems set base_url = 'https://insider.example'",
        f"'catalogue': system {SYSTEM_ID} differs from the audit",
    ),
    "added certificate": (
        f"insert into certificates (fingerprint, system_id) select '{FINGERPRINT}', id from systems",
        f"'catalogue': system {SYSTEM_ID} differs from the audit",
    ),
    "added type": (
        "insert into message_types (entity_type, name) values (999, 'x')",
        "'catalogue': messageType 999 is not in the audit",
    ),
    "removed permission": (
        "delete from allowed_subscriptions where org_type = 2",
        "'catalogue': allowedSubscription 2 203 is in the audit, but is not stored",
    ),
    "added key": (
        f"""insert into api_keys (key_hash, name, scopes, created)
        select '{FINGERPRINT}', 'x', scopes, created from api_keys""",
        "'api-keys': API key 'x' is not in the audit",
    ),
    "exchanged key": (
        f"update api_keys set key_hash = '{FINGERPRINT}'",
        "'api-keys': API key 'sealed' is not in the audit",
    ),
    "wider key": (
        """update api_keys set scopes = '["messages","publish"]'""",
        "'api-keys': API key 'sealed' differs from the audit",
    ),
    "removed key": ("delete from api_keys", "'api-keys': API key 'sealed' is in the audit, but is not stored"),
}


@pytest.mark.parametrize("name", TABLES)
def test_state_detects_tables_that_were_changed_without_an_entry(sealed: Seals, name: str) -> None:
    statement, reason = TABLES[name]
    assert sealed.verify("--state").startswith("ok: ")
    run_with_database(sealed.url, lambda database: execute(database, statement))
    assert sealed.verify().startswith("ok: ")
    assert reason in sealed.verify("--state")


def test_state_detects_a_revoked_key_that_is_in_use_again(sealed: Seals) -> None:
    run_with_database(sealed.url, lambda database: api_keys.revoke(database, "sealed", NOW))
    assert sealed.verify("--state").startswith("ok: ")
    run_with_database(sealed.url, lambda database: execute(database, "update api_keys set revoked = null"))
    assert "API key 'sealed' is not in the audit" in sealed.verify("--state")


PAUSES = {
    "removed": ("delete from delivery_pauses where org_type is null", "the pause is in the audit, but is not stored"),
    "endless": (
        "update delivery_pauses set until = null where org_type = 1",
        "the pause of subscription 1/101/202 differs",
    ),
    "of another operator": ("update delivery_pauses set operator = 'x' where org_type is null", "the pause differs"),
    "added": (
        """insert into delivery_pauses (system_id, org_type, org_code, entity_type, since, operator)
        select system_id, 2, 102, 203, since, operator from delivery_pauses where org_type = 1""",
        "the pause of subscription 2/102/203 is not in the audit",
    ),
}


@pytest.mark.parametrize("name", PAUSES)
def test_state_detects_pauses_that_were_changed_without_an_entry(sealed: Seals, invoke: Invoke, name: str) -> None:
    statement, reason = PAUSES[name]
    system = ("--system", SYSTEM_ID)
    for options in (("--until", "1h"), (), ("--subscription", "1/101/202", "--until", "3d")):
        assert invoke(sealed.url, "deliveries", "pause", *system, *options).exit_code == 0
    assert sealed.verify("--state").startswith("ok: ")
    run_with_database(sealed.url, lambda database: execute(database, statement))
    assert f"'{SYSTEM_ID}': {reason}" in sealed.verify("--state")


def test_state_accepts_pauses_that_ended(sealed: Seals) -> None:
    begun = now()
    subscription = Identity(1, 101, 202)

    def command(identity: Identity | None) -> Command:
        return Command(SYSTEM_ID, identity, "asa", begun, create_id(), create_id())

    async def pause(database: Database) -> None:
        await delivery_pauses.pause(database, command(None), None)
        await delivery_pauses.resume(database, command(None))
        await delivery_pauses.pause(database, command(subscription), begun + timedelta(seconds=1))
        moments = [begun, begun + timedelta(seconds=1), begun + timedelta(hours=1)]
        assert [await audit_state.list_differences(database, moment) for moment in moments] == [[], [], []]
        await delivery_pauses.remove_ended(database, moments[-1])
        assert await audit_state.list_differences(database, moments[-1]) == []
        [difference] = await audit_state.list_differences(database, begun)
        assert difference.endswith("the pause of subscription 1/101/202 is in the audit, but is not stored")

    run_with_database(sealed.url, pause)


def test_state_follows_every_kind_of_change(sealed: Seals) -> None:
    """Entries that are added, updated and deleted, with an end, by syncs and by an apply that prunes them."""
    system = catalogues.build_system(
        OTHER_ID,
        ca="file:/ca.pem",
        webhook_secrets=("env:A",),
        headers=catalogues.HEADERS,
        oauth2=catalogues.TOKEN_CLIENT,
    )
    subscribe(sealed.url, "http://127.0.0.1:9", SYSTEM_ID, OTHER_ID)

    async def change(database: Database) -> None:
        caller = build_certificate_caller(catalogues.FINGERPRINT)
        for rows in ([(101, END), (102, None), (103, END)], [(101, None), (103, END)], [(101, END), (104, None)]):
            entries = [Entry(0, 1, code, 202, f"/{len(rows)}", START, end) for code, end in rows]
            for system_id in (SYSTEM_ID, OTHER_ID):
                await subscriptions.sync(database, SyncCall(system_id, entries, now(), caller, create_id()))
            assert await audit_state.list_differences(database, now()) == []
        event = WebMessageEvent(1, 101, 203)
        for wanted in (
            catalogues.build_catalogue(system, event=event),
            catalogues.build_catalogue(system, types=(203,), allowed=()),
            catalogues.EMPTY,
        ):
            await catalogue.apply(database, Apply(wanted, now(), create_id(), is_pruning=True))
            assert await audit_state.list_differences(database, now()) == []

    run_with_database(sealed.url, change)
    assert sealed.verify("--state").startswith("ok: ")


def test_state_needs_keys_of_older_versions_to_be_recorded_once(database_url: str, invoke: Invoke) -> None:
    put_key(database_url, "old")
    rewrite_audit(database_url, remove_chain(API_KEYS))
    result = invoke(database_url, "audit", "verify", "--state")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith("'api-keys': API key 'old' is not in the audit\n")
    put_key(database_url, "new", "another key")
    result = invoke(database_url, "audit", "verify", "--state")
    assert result.stdout.endswith("ok: 2 entries in 1 chains\n")


def test_state_prints_only_some_differences(database_url: str, invoke: Invoke) -> None:
    subscribe(database_url)
    rows = ", ".join(f"({number}, 'x')" for number in range(1000, 1025))
    statement = f"insert into message_types (entity_type, name) values {rows}"
    run_with_database(database_url, lambda database: execute(database, statement))
    lines = invoke(database_url, "audit", "verify", "--state").stderr.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (22, "Error: the audit does not match the state:", "and 5 more")
