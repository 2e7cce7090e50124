"""`budkavle audit verify` of an audit that is damaged in several ways: each kind of damage is reported."""

from pathlib import Path

import pytest

from domain.audit import CATALOGUE
from persistence.database import Database
from tests.budkavle.commands.test_audit_seals import Seals
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.persistence.rows import execute


@pytest.fixture
def seals(database_url: str, invoke: Invoke, tmp_path: Path) -> Seals:
    """Return a database with a catalogue and a sync, and two seals."""
    subscribe(database_url)
    seals = Seals(database_url, invoke, tmp_path)
    seals.seal()
    seals.seal()
    return seals


def damage(seals: Seals, *statements: str) -> None:
    async def run(database: Database) -> None:
        for statement in statements:
            await execute(database, statement)

    run_with_database(seals.url, run)


CHANGE_ENTRY = f"update audit_entries set outcome = 'refused' where chain = '{CATALOGUE}' and number = 1"
CHANGE_SEALED = f"update audit_entries set hash = '{'0' * 64}' where chain = '{SYSTEM_ID}' and number = 2"
CHANGE_STATE = "insert into message_types (entity_type, name) values (999, 'x')"


def test_verify_reports_damage_of_entries_seals_and_state(seals: Seals) -> None:
    damage(seals, CHANGE_ENTRY, CHANGE_SEALED, CHANGE_STATE)
    assert seals.verify("--state", "--head", "1" * 64).splitlines() == [
        f"Error: the audit is broken: entry 2 of '{SYSTEM_ID}': it was changed or moved",
        f"the audit is broken: entry 2 of '{SYSTEM_ID}': its hash is not the sealed one",
        "the audit does not match the state:",
        "'catalogue': messageType 999 is not in the audit",
        "'catalogue': entry 2 describes a change that no call reports",
    ]


def test_verify_reports_a_wrong_file_of_seals_and_damage_of_entries(seals: Seals) -> None:
    damage(seals, CHANGE_ENTRY)
    seals.file.write_text("".join(reversed(seals.lines)))
    first, second = seals.verify().splitlines()
    assert first.startswith("Error: line 2 of ")
    assert second.startswith(f"the audit is broken: entry 1 of '{CATALOGUE}'")


def test_verify_names_parts_that_damaged_entries_hide(seals: Seals) -> None:
    damage(seals, "update audit_entries set detail = '[]' where kind = 'change'")
    first, hidden, *others = seals.verify("--state").splitlines()
    assert first.startswith("Error: the audit is broken: entry ")
    assert hidden == "not verified, since entries cannot be read: seals (TypeError)"
    assert others[0] == "the audit does not match the state:"
