"""The slowest test files begin first."""

import subprocess
import sys
from pathlib import Path

from tests.file_order import LONGEST
from tests.processes import REPOSITORY

HOOKS = """
import tests.file_order
from tests.file_order import pytest_collection_modifyitems, pytest_configure

tests.file_order.LONGEST = ("test_long.py", "test_longer_than_others.py")
"""
SIZES = {"test_few.py": 3, "test_long.py": 2, "test_longer_than_others.py": 1, "test_many.py": 4}


def test_longest_files_exist() -> None:
    assert [name for name in LONGEST if not (REPOSITORY / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)


def test_slowest_files_begin_first_and_then_those_with_most_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    for name, size in SIZES.items():
        (tmp_path / name).write_text("".join(f"def test_{number}(): pass\n" for number in range(size)))

    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "xdist"),
            *("--numprocesses", "1", "--dist", "loadfile", str(tmp_path)),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    passed = [line.split()[-1].split("::")[0] for line in result.stdout.splitlines() if "PASSED" in line]
    assert list(dict.fromkeys(passed)) == ["test_long.py", "test_longer_than_others.py", "test_many.py", "test_few.py"]
