"""Servers that keep the contract in other ways than ours: none of them may get a finding."""

from pathlib import Path

import pytest

from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server
from tests.contract_tests.odd_responses import with_unspecified_headers
from tests.contract_tests.variations import VARIATIONS, together


@pytest.fixture
def breakage() -> Breakage:
    # The headers that no contract names are added to the responses of all variations.
    return together(*VARIATIONS, with_unspecified_headers(1))


@pytest.mark.parametrize("spec", ["web-messages", "subscriptions"])
def test_server_that_conforms_in_other_ways_has_no_findings(spec: str, server: Server, tmp_path: Path) -> None:
    result = server.check(tmp_path, "--spec", spec, "--suite", "rules")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeps the contract" in result.stdout
