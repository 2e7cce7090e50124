"""A server whose contract lacks `Idempotency-Key` is checked without it."""

from pathlib import Path

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from contract_tests.suites import Check, StartSuite
from tests.contract_tests.breakages_of_keys import without_keys
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server, start_with_few_examples
from tests.warm_suites import WarmSuite


@pytest.fixture
def breakage() -> Breakage:
    return without_keys


# The other rules and operations have no keys.
@pytest.mark.parametrize(
    ("suite", "only", "start"),
    [
        ("rules", ("test_web_message_keys.py", "test_web_message_together.py", "test_web_message_form.py"), WarmSuite),
        ("schema", ("createWebMessage", "WebMessageById"), start_with_few_examples),
    ],
)
def test_server_without_keys_has_no_findings(
    suite: str,
    only: tuple[str, ...],
    start: StartSuite,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = (find_spec_dir(), tmp_path / "report")
    check = Check(server.target(), *folders, ("web-messages",), kinds=(suite,), only=only, start=start)
    code = run_check(check)

    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "keeps the contract" in printed
