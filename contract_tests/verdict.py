"""The results of the suites, read from their JUnit XML files."""

import json
import re
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree as ET

from contract_tests.reproducing import TITLE
from contract_tests.suites import Suite

_OF_PYTEST = ("rules", "raw bytes")
"""Beginnings of the names of suites that pytest runs."""
_FAULT = "contract_tests.plugin.CheckFaultError"
_INTERRUPTED = 2
"""The exit code of pytest when the target no longer responds."""


class CheckFinding(NamedTuple):
    """The identity of a failure in all runs: a rule, or an operation and a kind of error of generated requests."""

    suite: str
    check: str
    kind: str = ""

    def __str__(self) -> str:
        kind = f" ({self.kind})" if self.kind else ""
        return f"{self.suite}: {self.check}{kind}"


@dataclass(frozen=True)
class Failure:
    """A failed check: its name, the error, and the shell commands that reproduce it."""

    suite: str
    name: str
    words: str
    lines: tuple[str, ...]

    @property
    def finding(self) -> CheckFinding:
        """Return the identity of this failure. Texts of rules have generated values, so their name alone counts."""
        kind = self.words.partition("\n")[0].strip("- ") if self.suite.startswith("schema") else ""
        return CheckFinding(self.suite, self.name, kind)


@dataclass(frozen=True)
class SuiteResult:
    """The result of one suite. `error` is the reason why it did not finish."""

    name: str
    checks: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    left_out: tuple[str, ...] = ()
    """The reasons of skipped checks, one per check."""
    error: str | None = None
    is_unanswered: bool = False
    """Whether no further suite can run: the target no longer responds, or there is no valid token."""


@dataclass
class Verdict:
    """The results of all suites, and the leftovers of the clean-up."""

    results: list[SuiteResult] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    is_interrupted: bool = False
    seconds: float | None = None
    """How long the check took, None for the sum of its suites."""
    baseline: frozenset[CheckFinding] | None = None
    """Known findings, which do not count as failures; None without a baseline."""

    @property
    def all_failures(self) -> list[Failure]:
        return [failure for result in self.results for failure in result.failures]

    @property
    def failures(self) -> list[Failure]:
        """The failures that are not known."""
        return [failure for failure in self.all_failures if failure.finding not in (self.baseline or ())]

    @property
    def known(self) -> list[Failure]:
        return [failure for failure in self.all_failures if failure.finding in (self.baseline or ())]

    @property
    def gone(self) -> list[CheckFinding]:
        """Known findings that suites which ran to their end did not find."""
        ended = set() if self.is_interrupted else {result.name for result in self.results if result.error is None}
        found = {failure.finding for failure in self.all_failures}
        return sorted(each for each in self.baseline or () if each.suite in ended and each not in found)

    @property
    def errors(self) -> list[str]:
        return [f"{result.name}: {result.error}" for result in self.results if result.error is not None]

    @property
    def is_clean(self) -> bool:
        return not self.failures and not self.errors


def read_result(suite: Suite, exit_code: int, seconds: float) -> SuiteResult:
    """Return the result of a finished suite."""
    try:
        cases = list(ET.parse(suite.junit).getroot().iter("testcase"))  # Our own process wrote this XML.
    except (OSError, ET.ParseError):
        return SuiteResult(suite.name, seconds=seconds, error=f"ended with {exit_code}; see {suite.log}")
    found = [
        failure
        for case in cases
        for node in [*case.findall("failure"), *case.findall("error")]
        for failure in _failures(suite, case, node)
    ]
    failures = tuple(failure for failure in found if not failure.words.startswith(_FAULT))
    faults = [failure for failure in found if failure.words.startswith(_FAULT)]
    left_out = tuple(node.get("message", "") for case in cases for node in case.findall("skipped"))
    # Exit codes: pytest 1 means failed checks, 5 no checks; Schemathesis uses 1 for warnings too.
    is_explained = exit_code == 0 or (exit_code == 1 and found) or (exit_code == 5 and not cases)
    is_unanswered = exit_code == _INTERRUPTED and suite.name.startswith(_OF_PYTEST)
    words = "ended before all was checked" if is_unanswered else f"ended with {exit_code}"
    error = None if is_explained else f"{words}; see {suite.log}"
    if faults:
        words = faults[0].words.removeprefix(_FAULT).partition("\n")[0].removeprefix(": ")
        message = (
            f"{len(faults)} checks failed because of their own errors, first {faults[0].name}: {words}; see {suite.log}"
        )
        error = message if error is None else f"{message}; {error}"
    return SuiteResult(suite.name, _checks(suite, cases), seconds, failures, left_out, error, is_unanswered)


def _checks(suite: Suite, cases: list[ET.Element]) -> int:
    """Return the number of checks. Schemathesis generates many cases per operation."""
    try:
        report = json.loads(suite.junit.with_suffix(".json").read_text(encoding="utf-8"))
        return int(report["test_cases"]["generated"])
    except (OSError, ValueError, KeyError, TypeError):
        return sum(case.find("skipped") is None for case in cases)


def _failures(suite: Suite, case: ET.Element, node: ET.Element) -> list[Failure]:
    name, text = case.get("name", ""), node.text or ""
    if not suite.name.startswith("schema"):
        # The attribute is truncated. In the text, pytest marks the lines of the error message.
        marked = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
        words = "\n".join(marked).removeprefix("AssertionError: ") or node.get("message") or text
        return [Failure(suite.name, _to_words(name), words.strip(), _lines(text.rpartition(TITLE)[2]))]
    # Each failure of an operation begins with its number.
    blocks = re.split(r"(?m)^\d+\. Test Case ID: .*$", text)[1:] or [text]
    return [
        Failure(suite.name, name, before.strip(), _lines(after))
        for before, _, after in (block.partition(f"{TITLE}:") for block in blocks)
    ]


def _to_words(name: str) -> str:
    """Return the name of a check as words."""
    function, bracket, of_what = name.partition("[")
    return function.removeprefix("test_").replace("_", " ") + (f" [{of_what}" if bracket else "")


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if re.match(r"\s*(curl|sed|LC_ALL|openssl|#|\() ?", line))
