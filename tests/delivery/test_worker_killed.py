"""Workers that are killed with -9 while they deliver: a short version of the long tests."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_nothing_is_lost_or_reordered_when_workers_die(database: str) -> None:
    # Receivers are slow, fail, refuse and die; the benchmark defines the expected result.
    command = [sys.executable, "-m", "benchmarks.kill_workers", "--events", "100", "--keys", "20"]
    result = subprocess.run([*command, "--database", database], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    # The table lists the kills: a run without one would prove nothing.
    cells = [cell.strip() for cell in result.stdout.splitlines()[4].split("|")]
    assert int(cells[4]) > 0
