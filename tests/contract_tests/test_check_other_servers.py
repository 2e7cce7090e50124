"""Servers that keep the contract in other ways than ours: none of them may get a finding."""

from pathlib import Path

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from contract_tests.suites import Check
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server
from tests.contract_tests.odd_responses import with_unspecified_headers
from tests.contract_tests.variations import VARIATIONS, together
from tests.warm_suites import WarmSuite


@pytest.fixture
def breakage() -> Breakage:
    # The headers that no contract names are added to the responses of all variations.
    return together(*VARIATIONS, with_unspecified_headers(1))


@pytest.mark.parametrize("spec", ["web-messages", "subscriptions"])
def test_server_that_conforms_in_other_ways_has_no_findings(
    spec: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = Check(server.target(), find_spec_dir(), tmp_path / "report", (spec,), kinds=("rules",), start=WarmSuite)
    code = run_check(check)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "keeps the contract" in printed
