"""Servers behind a proxy that breaks responses at random: they are findings, and never errors of the check."""

import re
from pathlib import Path

import pytest

from tests.contract_tests.broken import Breakage
from tests.contract_tests.checking import Server
from tests.contract_tests.odd_answers import with_violations

OWN_FAULTS = re.compile(r"fault of (its|their) own|Traceback|INTERNALERROR|ended with [3-9]|CheckFaultError")


@pytest.fixture
def breakage(request: pytest.FixtureRequest) -> Breakage:
    breakage: Breakage = request.param
    return breakage


@pytest.mark.parametrize("breakage", [with_violations(1), with_violations(2)], ids=["seed 1", "seed 2"], indirect=True)
def test_invalid_responses_are_findings_and_never_errors_of_the_check(server: Server, tmp_path: Path) -> None:
    ended = server.check(tmp_path, "--suite", "rules")

    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "BREAKS the contract" in ended.stdout
    report = tmp_path / "report"
    for text in (ended.stdout, ended.stderr, (report / "summary.txt").read_text(), (report / "rules.xml").read_text()):
        assert OWN_FAULTS.search(text) is None, OWN_FAULTS.search(text)
