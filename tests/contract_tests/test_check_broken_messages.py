"""Broken servers of web messages that the check once did not detect."""

from pathlib import Path

import pytest

from tests.contract_tests.breakages import Case
from tests.contract_tests.breakages_of_keys import OF_KEYS
from tests.contract_tests.breakages_of_messages import OF_MESSAGES
from tests.contract_tests.breakages_of_requests import OF_REQUESTS
from tests.contract_tests.checking import Server, assert_caught

ALL = OF_MESSAGES | OF_KEYS | OF_REQUESTS


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_broken_server_is_detected(
    case: Case, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_caught(case, server, tmp_path, capsys)
