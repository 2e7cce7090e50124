"""Servers behind unusual proxies: unspecified details are no findings, and violations always are."""

import re
from pathlib import Path

import pytest

from budkavle.commands.contract_check import run_check
from budkavle.specs import find_spec_dir
from contract_tests.suites import Check
from tests.contract_tests.broken_server import Breakage
from tests.contract_tests.checking import Server, assert_no_findings
from tests.contract_tests.odd_responses import with_unspecified_headers, with_violations
from tests.warm_suites import WarmSuite

OWN_FAULTS = re.compile(r"fault of (its|their) own|Traceback|INTERNALERROR|ended with [3-9]|CheckFaultError")

OF_HEADERS = (
    *("test_web_message_access.py", "test_web_message_lists.py", "test_web_message_round_trip.py"),
    "test_web_message_attachments.py::test_download_returns_the_content_and_the_file_name",
    *("test_subscription_access.py", "test_delivery_lists.py", "test_event_faults.py"),
)


@pytest.fixture
def breakage(request: pytest.FixtureRequest) -> Breakage:
    breakage: Breakage = request.param
    return breakage


@pytest.mark.parametrize("breakage", [with_unspecified_headers(1)], ids=["seed 1"], indirect=True)
def test_headers_that_no_contract_names_are_not_findings(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other responses are as our service sends them. These rules read every header that a contract names."""
    assert_no_findings(server.target(), tmp_path, capsys, *OF_HEADERS)


@pytest.mark.parametrize("breakage", [with_violations(1), with_violations(3)], ids=["seed 1", "seed 3"], indirect=True)
def test_invalid_responses_are_findings_and_never_errors_of_the_check(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    code = run_check(Check(server.target(), find_spec_dir(), report, kinds=("rules",), start=WarmSuite))

    printed = capsys.readouterr()
    assert code == 1, printed
    assert "BREAKS the contract" in printed.out
    for text in (
        printed.out,
        printed.err,
        (report / "summary.txt").read_text(),
        (report / "rules-web-messages.xml").read_text(),
        (report / "rules-subscriptions.xml").read_text(),
    ):
        assert OWN_FAULTS.search(text) is None, OWN_FAULTS.search(text)
