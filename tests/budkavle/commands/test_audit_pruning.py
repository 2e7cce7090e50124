"""`budkavle audit prune`: what remains is verified from a signed checkpoint on, and an insider cannot make one."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from budkavle import retention
from budkavle.audit_pruning import create_audit_pruner
from budkavle.clock import now
from budkavle.ids import create_id
from budkavle.sealing import compute_key_id, read_private_key
from budkavle.settings import SettingsUnusable, read_settings
from domain.audit import API_KEYS, CATALOGUE, NO_SYSTEM, RETENTION, AuditEntry
from persistence import audit, audit_pruning, receipt_rounds
from persistence.database import Database
from tests.budkavle.commands.audit_insider import Row, rewrite_audit
from tests.budkavle.commands.test_audit_export import export_all, needs_node, run_checker
from tests.budkavle.commands.test_audit_forgeries import Seals, copies, sealed
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import subscribe
from tests.budkavle.services import put_key
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.databases import run_with_database
from tests.factories import NOW
from tests.persistence.rows import execute
from tests.persistence.test_receipt_rounds import build_rows, store

__all__ = ["copies", "sealed"]

OLD, FUTURE = "2026-06-01", "2126-01-01"


def prune(seals: Seals, invoke: Invoke, before: str = FUTURE, *options: str, **settings: str) -> str:
    """Return the output, which is an error if it begins with `Error`."""
    key = () if "--key" in options else ("--key", str(seals.key))
    result = invoke(seals.url, "audit", "prune", "--before", before, *key, *options, **settings)
    return (result.stdout or result.stderr).strip()


def verify(seals: Seals, invoke: Invoke, *options: str, **settings: str) -> str:
    """Return the output of a verification with seals, state and the public key, or the error."""
    given = ("--seals", str(seals.file), "--public-key", str(seals.public_key), "--state", *options)
    result = invoke(seals.url, "audit", "verify", *given, **settings)
    return result.stdout if result.exit_code == 0 else result.stderr.strip()


def list_entries(url: str) -> list[tuple[str, int]]:
    async def read(database: Database) -> list[Any]:
        return await audit.list_page(database, after=0, limit=1000)

    return [(each.entry.chain, each.number) for _, each in run_with_database(url, read)]


def test_prune_removes_old_entries_and_keeps_the_last_of_each_chain(sealed: Seals, invoke: Invoke) -> None:
    before = list_entries(sealed.url)
    assert prune(sealed, invoke, OLD, "--dry-run") == "2 entries would be removed"
    assert prune(sealed, invoke, OLD, "--as", "Åsa") == "ok: 2 entries removed"
    # The entries of the system are as old, but follow a younger one.
    removed = [(NO_SYSTEM, 1), (NO_SYSTEM, 2)]
    assert list_entries(sealed.url) == [each for each in before if each not in removed] + [(RETENTION, 1)]
    output = verify(sealed, invoke)
    assert "\nok: checkpoint 1 of 20" in output
    assert ", signed, 2 entries removed\n" in output
    assert prune(sealed, invoke, OLD) == "ok: 0 entries removed"
    assert prune(sealed, invoke, FUTURE).endswith(" entries removed")
    kept = list_entries(sealed.url)
    # Besides the last entries: the checkpoint, and the call that the last entry of the catalogue describes.
    assert len(kept) == len({chain for chain, _ in kept}) + 2
    assert "ok: checkpoint 2 of 20" in verify(sealed, invoke)
    [entry] = json.loads(f"[{invoke(sealed.url, 'audit', 'list', '--system', RETENTION).stdout.splitlines()[0]}]")
    assert (entry["operation"], entry["caller"], entry["outcome"]) == ("audit prune", "Åsa", "removed")


def test_audit_continues_after_a_prune(sealed: Seals, invoke: Invoke) -> None:
    """Syncs, keys, seals, and further prunes, with the state of what was removed."""
    for number in range(3):
        assert prune(sealed, invoke).startswith("ok: ")
        subscribe(sealed.url, f"http://127.0.0.1:{number + 1}", SYSTEM_ID, OTHER_ID)
        put_key(sealed.url, f"key {number}", f"secret {number}")
        sealed.record(chain=NO_SYSTEM)
        assert sealed.seal().startswith(f"ok: seal {number + 4} of ")
        assert f"ok: checkpoint {number + 1} of " in verify(sealed, invoke)
    assert invoke(sealed.url, "api-key", "revoke", "key 1").exit_code == 0
    assert prune(sealed, invoke) != "ok: 0 entries removed"
    assert "ok: seals 1 to 6" in verify(sealed, invoke)
    run_with_database(sealed.url, lambda database: execute(database, "delete from subscriptions"))
    assert "is in the audit, but is not stored" in verify(sealed, invoke)


def test_state_detects_changes_of_what_was_changed_before_the_checkpoint(sealed: Seals, invoke: Invoke) -> None:
    sealed.record(chain=CATALOGUE, kind="note", outcome="answered", detail={})
    sealed.record(chain=SYSTEM_ID, detail={})
    sealed.record(chain=API_KEYS, kind="note", detail={})
    assert prune(sealed, invoke).startswith("ok: ")
    assert verify(sealed, invoke).endswith("chains\n")
    for statement, reason in (
        ("update systems set base_url = 'https://insider.example'", "differs from the audit"),
        ("update subscriptions set webhook_url = '/x'", "subscription 1/101/202 differs from the audit"),
        ("delete from api_keys", "API key 'sealed' is in the audit, but is not stored"),
    ):
        run_with_database(sealed.url, lambda database, text=statement: execute(database, text))
        assert reason in verify(sealed, invoke)


def test_prune_does_not_separate_a_call_from_its_change(database_url: str, invoke: Invoke, tmp_path: Path) -> None:
    """The last entry of a chain is kept, and with it the call that it describes."""
    subscribe(database_url)
    seals = Seals(database_url, invoke, tmp_path)
    assert prune(seals, invoke) == "ok: 0 entries removed"
    seals.record(chain=SYSTEM_ID, detail={})
    assert prune(seals, invoke) == "ok: 2 entries removed"


def test_verify_without_a_key_says_that_the_signature_was_not_verified(sealed: Seals, invoke: Invoke) -> None:
    prune(sealed, invoke)
    lines = invoke(sealed.url, "audit", "verify").stdout.splitlines()
    assert next(line for line in lines if "checkpoint" in line).endswith("give --public-key to verify its signature")
    lines = invoke(sealed.url, "audit", "verify", audit_seal_key=str(sealed.key)).stdout.splitlines()
    assert ", signed, " in next(line for line in lines if "checkpoint" in line)


def test_verify_reads_the_public_key_in_any_case(sealed: Seals, invoke: Invoke) -> None:
    result = invoke(sealed.url, "audit", "verify", "--public-key", str(sealed.folder / "missing.pub"))
    assert (result.exit_code, result.stdout, "has no public key" in result.stderr) == (1, "", True)


def test_verify_accepts_a_kept_hash_at_the_checkpoint_but_not_before(sealed: Seals, invoke: Invoke) -> None:
    async def read(database: Database) -> list[str]:
        page = await audit.list_page(database, after=0, limit=10, chain=NO_SYSTEM)
        return [each.hash for _, each in page]

    first, second, third = run_with_database(sealed.url, read)
    prune(sealed, invoke)
    assert [invoke(sealed.url, "audit", "verify", "--head", each).exit_code for each in (first, second, third)] == [
        1,
        0,
        0,
    ]


def test_signatures_of_entries_are_verified_after_a_prune(
    sealed: Seals, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "c2lnbmF0dXJlcyBvZiB0aGUgYXVkaXQgaW4gdGVzdHM=")
    settings = {"audit_key": "env:SECRET"}
    assert invoke(sealed.url, "audit", "start-signing", **settings).exit_code == 0
    assert prune(sealed, invoke).startswith("Error: the entries of the audit are signed")
    for _ in range(2):
        assert prune(sealed, invoke, **settings).startswith("ok: ")
        assert invoke(sealed.url, "api-key", "create", "signed", "--scope", "messages", **settings).exit_code == 0
        assert invoke(sealed.url, "api-key", "revoke", "signed", **settings).exit_code == 0
        assert " signed entries\n" in verify(sealed, invoke, "--signatures", **settings)
    # An insider who has the operator's key, and not the secret of the service, can remove no more.
    forge, starts = _prune_as_insider(sealed, sealed.key, API_KEYS), _start_after_insider(sealed, API_KEYS)
    rewrite_audit(sealed.url, forge, starts)
    assert ", signed, " in verify_key(sealed, invoke)
    reason = invoke(sealed.url, "audit", "verify", "--signatures", **settings).stderr
    assert re.fullmatch("Error: the audit is broken: entry [0-9]+ of '[a-z-]+': its signature is wrong\n", reason)


def read_starts(seals: Seals) -> dict[str, tuple[int, str]]:
    """Return the numbers and hashes of the removed ends."""

    async def read(database: Database) -> dict[str, tuple[int, str]]:
        page = await audit.list_page(database, after=0, limit=1000, chain=RETENTION)
        texts = [each.entry.detail["checkpoint"] for _, each in page if "checkpoint" in each.entry.detail]
        return {name: (length, hash_) for name, (length, hash_) in json.loads(texts[-1])["chains"].items()}

    found: dict[str, tuple[int, str]] = run_with_database(seals.url, read)
    return found


def _change_checkpoint(row: Row, change: Callable[[dict[str, Any]], object], key: Path | None = None) -> Row:
    """Change the last checkpoint, and sign it if there is a key."""
    detail = json.loads(row.detail)
    value = json.loads(detail["checkpoint"])
    change(value)
    if key is not None:
        private = read_private_key(key)
        value["key"] = compute_key_id(private.public_key())
    detail["checkpoint"] = json.dumps(value, separators=(",", ":"))
    if key is not None:
        detail["signature"] = base64.b64encode(private.sign(detail["checkpoint"].encode())).decode()
    return replace(row, detail=json.dumps(detail, sort_keys=True, separators=(",", ":")))


def _prune_as_insider(seals: Seals, key: Path | None, chain: str = SYSTEM_ID) -> Callable[[list[Row]], list[Row]]:
    """Remove the first remaining entry of a chain, with a checkpoint that says so."""

    async def read(database: Database) -> tuple[int, str]:
        [(_, first), *_] = await audit.list_page(database, after=0, limit=1, chain=chain)
        return first.number, first.hash

    number, hash_ = run_with_database(seals.url, read)

    def forge(rows: list[Row]) -> list[Row]:
        def move(value: dict[str, Any]) -> None:
            value["chains"][chain] = [number, hash_]
            value["chains"] = dict(sorted(value["chains"].items()))

        first = next(row for row in rows if row.entry.chain == chain)
        last = [row for row in rows if row.entry.operation == "audit prune"][-1]
        return [_change_checkpoint(row, move, key) if row is last else row for row in rows if row is not first]

    return forge


def _start_after_insider(seals: Seals, chain: str = SYSTEM_ID) -> dict[str, tuple[int, str]]:
    """Return the starts of chains as the insider's checkpoint has them."""

    async def read(database: Database) -> tuple[int, str]:
        [(_, first), *_] = await audit.list_page(database, after=0, limit=1, chain=chain)
        return first.number, first.hash

    return read_starts(seals) | {chain: run_with_database(seals.url, read)}


@pytest.fixture
def pruned(sealed: Seals, invoke: Invoke) -> Seals:
    """Return an audit of which a part was removed."""
    assert prune(sealed, invoke, OLD) == "ok: 2 entries removed"
    return sealed


def test_insider_who_removes_more_needs_the_key(pruned: Seals, invoke: Invoke) -> None:
    """All hashes are right, so only the signature shows it."""
    insider = pruned.folder / "insider.key"
    pruned.create_key(insider, pruned.folder / "insider.pub")
    rewrite_audit(pruned.url, _prune_as_insider(pruned, insider), _start_after_insider(pruned))
    assert pruned.verify_without().startswith("ok: ")
    for reason in (verify(pruned, invoke), verify_key(pruned, invoke), prune(pruned, invoke)):
        assert "is not among the given public keys" in reason


def verify_key(seals: Seals, invoke: Invoke) -> str:
    result = invoke(seals.url, "audit", "verify", "--public-key", str(seals.public_key))
    return result.stdout if result.exit_code == 0 else result.stderr.strip()


def test_insider_who_changes_the_checkpoint_breaks_its_signature(pruned: Seals, invoke: Invoke) -> None:
    rewrite_audit(pruned.url, _prune_as_insider(pruned, None), _start_after_insider(pruned))
    assert pruned.verify_without().startswith("ok: ")
    for reason in (verify(pruned, invoke), verify_key(pruned, invoke), prune(pruned, invoke)):
        assert "checkpoint 1: the signature is wrong" in reason


def test_insider_who_changes_the_state_in_the_checkpoint_breaks_its_signature(sealed: Seals, invoke: Invoke) -> None:
    sealed.record(chain=SYSTEM_ID, detail={})
    prune(sealed, invoke)

    def forge(rows: list[Row]) -> list[Row]:
        return [
            _change_checkpoint(row, lambda value: value["state"].clear())
            if row.entry.operation == "audit prune"
            else row
            for row in rows
        ]

    rewrite_audit(sealed.url, forge, read_starts(sealed))
    assert sealed.verify_without().startswith("ok: ")
    assert "checkpoint 1: the signature is wrong" in verify_key(sealed, invoke)


def test_removed_checkpoint_is_found(pruned: Seals, invoke: Invoke) -> None:
    starts = read_starts(pruned)
    rewrite_audit(pruned.url, lambda rows: [row for row in rows if row.entry.chain != RETENTION], starts)
    missing = "Error: the audit is broken: entry 1 of '-': it is missing"
    sealed = "the audit is broken: entry 1 of '-': it was sealed and is missing"
    assert (pruned.verify_without(), verify(pruned, invoke)) == (missing, f"{missing}\n{sealed}")


def test_unreadable_checkpoint_is_found(pruned: Seals, invoke: Invoke) -> None:
    def forge(rows: list[Row]) -> list[Row]:
        return [
            replace(row, detail='{"checkpoint":"{}","signature":""}') if row.entry.chain == RETENTION else row
            for row in rows
        ]

    rewrite_audit(pruned.url, forge, read_starts(pruned))
    reason = "entry 0 of 'retention': the last checkpoint cannot be read"
    assert pruned.verify_without().splitlines() == [
        f"Error: the audit is broken: {reason}",
        "not verified, since entries cannot be read: receipts (ValueError)",
        "not verified, since entries cannot be read: checkpoint (ValueError)",
    ]
    assert prune(pruned, invoke) == "Error: the audit cannot be pruned: its last checkpoint cannot be read"


def test_earlier_checkpoint_does_not_replace_a_later_one(pruned: Seals, invoke: Invoke) -> None:
    """The insider removes the last checkpoint, so that the one before counts again, which the operator has signed."""
    pruned.record(chain=NO_SYSTEM)
    assert prune(pruned, invoke).startswith("ok: ")
    starts = read_starts(pruned)

    def forge(rows: list[Row]) -> list[Row]:
        *others, last = [row for row in rows if row.entry.operation == "audit prune"]
        assert len(others) == 1
        return [row for row in rows if row is not last]

    rewrite_audit(pruned.url, forge, starts)
    assert "it is missing" in verify_key(pruned, invoke)


def test_entry_before_the_checkpoint_was_added(pruned: Seals) -> None:
    statement = """insert into audit_entries
        (chain, number, kind, time, operation, caller, outcome, request_id, detail, hash)
        select chain, 1, kind, time, operation, caller, outcome, request_id, detail, hash
        from audit_entries where chain = '-'"""
    run_with_database(pruned.url, lambda database: execute(database, statement))
    assert pruned.verify_without() == "Error: the audit is broken: entry 1 of '-': it was added"


def test_sealed_entry_at_the_checkpoint_is_compared(sealed: Seals, invoke: Invoke) -> None:
    """An insider rewrites the audit before it is pruned by a command that does not know the seals."""
    rewrite_audit(
        sealed.url,
        lambda rows: [row.change(caller="x") if row.entry.request_id == "r-1" else row for row in rows],
    )
    refused = prune(sealed, invoke, audit_seal_file=str(sealed.file))
    assert refused.startswith("Error: the audit is broken, and was not pruned: entry 2 of '-'")
    assert prune(sealed, invoke).startswith("ok: ")
    assert "its hash in the checkpoint is not the sealed one" in verify(sealed, invoke)


def test_prune_removes_nothing_from_a_broken_audit(sealed: Seals, invoke: Invoke) -> None:
    before = list_entries(sealed.url)
    statement = "update audit_entries set caller = 'x' where request_id = 'r-1'"
    run_with_database(sealed.url, lambda database: execute(database, statement))
    assert "it was changed or moved" in prune(sealed, invoke)
    assert list_entries(sealed.url) == before


def test_prune_accepts_former_keys_and_needs_them(pruned: Seals, invoke: Invoke) -> None:
    key, public = pruned.folder / "new.key", pruned.folder / "new.pub"
    pruned.create_key(key, public)
    assert "is not among the given public keys" in prune(pruned, invoke, FUTURE, "--key", str(key))
    options = ("--key", str(key), "--public-key", str(pruned.public_key))
    assert prune(pruned, invoke, FUTURE, *options).startswith("ok: ")
    assert ", signed, " in verify(pruned, invoke, "--public-key", str(public))


def test_prune_keeps_what_seals_receipts_until_they_expire(database_url: str, invoke: Invoke, tmp_path: Path) -> None:
    seals = Seals(database_url, invoke, tmp_path)
    sealed_at = now()

    async def fill(database: Database) -> None:
        rows = build_rows(3, last_attempt=sealed_at - timedelta(days=1))
        await store(database, *rows, *build_rows(2, OTHER_ID, last_attempt=sealed_at))
        await seal_at(database, sealed_at)
        await store(database, *build_rows(1, last_attempt=sealed_at))
        await seal_at(database, sealed_at)
        for chain in (SYSTEM_ID, OTHER_ID):
            await audit.record(database, AuditEntry(chain, "call", NOW, "x", "-", "answered", "r"))

    run_with_database(database_url, fill)
    before = list_entries(database_url)
    assert prune(seals, invoke) == "ok: 0 entries removed"

    async def prune_later(database: Database) -> None:
        settings = read_settings(audit_seal_key=seals.key)
        pruner = create_audit_pruner(settings, database)
        later = sealed_at + timedelta(days=91)
        assert [number async for number in pruner.prune(later, later, "Åsa")] != []
        assert len(list_entries_of(await audit.list_page(database, after=0, limit=100))) < len(before)
        counts, difference = await receipt_rounds.verify(database, later)
        assert (difference, counts.removed, counts.sealed) == (None, 5, 1)
        await execute(database, "delete from receipts where number <= 5")
        counts, difference = await receipt_rounds.verify(database, later)
        assert (difference, counts.removed, counts.sealed) == (None, 0, 1)
        # An insider adds one that has not expired.
        await store(database, *build_rows(1, number=2, last_attempt=later))
        _, difference = await receipt_rounds.verify(database, later)
        assert difference is not None
        assert "was added before the checkpoint" in difference

    run_with_database(database_url, prune_later)


async def seal_at(database: Database, moment: datetime) -> None:
    end = await receipt_rounds.find_end(database)
    assert await receipt_rounds.seal_round(database, end.number, moment, create_id())


def list_entries_of(page: list[tuple[int, Any]]) -> list[str]:
    return [each.entry.chain for _, each in page]


def test_prune_removes_a_limited_number_at_once(sealed: Seals) -> None:
    async def run(database: Database) -> None:
        tomorrow = now() + timedelta(days=1)
        whole = await audit_pruning.plan_prune(database, tomorrow, tomorrow)
        part = await audit_pruning.plan_prune(database, tomorrow, tomorrow, 3)
        assert 0 < part.number <= 3 < whole.number
        entry = AuditEntry(RETENTION, "change", now(), "x", "-", "x", "r")
        assert await audit_pruning.prune(database, part, entry)
        # Another process has pruned since `whole` was read.
        assert not await audit_pruning.prune(database, whole, entry)

    run_with_database(sealed.url, run)


def test_purge_prunes_the_audit_by_the_settings(sealed: Seals, invoke: Invoke) -> None:
    settings = {"audit_days": "10", "audit_seal_key": str(sealed.key)}
    lines = invoke(sealed.url, "purge", "--dry-run", **settings).stdout.splitlines()
    assert json.loads(lines[-1]) == {"kind": "auditEntries", "days": 10, "wouldRemove": 2}
    lines = invoke(sealed.url, "purge", **settings).stdout.splitlines()
    assert json.loads(lines[-1]) == {"kind": "auditEntries", "days": 10, "removed": 2}
    assert ", signed, 2 entries removed" in verify(sealed, invoke)

    async def run_regularly(database: Database) -> list[int]:
        given = read_settings(audit_days=10, audit_seal_key=sealed.key)
        regular = retention.create_regular_purge(given, database, now)
        first = (await regular.run_once()).total()
        for request_id in ("r-8", "r-9"):
            await audit.record(database, AuditEntry(NO_SYSTEM, "call", NOW, "x", "-", "refused", request_id))
        return [first, (await regular.run_once()).total(), (await create_again(given, database).run_once()).total()]

    assert run_with_database(sealed.url, run_regularly) == [0, 0, 2]


def create_again(settings: Any, database: Database) -> retention.RegularPurge:
    """Return another regular removal: one looks at the audit once a day."""
    return retention.create_regular_purge(settings, database, now)


def test_retention_of_the_audit_needs_a_key(database_url: str, invoke: Invoke) -> None:
    result = invoke(database_url, "purge", audit_days="10")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "BUDKAVLE_AUDIT_SEAL_KEY" in result.stderr

    async def create(database: Database) -> None:
        with pytest.raises(SettingsUnusable):
            retention.create_regular_purge(read_settings(audit_days=10), database, now)

    run_with_database(database_url, create)
    assert invoke(database_url, "audit", "prune", "--before", OLD).exit_code == 2


@needs_node
def test_other_program_verifies_a_pruned_export(sealed: Seals, invoke: Invoke) -> None:
    sealed.record(chain=SYSTEM_ID, detail={})
    prune(sealed, invoke)
    sealed.seal()
    export = export_all(sealed, invoke)
    count = len(export.splitlines())
    assert run_checker(sealed, export) == f"ok: {count} entries, 4 seals"
    assert (
        run_checker(sealed, export.replace('"signature\\":\\"', '"signature\\":\\"AAAA', 1)) != f"ok: {count} entries"
    )
    last = next(line for line in export.splitlines(keepends=True) if '"audit prune"' in line)
    assert "is missing" in run_checker(sealed, export.replace(last, ""))
