"""`budkavle audit export`: another program, written from the page that specifies hashes and seals, verifies it."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from domain.audit import CATALOGUE, NO_SYSTEM
from tests.budkavle.commands.audit_insider import rewrite_audit
from tests.budkavle.commands.test_audit_forgeries import FORGERIES, Seals, copies, sealed
from tests.budkavle.commands.test_deliveries_receipts import delivered
from tests.budkavle.conftest import Invoke
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.processes import REPOSITORY, run_program
from tests.shown_commands import read_block, read_blocks
from tests.warm_commands import build_shell_command

__all__ = ["copies", "delivered", "sealed"]

CHECKER = REPOSITORY / "tests" / "audit_checker" / "check.mjs"
PAGE = REPOSITORY / "docs" / "reference" / "audit-hashes.md"
NODE = shutil.which("node")

needs_node = pytest.mark.skipif(NODE is None, reason="the checker runs on Node, which is missing")


def run_checker(seals: Seals, export: str, *others: str) -> str:
    assert NODE is not None
    path = seals.folder / "export.jsonl"
    path.write_text(export)
    command = [NODE, CHECKER, path, seals.file, seals.public_key, *others]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # The arguments are ours.
    assert result.stderr == ""
    return result.stdout.strip()


def export_all(seals: Seals, invoke: Invoke) -> str:
    result = invoke(seals.url, "audit", "export")
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@needs_node
def test_other_program_verifies_an_export(sealed: Seals, invoke: Invoke) -> None:
    sealed.record(chain=NO_SYSTEM, operation='"\\\n\r\t\b\f\x1f ~\x7f\x80æ\u2028\U0001f600')
    sealed.seal()
    export = export_all(sealed, invoke)
    count = len(export.splitlines())
    assert run_checker(sealed, export) == f"ok: {count} entries, 4 seals"
    assert run_checker(sealed, export.replace('"answered"', '"refused"')) != f"ok: {count} entries, 4 seals"


@needs_node
@pytest.mark.parametrize("name", FORGERIES)
def test_other_program_detects_forgeries(sealed: Seals, invoke: Invoke, name: str) -> None:
    forge, _ = FORGERIES[name]
    rewrite_audit(sealed.url, forge)
    assert run_checker(sealed, export_all(sealed, invoke)).endswith("is not the sealed one")


@needs_node
def test_other_program_verifies_receipts_and_signatures(
    delivered: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "c2lnbmF0dXJlcyBvZiB0aGUgYXVkaXQgaW4gdGVzdHM="
    monkeypatch.setenv("SECRET", secret)
    seals = Seals(delivered, invoke, tmp_path)
    assert invoke(delivered, "audit", "start-signing", audit_key="env:SECRET").exit_code == 0
    assert invoke(delivered, "audit", "seal", str(seals.file), "--key", str(seals.key), audit_key="env:SECRET").stdout
    export, receipts = export_all(seals, invoke), invoke(delivered, "deliveries", "export").stdout
    path = tmp_path / "receipts.jsonl"

    def check(printed: str, text: str, oldest: str = "2026-01-01") -> str:
        path.write_text(text)
        return run_checker(seals, printed, str(path), oldest, secret)

    entries = len(export.splitlines())
    assert check(export, receipts) == f"ok: {entries} entries, 1 seals, 2 receipts, 5 signatures"
    for system_id, line in zip((SYSTEM_ID, OTHER_ID), receipts.splitlines(keepends=True), strict=True):
        number = json.loads(line)["number"]
        differ = f"{json.loads(line)['system']}: receipts {number} to {number} differ"
        assert check(export, receipts.replace(line, line.replace('"status": 503', '"status": 504'))) == differ
        assert check(export, receipts.replace(line, "")) == differ
        assert check(export, receipts.replace(line, ""), "2027-01-01").endswith(", 1 receipts, 5 signatures")
        assert system_id in receipts
    added = json.dumps(json.loads(line) | {"number": 0, "id": "x"})
    assert check(export, f"{receipts}{added}\n").endswith("receipt x is in no batch")
    last = json.loads(export.splitlines()[-1])
    forged = export.replace(last["signature"], "0" * 64)
    assert check(forged, receipts) == f"seals: entry {last['number']} is not signed"


def test_export_of_one_chain_has_the_hashed_texts(sealed: Seals, invoke: Invoke) -> None:
    lines = invoke(sealed.url, "audit", "export", "--system", CATALOGUE).stdout.splitlines()
    listed = invoke(sealed.url, "audit", "list", "--system", CATALOGUE).stdout.splitlines()
    for line, other in zip(map(json.loads, lines), map(json.loads, listed), strict=True):
        assert json.loads(line.pop("detail")) == other.pop("detail")
        assert line.pop("signature") is None
        assert line.pop("time") == other.pop("time").replace("+00:00", "000+00:00")
        assert line == other


@pytest.mark.parametrize("beginning", ['["000', "[7,"])
def test_page_has_right_examples(beginning: str) -> None:
    (example,) = [block.text for block in read_blocks(PAGE) if block.text.startswith(beginning)]
    assert f"`{hashlib.sha256(example.removesuffix(chr(10)).encode()).hexdigest()}`" in PAGE.read_text()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the commands use openssl, which is missing")
def test_commands_of_the_guide_seal_and_verify(sealed: Seals, tmp_path: Path) -> None:
    folder = tmp_path / "guide"
    folder.mkdir()
    script = read_block("docs/how-to/audit.md", "openssl").replace(
        "budkavle audit seal", "budkavle audit seal --new-file"
    )
    result = run_program(*build_shell_command(script), folder=folder, database_url=sealed.url)
    assert result.returncode == 0, result.stderr
    assert "ok: seals 4 to 4, the last one of " in result.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the commands use openssl, which is missing")
def test_commands_of_the_guide_sign_and_verify(sealed: Seals, tmp_path: Path) -> None:
    script = read_block("docs/how-to/audit.md", "export AUDIT_SECRET")
    result = run_program(*build_shell_command(script), folder=tmp_path, database_url=sealed.url)
    assert result.returncode == 0, result.stderr
    assert "ok: 1 signed entries" in result.stdout
