"""The seed decides what is made up, and not where the harness comes from."""

import subprocess
import sys
from pathlib import Path

from contract_tests.evidence import DIARY
from tests.processes import environment

CONSTANTS = """
import contract_tests.schemathesis_hooks
from hypothesis.internal.conjecture.providers import _get_local_constants
print(len(_get_local_constants()))
"""


def constants(folder: Path, **more: str) -> int:
    """How many Hypothesis mixes into what it makes up in such a process."""
    variables = environment() | {"HYPOTHESIS_STORAGE_DIRECTORY": str(folder)} | more
    command = [sys.executable, "-P", "-c", CONSTANTS]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_constants_of_our_sources_are_not_mixed_in(tmp_path: Path) -> None:
    """They would change with each edit, and are not there when the harness is installed."""
    assert constants(tmp_path, **{DIARY: str(tmp_path / "diary")}) == 0
    # Elsewhere they are: else this test would say nothing.
    assert constants(tmp_path) > 0
