"""Broken servers with access tokens, and an intact one without them."""

from pathlib import Path

import pytest

from tests.contract_tests.breakages import Case
from tests.contract_tests.breakages_of_tokens import OF_TOKENS
from tests.contract_tests.checking import Server, assert_caught


@pytest.mark.parametrize("case", OF_TOKENS.values(), ids=OF_TOKENS.keys())
def test_broken_server_is_detected(
    case: Case, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_caught(case, server, tmp_path, capsys)
