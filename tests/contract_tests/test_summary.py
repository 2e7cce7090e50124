"""The verdict always fits on a screen, and its full version is complete."""

import subprocess
from pathlib import Path

import pytest

from contract_tests import summary
from contract_tests.suites import Check
from contract_tests.target import CheckTarget, read_certificate
from contract_tests.verdict import Failure, SuiteResult, Verdict
from tests.contract_tests.checking import encode_pem
from tests.contract_tests.recording import skip_without
from tests.handlers.callers import create_certificate

SCREEN, WIDTH = 70, 700


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(CheckTarget("http://127.0.0.1:8080", api_key="k"), tmp_path, tmp_path / "report")


def build_verdict(count: int) -> Verdict:
    failures = tuple(
        Failure(
            "rules",
            f"name {number} " + "n" * 5000,
            f"words {number}\n" + "w" * 5000 + "\nmore" * 500,
            ("curl " + "c" * 5000,) * 12,
        )
        for number in range(count)
    )
    return Verdict([SuiteResult("rules", 900, 3.0, failures)], ["something stayed"])


def test_successful_run_is_reported(check: Check) -> None:
    verdict = Verdict([SuiteResult("rules", 700, 12.0, left_out=("needs --case", "needs --case"))])
    text = summary.format_screen(verdict, summary.describe_check(check))
    assert text.startswith("http://127.0.0.1:8080 keeps the contract: 700 checks (quick, seed 0, 12 s)\n")
    assert "left out: 2 checks (needs --case)" in text


def test_thousand_long_failures_fit_on_a_screen(check: Check) -> None:
    text = summary.format_screen(build_verdict(1000), summary.describe_check(check))
    assert len(text.splitlines()) <= SCREEN
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "BREAKS the contract: 1000 failures in 900 checks" in text
    assert "not cleaned up: something stayed" in text


def test_full_report_contains_every_failure(check: Check) -> None:
    text = summary.format_report(build_verdict(30), summary.describe_check(check))
    assert all(f"words {number}\n" in text for number in range(30))
    assert text.count("curl " + "c" * 5000) == 30 * 12
    assert "not cleaned up: something stayed" in text


def test_incomplete_run_is_not_successful(check: Check) -> None:
    verdict = Verdict([SuiteResult("rules", error="ended with -9; see rules.log")])
    text = summary.format_screen(verdict, summary.describe_check(check))
    assert "was NOT CHECKED to the end" in text
    assert "rules: ended with -9; see rules.log" in text


def test_interrupted_run_is_reported_first(check: Check) -> None:
    verdict = build_verdict(3)
    verdict.is_interrupted = True
    assert summary.format_screen(verdict, summary.describe_check(check)).startswith(
        "the check of http://127.0.0.1:8080 was interrupted"
    )


def test_shell_variables_are_set_from_the_certificate(check: Check, tmp_path: Path) -> None:
    skip_without("openssl")
    header = create_certificate().header
    file = tmp_path / "it's a client.pem"
    file.write_text(encode_pem(header))
    known = Check(
        CheckTarget("http://127.0.0.1", certificate=read_certificate(file, None)), check.spec_folder, check.report
    )
    lines = summary.format_variables(known)
    assert lines is not None
    assert header[1:60] not in lines
    result = subprocess.run(
        ["sh", "-c", lines + 'printf %s "$CLIENT_CERT"'], capture_output=True, text=True, check=True
    )
    assert result.stdout == header


def test_no_shell_variables_are_needed_without_a_header(check: Check) -> None:
    assert summary.format_variables(check) is None
