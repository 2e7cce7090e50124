"""Format the verdict: on one screen, and in full."""

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from contract_tests.suites import Check
from contract_tests.verdict import Failure, SuiteResult, Verdict

VARIABLES_FILE = "variables.sh"
PAGE_FILE = "report.html"
REPORT_FILE = "summary.txt"

_SHOWN = 5
"""Maximum kinds of failures on one screen."""
_LINES, _WIDTH, _CALLS, _LONGEST_LINE = 6, 240, 2, 500


@dataclass(frozen=True)
class Heading:
    """The properties of a check that its summary contains. `variables` explains how to set those of the commands."""

    url: str
    profile: str
    seed: int
    report: Path
    variables: str
    title: str = "Contract check"


def describe_check(check: Check) -> Heading:
    """Return the heading of a contract check."""
    return Heading(check.target.url, check.profile, check.target.seed, check.report, _describe_variables(check))


def format_result(result: SuiteResult) -> str:
    """Return the summary line of a finished suite."""
    failed = f"{len(result.failures)} failed" if result.failures else "none failed"
    left_out = f", {len(result.left_out)} left out" if result.left_out else ""
    error = f", {result.error}" if result.error else ""
    return f"{result.name + ':':28} {result.checks:6} checks, {failed}{left_out}{error} ({result.seconds:.0f} s)"


def format_screen(verdict: Verdict, heading: Heading) -> str:
    """Return the failures with commands for the first of them, and the location of the complete report."""
    groups = group_failures(verdict.failures)
    parts = [format_headline(verdict, heading)]
    parts += [_group(number, group) for number, group in enumerate(groups[:_SHOWN], 1)]
    more = sum(len(group) for group in groups[_SHOWN:])
    if more:
        parts.append(f"and {more} more, of {len(groups) - _SHOWN} kinds")
    if any(failure.lines for failure in verdict.failures):
        parts.append(heading.variables)
    parts += verdict.errors
    parts += _describe_baseline(verdict)
    left_out = Counter(reason for result in verdict.results for reason in result.left_out)
    if left_out:
        parts.append("left out: " + "; ".join(f"{count} checks ({why})" for why, count in sorted(left_out.items())))
    parts += _list_leftovers(verdict)
    parts.append(f"Complete report: {heading.report}/")
    return "\n\n".join(parts) + "\n"


def group_failures(failures: list[Failure]) -> list[list[Failure]]:
    """Group failures of the same check with other values, and failures with the same message."""
    groups: list[list[Failure]] = []
    by_key: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        keys = [(failure.suite, failure.words.partition("\n")[0]), (failure.suite, failure.name.partition(" [")[0])]
        known = next((by_key[key] for key in keys if key in by_key), None)
        if known is None:
            known = []
            groups.append(known)
        known.append(failure)
        for key in keys:
            by_key.setdefault(key, known)
    return groups


def _group(number: int, failures: list[Failure]) -> str:
    text = _failure(number, failures[0], short=True)
    return text if len(failures) == 1 else f"{text}\n   (and {len(failures) - 1} more like it)"


def format_report(verdict: Verdict, heading: Heading) -> str:
    """Return all failures with their complete messages."""
    lines = [format_result(result) for result in verdict.results]
    failures = [_failure(number, failure, short=False) for number, failure in enumerate(verdict.failures, 1)]
    return (
        "\n\n".join(
            [
                format_headline(verdict, heading),
                "\n".join(lines),
                *failures,
                *verdict.errors,
                *_describe_baseline(verdict),
                *_list_leftovers(verdict),
                heading.variables,
            ]
        )
        + "\n"
    )


def _describe_baseline(verdict: Verdict) -> list[str]:
    """Return paragraphs about known findings that were found, and those that were not."""
    known = sorted({failure.finding for failure in verdict.known})
    parts = [
        ("known, from the baseline:", known),
        ("no longer found; remove from the baseline if fixed:", verdict.gone),
    ]
    return ["\n".join([title, *(f"   {finding}"[:_WIDTH] for finding in found)]) for title, found in parts if found]


def _list_leftovers(verdict: Verdict) -> list[str]:
    return [f"not cleaned up: {text}" for text in verdict.left]


def format_headline(verdict: Verdict, heading: Heading) -> str:
    """Return the result of a check in one line."""
    checks = sum(result.checks for result in verdict.results)
    seconds = sum(result.seconds for result in verdict.results) if verdict.seconds is None else verdict.seconds
    how = f"{heading.profile}, seed {heading.seed}, {seconds:.0f} s"
    if verdict.is_interrupted:
        return f"the check of {heading.url} was interrupted ({how})"
    if verdict.failures:
        number = f"{len(verdict.failures)}{'' if verdict.baseline is None else ' new'} failures"
        return f"{heading.url} BREAKS the contract: {number} in {checks} checks ({how})"
    if verdict.errors:
        return f"{heading.url} was NOT CHECKED to the end ({how})"
    if verdict.known:
        return f"{heading.url} has {len(verdict.known)} known failures, and no new ones, in {checks} checks ({how})"
    return f"{heading.url} keeps the contract: {checks} checks ({how})"


def _failure(number: int, failure: Failure, *, short: bool) -> str:
    words = [text.rstrip() for text in failure.words.splitlines() if text.strip()]
    lines = list(failure.lines)
    if short:
        # Python's explanation of an assertion is only part of the full report.
        words = [text for text in words if not text.startswith(("assert ", "+  where", "+    where"))] or words
        words = [text if len(text) <= _WIDTH else text[:_WIDTH] + " …" for text in words[:_LINES]]
        # The last requests caused the failure; the full report has all of them.
        lines = [_truncate(text) for text in lines[-_CALLS:]]
    details = [*words, *([] if not lines else ["reproduce with:", *lines])]
    name = failure.name[:_WIDTH] if short else failure.name
    return "\n".join([f"{number}. {failure.suite}: {name}", *(f"   {text}" for text in details)])


def _truncate(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} … (the whole line is in {REPORT_FILE})"


def format_variables(check: Check) -> str | None:
    """Return shell code that sets the variables without secrets that the commands need."""
    certificate = check.target.certificate
    if certificate is None or check.target.is_tls:
        return None
    # Reports may be shared, so they contain the path of the certificate instead of its content.
    return f'CLIENT_CERT=":$(openssl x509 -in {shlex.quote(certificate.file)} -outform DER | openssl base64 -A):"\n'


def _describe_variables(check: Check) -> str:
    target = check.target
    known = {"API_KEY": target.api_key, "PUBLISH_KEY": target.other_key, "TOKEN": target.token_file}
    names = [name for name, value in known.items() if value is not None] or ["API_KEY"]
    text = f"Before you paste a line, set {' and '.join(names)}"
    return text + "." if format_variables(check) is None else f"{text}, and run: . {check.report / VARIABLES_FILE}"
