"""The processes of a run share the rewriting of assertions."""

import subprocess
import sys
from pathlib import Path

from tests.processes import REPOSITORY

HOOKS = """
from _pytest.assertion import rewrite
from tests.assertion_rewriting import pytest_collection

rewrite_file = rewrite._rewrite_test

def rewrite_and_record(file, config):
    with open("rewritten.txt", "a") as record:
        record.write(f"{file.name}\\n")
    return rewrite_file(file, config)

rewrite._rewrite_test = rewrite_and_record
"""
FILES = [f"test_{number}.py" for number in range(20)]
STATEMENTS = 60
"""Enough for a file that takes milliseconds to rewrite, so that no process rewrites all files before another begins."""


def test_two_processes_rewrite_most_files_once(tmp_path: Path) -> None:
    statements = "".join(f"    assert {number} != {number} + 1\n" for number in range(STATEMENTS))
    (tmp_path / "conftest.py").write_text(HOOKS)
    for name in FILES:
        (tmp_path / name).write_text(f"def test_values():\n{statements}")

    (tmp_path / FILES[0]).write_text("def test_values():\n    assert 1 == 2\n")

    result = _run(tmp_path)

    assert result.returncode == 1
    assert "assert 1 == 2" in result.stdout
    assert f"1 failed, {len(FILES) - 1} passed" in result.stdout
    rewritten = [name for name in (tmp_path / "rewritten.txt").read_text().splitlines() if name in FILES]
    assert set(rewritten) == set(FILES)
    # Both processes rewrite a file that they reach at the same time.
    assert len(rewritten) < 1.5 * len(FILES)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist"),
            *("--numprocesses", "2", "--dist", "loadfile", str(folder)),
        ],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
