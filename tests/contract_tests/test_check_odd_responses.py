"""Servers behind proxies that change responses at random: violations are findings.

Unspecified headers are no findings: test_check_other_servers.py.
"""

import re
from pathlib import Path

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from contract_tests.suites import Check
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server
from tests.contract_tests.odd_responses import with_violations
from tests.warm_suites import WarmSuite

OWN_FAULTS = re.compile(r"fault of (its|their) own|Traceback|INTERNALERROR|ended with [3-9]|CheckFaultError")


@pytest.fixture
def breakage(request: pytest.FixtureRequest) -> Breakage:
    breakage: Breakage = request.param
    return breakage


@pytest.mark.parametrize(
    ("breakage", "spec"),
    [(with_violations(1), "web-messages"), (with_violations(3), "subscriptions")],
    ids=["web-messages", "subscriptions"],
    indirect=["breakage"],
)
def test_invalid_responses_are_findings_and_never_errors_of_the_check(
    spec: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    code = run_check(Check(server.target(), find_spec_dir(), report, (spec,), kinds=("rules",), start=WarmSuite))

    printed = capsys.readouterr()
    assert code == 1, printed
    assert "BREAKS the contract" in printed.out
    for text in (
        printed.out,
        printed.err,
        (report / "summary.txt").read_text(),
        (report / f"rules-{spec}.xml").read_text(),
    ):
        assert OWN_FAULTS.search(text) is None, OWN_FAULTS.search(text)
