"""A server whose contract lacks `Idempotency-Key` is checked without it."""

from pathlib import Path

import pytest

from tests.contract_tests.breakages_of_keys import without_keys
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server


@pytest.fixture
def breakage() -> Breakage:
    return without_keys


@pytest.mark.parametrize("suite", ["rules", "schema"])
def test_server_without_keys_has_no_findings(suite: str, server: Server, tmp_path: Path) -> None:
    result = server.check(tmp_path, "--spec", "web-messages", "--suite", suite)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "keeps the contract" in result.stdout
