"""A test run fails if a collected test did not run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY

HOOKS = "from tests.every_test_runs import *\n"
SAME_NAME = """
import pytest

def pytest_pycollect_makeitem(collector, name, obj):
    return pytest.Function.from_parent(collector, name="test_same", callobj=obj) if name.startswith("test_") else None
"""
TWO_TESTS = "def test_one(): pass\ndef test_two(): pass\n"
ALONE, IN_TWO_WORKERS = (), ("-p", "xdist", "--numprocesses", "2", "--dist", "loadfile")


def run(folder: Path, conftest: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(HOOKS + conftest)
    (folder / "test_it.py").write_text(TWO_TESTS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("options", [ALONE, IN_TWO_WORKERS], ids=["alone", "in two workers"])
def test_run_succeeds_if_every_test_ran(options: tuple[str, ...], tmp_path: Path) -> None:
    result = run(tmp_path, "", *options)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


@pytest.mark.parametrize("options", [ALONE, IN_TWO_WORKERS], ids=["alone", "in two workers"])
def test_run_fails_if_two_tests_have_one_node_id(options: tuple[str, ...], tmp_path: Path) -> None:
    result = run(tmp_path, SAME_NAME, *options)

    assert result.returncode != 0, result.stdout
    assert "2 tests have the id test_it.py::test_same" in result.stdout + result.stderr


@pytest.mark.parametrize("options", [ALONE, IN_TWO_WORKERS], ids=["alone", "in two workers"])
def test_run_fails_if_a_collected_test_did_not_run(options: tuple[str, ...], tmp_path: Path) -> None:
    dropped = "def pytest_runtest_protocol(item): return True if item.name == 'test_two' else None\n"

    result = run(tmp_path, dropped, *options)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 passed" in result.stdout
    assert "1 of 2 collected tests did not run: test_it.py::test_two" in result.stdout


def test_run_of_selected_tests_succeeds(tmp_path: Path) -> None:
    result = run(tmp_path, "", "-k", "test_one")

    assert result.returncode == 0, result.stdout + result.stderr


def test_collection_without_a_run_succeeds(tmp_path: Path) -> None:
    result = run(tmp_path, "", "--collect-only")

    assert result.returncode == 0, result.stdout + result.stderr
