"""`budkavle audit seal` and `verify --seals`: files of seals, their keys, and what is refused."""

import asyncio
import fcntl
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from budkavle.clock import now
from budkavle.sealing import RegularSeals, SealRefused, create_regular_seals
from budkavle.settings import Settings, SettingsUnusable
from domain.audit import SEALS
from domain.seals import Seal
from persistence import audit
from persistence.database import Database
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import subscribe
from tests.catalogues import SYSTEM_ID
from tests.databases import run_with_database
from tests.persistence.rows import execute
from tests.persistence.test_audit import build_audit_entry
from tests.processes import budkavle, running
from tests.waiting import wait_until


class Seals:
    """A key pair and a file of seals of one database."""

    def __init__(self, url: str, invoke: Invoke, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.file, self.key, self.public_key = folder / "seals.jsonl", folder / "seal.key", folder / "seal.pub"
        self._invoke = invoke
        self.create_key(self.key, self.public_key)

    def create_key(self, private: Path, public: Path) -> None:
        key = Ed25519PrivateKey.generate()
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def seal(self, *options: str, key: Path | None = None, file: Path | None = None) -> str:
        """Return the output, which is an error if it begins with `Error`."""
        command = ("audit", "seal", str(file or self.file), "--key", str(key or self.key), *options)
        result = self._invoke(self.url, *command)
        return (result.stdout or result.stderr).strip()

    def verify(self, *options: str, file: Path | None = None, **settings: str) -> str:
        """Return the last but one line of the output, or the error."""
        command = ("audit", "verify", "--seals", str(file or self.file), "--public-key", str(self.public_key))
        result = self._invoke(self.url, *command, *options, **settings)
        return result.stdout.splitlines()[-2] if result.exit_code == 0 else result.stderr.strip()

    def verify_without(self) -> str:
        """Return the last line of a verification that has no seals, or the error."""
        result = self._invoke(self.url, "audit", "verify")
        return result.stdout.splitlines()[-1] if result.exit_code == 0 else result.stderr.strip()

    @property
    def lines(self) -> list[str]:
        return self.file.read_text().splitlines(keepends=True)

    def record(self, **changes: object) -> None:
        """Append an entry to the audit."""
        run_with_database(self.url, lambda database: audit.record(database, build_audit_entry(**changes)))


@pytest.fixture
def seals(database_url: str, invoke: Invoke, tmp_path: Path) -> Seals:
    """Return a database with a catalogue and a sync, without seals."""
    subscribe(database_url)
    return Seals(database_url, invoke, tmp_path)


def test_seal_signs_the_heads_of_all_chains_and_is_recorded(seals: Seals) -> None:
    assert seals.seal() == "ok: seal 1 of 2 chains"
    seals.record()
    assert seals.seal() == "ok: seal 2 of 4 chains"
    assert seals.verify().startswith("ok: seals 1 to 2, the last one of 20")
    first, second = (json.loads(line.partition(" ")[2]) for line in seals.lines)
    assert set(first["chains"]) == {"catalogue", SYSTEM_ID}
    assert set(second["chains"]) == {"catalogue", SYSTEM_ID, "a", SEALS}
    entries = run_with_database(seals.url, lambda database: audit.list_page(database, after=0, limit=10, chain=SEALS))
    assert [item.entry.detail["number"] for _, item in entries] == [1, 2]
    assert entries[0][1].entry.detail["hash"] == second["previous"]


def test_verify_accepts_seals_of_all_given_keys(seals: Seals) -> None:
    seals.seal()
    private, public = seals.folder / "new.key", seals.folder / "new.pub"
    seals.create_key(private, public)
    assert seals.seal(key=private) == "ok: seal 2 of 3 chains"
    assert "is not among the given public keys" in seals.verify()
    assert seals.verify("--public-key", str(public)).startswith("ok: seals 1 to 2")


def test_verify_requires_a_recent_seal_with_max_age(seals: Seals) -> None:
    seals.seal()
    assert seals.verify("--max-age", "1").startswith("ok: seals 1 to 1")
    assert seals.verify("--max-age", "0").startswith("Error: the last seal, 1 of 20")


@pytest.mark.parametrize(
    "options",
    [("--seals", "file"), ("--max-age", "1"), ("--max-age", "-1")],
    ids=" ".join,
)
def test_verify_refuses_incomplete_options(seals: Seals, invoke: Invoke, options: tuple[str, ...]) -> None:
    assert invoke(seals.url, "audit", "verify", *options).exit_code == 2


def test_seal_takes_file_and_key_from_the_settings(seals: Seals, invoke: Invoke) -> None:
    assert invoke(seals.url, "audit", "seal").exit_code == 2
    given = {"audit_seal_key": str(seals.key), "audit_seal_file": str(seals.file)}
    assert invoke(seals.url, "audit", "seal", **given).stdout == "ok: seal 1 of 2 chains\n"
    assert seals.verify().startswith("ok: seals 1 to 1")


def test_seal_continues_in_a_new_file_only_on_request(seals: Seals) -> None:
    seals.seal()
    seals.seal()
    new = seals.folder / "new.jsonl"
    assert seals.seal(file=new) == f"Error: {new} has no seals, but the audit has recorded seal 2"
    assert seals.seal("--new-file", file=new) == "ok: seal 3 of 3 chains"
    assert seals.verify(file=new).startswith("ok: seals 3 to 3")
    assert seals.verify() == "Error: seal 3, which the audit has recorded, is missing or differs"
    joined = seals.folder / "joined.jsonl"
    joined.write_text(seals.file.read_text() + new.read_text())
    assert seals.verify(file=joined).startswith("ok: seals 1 to 3")
    assert seals.seal("--new-file", file=new) == f"Error: {new} has seals already"


def test_seal_refuses_a_file_that_lacks_recorded_seals(seals: Seals) -> None:
    seals.seal()
    seals.seal()
    seals.file.write_text(seals.lines[0])
    assert seals.seal() == f"Error: {seals.file} lacks seal 2, which the audit has recorded"
    assert len(seals.lines) == 1


def test_seal_refuses_an_audit_that_does_not_match_the_last_seal(seals: Seals) -> None:
    seals.seal()
    statement = f"update audit_entries set hash = '{'0' * 64}' where chain = '{SYSTEM_ID}' and number = 2"
    run_with_database(seals.url, lambda database: execute(database, statement))
    reason = f"entry 2 of '{SYSTEM_ID}': its hash is not the sealed one"
    assert seals.seal() == f"Error: the audit does not match seal 1: {reason}"
    assert len(seals.lines) == 1


def test_seal_continues_after_an_interrupted_write(seals: Seals) -> None:
    """Neither a line that is cut nor a seal that was not recorded is in the way."""
    seals.seal()
    with seals.file.open("a") as file:
        file.write("a" * 100_000)
    assert seals.verify().startswith("ok: seals 1 to 1")
    assert seals.seal() == "ok: seal 2 of 3 chains"
    assert len(seals.lines) == 2
    run_with_database(
        seals.url, lambda database: execute(database, "delete from audit_entries where number = 2 and chain = 'seals'")
    )
    first = f"(select hash from audit_entries where chain = '{SEALS}' and number = 1)"
    statement = f"update chains set length = 1, head = {first} where name = '{SEALS}'"
    run_with_database(seals.url, lambda database: execute(database, statement))
    assert seals.verify().startswith("ok: seals 1 to 2")
    assert seals.seal() == "ok: seal 3 of 3 chains"
    assert seals.verify().startswith("ok: seals 1 to 3")


def test_seal_refuses_a_file_that_another_process_is_writing(seals: Seals) -> None:
    seals.seal()
    with seals.file.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert seals.seal() == f"Error: another process is writing to {seals.file}"
    assert seals.seal() == "ok: seal 2 of 3 chains"


@pytest.mark.parametrize("content", ["", "no key", "ec"])
def test_seal_refuses_other_keys(seals: Seals, content: str) -> None:
    if content == "ec":
        key = generate_private_key(SECP256R1())
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    seals.key.write_text(content)
    assert seals.seal().startswith("Error: ")
    assert not seals.file.exists()


def change_number(line: str) -> str:
    return line.replace('"number":2', '"number":7')


DAMAGE = {
    "changed": (lambda lines: [lines[0], change_number(lines[1]), lines[2]], "line 2 .*the signature is wrong"),
    "removed": (lambda lines: [lines[0], lines[2]], "line 2 .*seal 3 follows seal 1"),
    "reordered": (lambda lines: [lines[1], lines[0], lines[2]], "line 2 .*seal 1 follows seal 2"),
    "repeated": (lambda lines: [*lines, lines[1]], "line 4 .*seal 2 follows seal 3"),
    "spaces": (lambda lines: [lines[0].replace(",", ", ")], "line 1 .*not in the format of a seal"),
    "other text": (lambda _: ["seal\n"], "line 1 .*not a valid seal"),
    "other json": (lambda _: ["aa== []\n"], "line 1 .*not a seal of version 1"),
    "no chains": (lambda _: ['aa== {"type":"budkavle-audit-seal","version":1}\n'], "line 1 .*a property is missing"),
    "not ascii": (lambda _: ["aa== {æ}\n"], "line 1 .*not a signature in base64, a space and JSON in ASCII"),
    "nothing": (lambda _: [], "has no seals"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_refuses_a_damaged_file(seals: Seals, name: str) -> None:
    for _ in range(3):
        seals.seal()
    assert seals.verify().startswith("ok: seals 1 to 3")
    damage, reason = DAMAGE[name]
    seals.file.write_text("".join(damage(seals.lines)))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(seals.verify())


def test_verify_refuses_a_missing_file(seals: Seals) -> None:
    assert seals.verify() == f"Error: {seals.file} cannot be read"


def run_regular_seals(seals: Seals, *hours: float) -> list[Seal]:
    """Return the last seal after each run, at that number of hours from now, with an interval of an hour."""

    async def run(database: Database) -> list[Seal]:
        found = []
        for each in hours:
            moment = now() + timedelta(hours=each)
            work = RegularSeals(database, seals.key, seals.file, timedelta(hours=1), lambda moment=moment: moment)
            found.append(await work.run_once())
        return found

    found: list[Seal] = run_with_database(seals.url, run)
    return found


def test_regular_seals_are_as_far_apart_as_the_interval(seals: Seals) -> None:
    """A clock that is set back delays the next one, and does not make the file invalid."""
    assert [seal.number for seal in run_regular_seals(seals, 0, 0.9, 1.1, 0.5, 2.2)] == [1, 1, 2, 2, 3]
    seals.seal()
    assert seals.verify().startswith("ok: seals 1 to 4")


def test_regular_seals_raise_what_they_find(seals: Seals) -> None:
    run_regular_seals(seals, 0)
    seals.file.write_text("")
    with pytest.raises(SealRefused, match="the audit has recorded seal 1"):
        run_regular_seals(seals, 2)


def test_regular_seals_need_a_key_and_a_file(seals: Seals) -> None:
    def create(**given: object) -> int:
        return run_with_database(seals.url, lambda database: _count(database, Settings(**given)))

    assert create() == 0
    key = {"audit_seal_key": seals.key}
    assert create(**key, audit_seal_file=seals.file) == 0
    assert create(**key, audit_seal_file=seals.file, audit_seal_hours=1) == 1
    with pytest.raises(SettingsUnusable, match="BUDKAVLE_AUDIT_SEAL_HOURS needs"):
        create(**key, audit_seal_hours=1)


async def _count(database: Database, settings: Settings) -> int:
    return len(create_regular_seals(settings, database, now))


@pytest.mark.parametrize("command", [("worker",), ("serve", "--port", "0", "--with-worker")], ids=" ".join)
def test_workers_seal_regularly(seals: Seals, command: tuple[str, ...]) -> None:
    given = {"audit_seal_key": seals.key, "audit_seal_file": seals.file, "audit_seal_hours": 1, "worker_port": 0}
    with running(*budkavle(*command), database_url=seals.url, **given):
        asyncio.run(wait_until(lambda: seals.file.exists() and len(seals.lines) == 1))
    assert seals.verify().startswith("ok: seals 1 to 1")
