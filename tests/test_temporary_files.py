"""Temporary files are in memory where a suitable folder exists and TMPDIR does not name another one."""

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import REPOSITORY
from tests.temporary_files import IN_MEMORY, is_suitable

PRINTS_ITS_FOLDER = """
import tempfile

def test_folder():
    print("folder:", tempfile.gettempdir())
"""


def run_test(folder: Path, **environment: str) -> str:
    """Run a test that prints the folder of temporary files, with the plugin. Return the folder."""
    (folder / "test_folder.py").write_text(PRINTS_ITS_FOLDER)
    inherited = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-c", os.devnull, "-p", "tests.temporary_files", folder],
        cwd=REPOSITORY,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.partition("folder: ")[2].splitlines()[0]


def test_folder_without_room_is_not_suitable() -> None:
    assert not is_suitable(Path("/proc"))


def test_absent_folder_is_not_suitable(tmp_path: Path) -> None:
    assert not is_suitable(tmp_path / "absent")


def test_temporary_files_are_in_memory_if_the_folder_is_suitable(tmp_path: Path) -> None:
    assert (run_test(tmp_path) == str(IN_MEMORY)) == is_suitable(IN_MEMORY)


def test_folder_of_the_environment_is_kept(tmp_path: Path) -> None:
    assert run_test(tmp_path, TMPDIR=str(tmp_path)) == str(tmp_path)
