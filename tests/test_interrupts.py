"""Tests can interrupt programs also in a run whose shell ignores SIGINT."""

import subprocess
import sys
from pathlib import Path

from tests.processes import REPOSITORY

TEST = """
import subprocess
import sys

PROGRAM = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def test_program_is_interrupted():
    process = subprocess.run([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE)
    assert b"KeyboardInterrupt" in process.stderr
"""


def test_programs_of_a_background_job_are_interrupted(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.interrupts"]\n')
    (tmp_path / "test_of_a_program.py").write_text(TEST)

    for workers in ("0", "1"):
        options = ("-q", "-p", "no:cacheprovider", "-p", "xdist", "--numprocesses", workers, str(tmp_path))
        result = subprocess.run(
            ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "pytest", *options],
            cwd=tmp_path,
            env={"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

        assert result.returncode == 0, result.stdout + result.stderr
        assert "1 passed" in result.stdout
