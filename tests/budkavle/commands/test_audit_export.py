"""`budkavle audit export`: another program, written from the page that specifies hashes and seals, verifies it."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from domain.audit import CATALOGUE, NO_SYSTEM
from tests.budkavle.commands.audit_insider import rewrite_audit
from tests.budkavle.commands.test_audit_forgeries import FORGERIES, Seals, sealed
from tests.budkavle.conftest import Invoke
from tests.processes import REPOSITORY, run_program
from tests.shown_commands import PATH, read_block, read_blocks

__all__ = ["sealed"]

CHECKER = REPOSITORY / "tests" / "audit_checker" / "check.mjs"
PAGE = REPOSITORY / "docs" / "reference" / "audit-hashes.md"
NODE = shutil.which("node")

needs_node = pytest.mark.skipif(NODE is None, reason="the checker runs on Node, which is missing")


def run_checker(seals: Seals, export: str) -> str:
    assert NODE is not None
    path = seals.folder / "export.jsonl"
    path.write_text(export)
    result = subprocess.run(  # The arguments are ours.
        [NODE, CHECKER, path, seals.file, seals.public_key], capture_output=True, text=True, check=False, timeout=60
    )
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


def test_export_of_one_chain_has_the_hashed_texts(sealed: Seals, invoke: Invoke) -> None:
    lines = invoke(sealed.url, "audit", "export", "--system", CATALOGUE).stdout.splitlines()
    listed = invoke(sealed.url, "audit", "list", "--system", CATALOGUE).stdout.splitlines()
    for line, other in zip(map(json.loads, lines), map(json.loads, listed), strict=True):
        assert json.loads(line.pop("detail")) == other.pop("detail")
        assert line.pop("time") == other.pop("time").replace("+00:00", "000+00:00")
        assert line == other


def test_page_has_a_right_example() -> None:
    (example,) = [block.text for block in read_blocks(PAGE) if block.text.startswith('["000')]
    assert f"`{hashlib.sha256(example.removesuffix(chr(10)).encode()).hexdigest()}`" in PAGE.read_text()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the commands use openssl, which is missing")
def test_commands_of_the_guide_seal_and_verify(sealed: Seals, tmp_path: Path) -> None:
    folder = tmp_path / "guide"
    folder.mkdir()
    script = read_block("docs/how-to/audit.md", "openssl").replace(
        "budkavle audit seal", "budkavle audit seal --new-file"
    )
    result = run_program(
        "/bin/sh", "-e", "-c", f"export PATH='{PATH}'\n{script}", folder=folder, database_url=sealed.url
    )
    assert result.returncode == 0, result.stderr
    assert "ok: seals 4 to 4, the last one of " in result.stdout
