"""The seed determines the generated data, and the location of the contract check does not."""

import subprocess
import sys
from pathlib import Path

from contract_tests.evidence import RUN_RECORD
from contract_tests.target import VARIABLE, CheckTarget
from tests.contract_tests.stub_server import StubServer, running_stub
from tests.processes import build_environment

CONSTANTS = """
import contract_tests.schemathesis_hooks
from hypothesis.internal.conjecture.providers import _get_local_constants
print(len(_get_local_constants()))
"""


def count_constants(folder: Path, **more: str) -> int:
    """Return the number of constants that Hypothesis mixes into generated data in such a process."""
    variables = build_environment() | {"HYPOTHESIS_STORAGE_DIRECTORY": str(folder)} | more
    command = [sys.executable, "-P", "-c", CONSTANTS]
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_constants_of_our_sources_are_not_mixed_in(tmp_path: Path) -> None:
    """They would change with each edit, and do not exist when the contract check is installed."""
    assert count_constants(tmp_path, **{RUN_RECORD: str(tmp_path / "run_record")}) == 0
    # They are mixed in elsewhere; otherwise this test would prove nothing.
    assert count_constants(tmp_path) > 0


REFERENCES = """
from contract_tests.attacks import accepted_reference
print(*(accepted_reference()["value"] for _ in range(2)))
"""


def list_references(folder: Path, server: StubServer, seed: int) -> list[str]:
    """Return the references under which a suite of raw bytes stores messages."""
    file = folder / "target.json"
    CheckTarget(server.url, "k", seed=seed).write(file)
    variables = build_environment() | {VARIABLE: str(file)}
    command = [sys.executable, "-P", "-c", REFERENCES]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_references_of_remaining_messages_follow_from_the_seed(tmp_path: Path) -> None:
    with running_stub() as server:
        server.responses = {"GET": (200, "[]")}
        first, second = list_references(tmp_path, server, 1)
        assert first != second
        assert list_references(tmp_path, server, 1) == [first, second]
        assert not {first, second} & set(list_references(tmp_path, server, 2))
        # References that an earlier check left are not used again.
        server.responses[f"GET /webmessages/external-references/accepted/{first}"] = (200, "[{}]")
        assert list_references(tmp_path, server, 1)[0] == second
