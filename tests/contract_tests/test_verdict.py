"""Parse the reports of the suites: JUnit XML of pytest and of Schemathesis, complete and damaged."""

import json
from pathlib import Path

import pytest

from contract_tests.suites import Suite
from contract_tests.verdict import Failure, SuiteResult, Verdict, read_result

PYTEST = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite>
<testcase name="test_good"/>
<testcase name="test_left_out"><skipped message="needs --case"/></testcase>
<testcase name="test_verdict_list_is_sorted[by party]"><failure message="cut">
def test_verdict_list_is_sorted():
&gt;       assert first == second
E       AssertionError: expected the order
E       of creation
-------- Reproduce with --------
# 3 calls before these are left out
curl -X GET 'http://127.0.0.1/webmessages'
</failure></testcase>
<testcase name="test_set_up"><error message="failed on setup">E   OSError: nobody there</error></testcase>
</testsuite></testsuites>"""

SCHEMATHESIS = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite>
<testcase name="GET /webmessages/{id}"/>
<testcase name="POST /webmessages"><failure>
1. Test Case ID: aB1

- Server error

[500] Internal Server Error:

Reproduce with:

    curl -X POST http://127.0.0.1/webmessages

2. Test Case ID: cD2

- Response violates schema

Reproduce with:

    curl -X POST -d x http://127.0.0.1/webmessages
</failure></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def rules(tmp_path: Path) -> Suite:
    return Suite("rules", (), {}, tmp_path / "rules.xml", tmp_path / "rules.log")


@pytest.fixture
def schema(tmp_path: Path) -> Suite:
    return Suite("schema of web-messages", (), {}, tmp_path / "schema.xml", tmp_path / "schema.log")


def test_failures_of_pytest_are_reported_with_their_commands(rules: Suite) -> None:
    rules.junit.write_text(PYTEST)
    lines = ("# 3 calls before these are left out", "curl -X GET 'http://127.0.0.1/webmessages'")
    assert read_result(rules, 1, 2.5) == SuiteResult(
        "rules",
        checks=3,
        seconds=2.5,
        failures=(
            Failure("rules", "verdict list is sorted [by party]", "expected the order\nof creation", lines),
            Failure("rules", "set up", "OSError: nobody there", ()),
        ),
        left_out=("needs --case",),
    )


def test_each_failure_of_an_operation_is_reported(schema: Suite) -> None:
    schema.junit.write_text(SCHEMATHESIS)
    schema.junit.with_suffix(".json").write_text(json.dumps({"test_cases": {"generated": 582}}))
    found = read_result(schema, 1, 0)
    assert (found.checks, found.error) == (582, None)
    assert [failure.words.partition("\n")[0] for failure in found.failures] == [
        "- Server error",
        "- Response violates schema",
    ]
    assert [failure.lines for failure in found.failures] == [
        ("curl -X POST http://127.0.0.1/webmessages",),
        ("curl -X POST -d x http://127.0.0.1/webmessages",),
    ]
    assert {failure.name for failure in found.failures} == {"POST /webmessages"}


@pytest.mark.parametrize("text", ["", "[]", '{"test_cases": 3}', "{"])
def test_unreadable_count_is_replaced_by_the_number_of_operations(text: str, schema: Suite) -> None:
    schema.junit.write_text(SCHEMATHESIS)
    schema.junit.with_suffix(".json").write_text(text)
    assert read_result(schema, 1, 0).checks == 2


@pytest.mark.parametrize("text", [None, "", "<testsuites>", "nothing"])
def test_suite_without_a_report_is_not_checked(text: str | None, rules: Suite) -> None:
    if text is not None:
        rules.junit.write_text(text)
    found = read_result(rules, -9, 0)
    assert found.error == f"ended with -9; see {rules.log}"
    assert (found.checks, found.failures) == (0, ())


CODES = {
    # The report, the exit code, and whether they are consistent.
    "all good": ("<testsuites><testcase name='a'/></testsuites>", 0, True),
    "a failure": (PYTEST, 1, True),
    "a failure and killed": (PYTEST, -9, False),
    "a failure and interrupted": (PYTEST, 2, False),
    "nothing but a warning": ("<testsuites><testcase name='a'/></testsuites>", 1, False),
    "no check": ("<testsuites/>", 5, True),
    "checks, but reported as none": ("<testsuites><testcase name='a'/></testsuites>", 5, False),
    "an error of pytest": ("<testsuites/>", 3, False),
}


@pytest.mark.parametrize(("text", "code", "is_explained"), CODES.values(), ids=CODES.keys())
def test_unexplained_exit_code_is_an_error(text: str, code: int, is_explained: bool, rules: Suite) -> None:
    rules.junit.write_text(text)
    assert (read_result(rules, code, 0).error is None) == is_explained


def test_verdict_is_successful_without_failures_and_errors() -> None:
    failure = Failure("rules", "a", "b", ())
    assert Verdict([SuiteResult("rules", 1)]).is_clean
    assert not Verdict([SuiteResult("rules", 1, failures=(failure,))]).is_clean
    assert Verdict([SuiteResult("rules", error="ended")]).errors == ["rules: ended"]


def test_check_with_an_internal_error_is_an_error_and_no_failure(rules: Suite) -> None:
    rules.junit.write_text(
        "<testsuites><testsuite><testcase name='test_good'/><testcase name='test_odd[x]'><failure>"
        "E   contract_tests.plugin.CheckFaultError: ZeroDivisionError: division by zero\n"
        "</failure></testcase></testsuite></testsuites>"
    )

    found = read_result(rules, 1, 1.0)

    assert found.failures == ()
    words = "1 checks failed because of their own errors, first odd [x]: ZeroDivisionError: division by zero; see "
    assert found.error == words + str(rules.log)
    verdict = Verdict([found])
    assert not verdict.is_clean
    assert verdict.failures == []
