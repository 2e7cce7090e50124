"""The report of a failed check."""

import os
from pathlib import Path

from contract_tests import evidence
from contract_tests.suites import HERE
from tests.warm_suites import PYTHON, WarmSuite

CHECK = """
import ast

def refuse(*_: object, **_named: object) -> None:
    raise RuntimeError("a file is parsed")

def test_failing() -> None:
    ast.parse = refuse
    assert (
        1 == 2
    )
"""


def test_failure_is_shown_without_parsing_files(tmp_path: Path) -> None:
    """Parsing the files of each traceback would take longer than most checks."""
    file, log = tmp_path / "test_failing.py", tmp_path / "log"
    file.write_text(CHECK)
    environment = {**os.environ, evidence.FOLDER: str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ("--noconftest", "-c", str(HERE / "suite.ini"), "-p", "contract_tests.plugin")
    command = (*PYTHON, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(file))
    with log.open("wb") as output, WarmSuite(command, environment, output) as suite:
        assert suite.wait(60) == 1, log.read_text()
    text = log.read_text()
    assert "test_failing.py:9: in test_failing\n    assert (\n" in text, text
    assert "E   assert 1 == 2" in text
