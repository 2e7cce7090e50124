"""Entries that are signed with a key of the service: an insider without it can invent none."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from budkavle.audit_keys import open_configured_database
from budkavle.clock import now
from budkavle.ids import create_id
from budkavle.settings import read_settings
from domain.audit import CATALOGUE, NO_SYSTEM, SEALS, SIGNING
from persistence import audit
from persistence.database import Database
from tests.budkavle.commands.audit_insider import Row, rewrite_audit
from tests.budkavle.commands.test_audit_forgeries import (
    FORGERIES,
    INVENTED,
    Seals,
    change_rows,
    copies,
    remove_chain,
    sealed,
)
from tests.budkavle.conftest import Invoke
from tests.catalogues import SYSTEM_ID
from tests.persistence.test_audit import build_audit_entry
from tests.processes import budkavle, run_program

__all__ = ["copies", "sealed"]

SECRETS = {name: base64.b64encode(name.encode() * 6).decode() for name in ("FIRST", "SECOND")}
FIRST, SECOND, BOTH = "env:FIRST", "env:SECOND", "env:SECOND, env:FIRST"


@pytest.fixture
def signed(sealed: Seals, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> Seals:
    """Return a database with seals whose entries are signed from the last seal on, except for the one of that."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    assert start(sealed, invoke).startswith("ok: new entries are signed, also those of the ")
    revoke(sealed, invoke, "sealed")
    return sealed


def start(seals: Seals, invoke: Invoke, keys: str = FIRST) -> str:
    result = invoke(seals.url, "audit", "start-signing", audit_key=keys)
    return (result.stdout or result.stderr).strip()


def revoke(seals: Seals, invoke: Invoke, name: str, keys: str = FIRST) -> None:
    result = invoke(seals.url, "api-key", "revoke", name, audit_key=keys)
    assert result.exit_code == 0, result.stderr


def verify(seals: Seals, *options: str, keys: str = FIRST) -> str:
    """Return the last but one line of a verification by seals and signatures, or the error."""
    return seals.verify("--signatures", *options, audit_key=keys)


def append_copy(request_id: str) -> Callable[[list[Row]], list[Row]]:
    """Append a copy of a call that changed nothing, with its signature."""

    def append(rows: list[Row]) -> list[Row]:
        row = next(row for row in rows if row.entry.request_id == request_id)
        return [*rows, row]

    return append


def test_signatures_of_all_entries_are_verified(signed: Seals, invoke: Invoke) -> None:
    put_key_with(signed, invoke, "later")
    assert verify(signed, "--state") == "ok: 3 signed entries"
    assert signed.verify("--state").startswith("ok: seals 1 to 3")


def put_key_with(seals: Seals, invoke: Invoke, name: str, keys: str = FIRST) -> None:
    assert invoke(seals.url, "api-key", "create", name, "--scope", "publish", audit_key=keys).exit_code == 0


INVENTED_CALLS: dict[str, tuple[Callable[[list[Row]], list[Row]], str]] = {
    "call that changed nothing": (append_copy("r-2"), "entry 4 of '-': it has no signature"),
    "refused call": (
        lambda rows: append_copy("r-2")(change_rows(NO_SYSTEM, "r-2", lambda row: row.change(outcome="refused"))(rows)),
        "entry 3 of '-': its hash is not the sealed one",
    ),
    "call with the signature of another one": (
        lambda rows: [*rows, replace(rows[0], signature=next(row.signature for row in rows if row.signature))],
        "entry 3 of 'catalogue': its signature is wrong",
    ),
    "chain of an unknown system": (
        lambda rows: [*rows, rows[-1].change(chain="11111111-0000-0000-0000-000000000000", kind="call")],
        "entry 1 of '11111111-0000-0000-0000-000000000000': its signature is wrong",
    ),
    "changed signed entry": (
        lambda rows: [*rows[:-1], rows[-1].change(caller="x")],
        "entry 2 of 'api-keys': its signature is wrong",
    ),
    "removed signatures": (
        lambda rows: [replace(row, signature=None) for row in rows],
        "entry 1 of 'signing': no entry with a right signature says that entries are signed",
    ),
    "removed statement": (
        remove_chain(SIGNING),
        "entry 1 of 'signing': no entry with a right signature says that entries are signed",
    ),
    "changed entry before the statement": (
        lambda rows: [row.change(caller="x") if row.entry.chain == CATALOGUE else row for row in rows],
        "its hash is not the sealed one",
    ),
}


@pytest.mark.parametrize("name", INVENTED_CALLS)
def test_signatures_detect_what_seals_and_state_accept(signed: Seals, name: str) -> None:
    forge, reason = INVENTED_CALLS[name]
    rewrite_audit(signed.url, forge)
    assert signed.verify_without().startswith("ok: ")
    assert reason in verify(signed)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", [*FORGERIES, *INVENTED])
def test_no_forgery_passes_with_signatures_seals_and_state(signed: Seals, name: str) -> None:
    forge, _ = (FORGERIES | INVENTED)[name]
    rewrite_audit(signed.url, forge)
    assert verify(signed, "--state").startswith("Error: ")


def test_processes_without_the_key_cannot_append(signed: Seals, invoke: Invoke) -> None:
    result = invoke(signed.url, "api-key", "create", "x", "--scope", "publish")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the entries of the audit are signed: set BUDKAVLE_AUDIT_KEY" in result.stderr
    assert invoke(signed.url, "audit", "list", "--limit", "1").exit_code == 0
    assert invoke(signed.url, "audit", "verify").exit_code == 0
    assert "set BUDKAVLE_AUDIT_KEY" in start_without(signed, invoke)


def start_without(seals: Seals, invoke: Invoke) -> str:
    return invoke(seals.url, "audit", "start-signing").stderr


@pytest.mark.parametrize("keys", [SECOND, None])
def test_service_does_not_start_without_a_key_of_the_audit(signed: Seals, keys: str | None) -> None:
    settings = {} if keys is None else {"audit_key": keys}
    result = run_program(*budkavle("serve", "--port", "0"), database_url=signed.url, **settings)
    assert result.returncode == 1
    assert "BUDKAVLE_AUDIT_KEY" in result.stderr
    assert "the entries of the audit are signed" in result.stderr


def test_commands_with_another_key_are_refused(signed: Seals, invoke: Invoke) -> None:
    result = invoke(signed.url, "api-key", "create", "x", "--scope", "publish", audit_key=SECOND)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "BUDKAVLE_AUDIT_KEY has none of its keys" in result.stderr


def test_key_is_replaced(signed: Seals, invoke: Invoke) -> None:
    put_key_with(signed, invoke, "second", BOTH)
    assert verify(signed, keys=BOTH) == "ok: 3 signed entries"
    assert verify(signed, keys=FIRST) == "Error: the audit is broken: entry 3 of 'api-keys': its signature is wrong"
    assert "no entry with a right signature" in verify(signed, keys=SECOND)
    assert start(signed, invoke, SECOND).startswith("ok: ")
    put_key_with(signed, invoke, "third", SECOND)
    assert verify(signed, keys=SECOND) == "ok: 2 signed entries"
    assert verify(signed, keys=BOTH) == "ok: 5 signed entries"


def test_seal_records_are_signed(signed: Seals, invoke: Invoke) -> None:
    command = ("audit", "seal", str(signed.file), "--key", str(signed.key))
    assert invoke(signed.url, *command, audit_key=FIRST).exit_code == 0
    assert verify(signed) == "ok: 3 signed entries"
    lines = invoke(signed.url, "audit", "export", "--system", SEALS).stdout.splitlines()
    assert [json.loads(line)["signature"] is None for line in lines] == [True, True, True, False]


def test_all_kinds_of_entries_are_signed(signed: Seals, database_url: str) -> None:
    """The signature is made where entries are appended, whatever appends them."""

    async def append(database: Database) -> None:
        await audit.record_all(database, SYSTEM_ID, [build_audit_entry(chain=SYSTEM_ID) for _ in range(2)])
        await audit.record(database, build_audit_entry(chain=NO_SYSTEM, time=now(), request_id=create_id()))

    async def run() -> None:
        database = open_configured_database(read_settings(database_url=database_url, audit_key=FIRST))
        try:
            await append(database)
        finally:
            await database.close()

    asyncio.run(run())
    assert verify(signed) == "ok: 5 signed entries"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("secret", "entry 1 must be env:NAME or file:PATH"),
        ("env:FIRST,env:", "entry 2 must be env:NAME or file:PATH"),
        ("env:ABSENT", "env:ABSENT is not set"),
        ("file:/absent", "file:/absent cannot be read"),
    ],
)
def test_unusable_keys_are_refused(sealed: Seals, invoke: Invoke, keys: str, reason: str) -> None:
    result = invoke(sealed.url, "audit", "verify", audit_key=keys)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert "secret" not in result.stderr
