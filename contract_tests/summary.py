"""The verdict on one screen, and whole."""

from collections import Counter

from contract_tests.suites import Check
from contract_tests.verdict import Failure, SuiteResult, Verdict

_SHOWN = 5
"""Failures that have room on a screen."""
_LINES, _WIDTH, _LONGEST_LINE = 6, 160, 600


def line(result: SuiteResult) -> str:
    """One suite, once it has ended."""
    failed = f"{len(result.failures)} failed" if result.failures else "none failed"
    left_out = f", {len(result.left_out)} left out" if result.left_out else ""
    error = f", {result.error}" if result.error else ""
    return f"{result.name + ':':28} {result.checks:6} checks, {failed}{left_out}{error} ({result.seconds:.0f} s)"


def one_screen(verdict: Verdict, check: Check) -> str:
    """What is wrong, the first of it with lines to paste, and where the rest is."""
    parts = [_headline(verdict, check)]
    parts += [_failure(number, failure, short=True) for number, failure in enumerate(verdict.failures[:_SHOWN], 1)]
    if len(verdict.failures) > _SHOWN:
        parts.append(f"and {len(verdict.failures) - _SHOWN} more")
    if any(failure.lines for failure in verdict.failures):
        parts.append(_variables(check))
    parts += verdict.errors
    left_out = Counter(reason for result in verdict.results for reason in result.left_out)
    if left_out:
        parts.append("left out: " + "; ".join(f"{count} checks ({why})" for why, count in sorted(left_out.items())))
    parts += [f"not cleaned up: {text}" for text in verdict.left]
    parts.append(f"All of it: {check.report}/")
    return "\n\n".join(parts) + "\n"


def whole(verdict: Verdict, check: Check) -> str:
    """Every failure with all that was said of it."""
    lines = [line(result) for result in verdict.results]
    failures = [_failure(number, failure, short=False) for number, failure in enumerate(verdict.failures, 1)]
    return (
        "\n\n".join([_headline(verdict, check), "\n".join(lines), *failures, *verdict.errors, _variables(check)]) + "\n"
    )


def _headline(verdict: Verdict, check: Check) -> str:
    checks = sum(result.checks for result in verdict.results)
    seconds = sum(result.seconds for result in verdict.results)
    how = f"{check.profile}, seed {check.target.seed}, {seconds:.0f} s"
    if verdict.failures:
        return f"{check.target.url} BREAKS the contract: {len(verdict.failures)} failures in {checks} checks ({how})"
    if verdict.errors:
        return f"{check.target.url} was NOT CHECKED to the end ({how})"
    return f"{check.target.url} keeps the contract: {checks} checks ({how})"


def _failure(number: int, failure: Failure, *, short: bool) -> str:
    words = [text.rstrip() for text in failure.words.splitlines() if text.strip()]
    lines = list(failure.lines)
    if short:
        words = [text[:_WIDTH] for text in words[:_LINES]]
        # What came last is what failed; what led to it is in the whole of it.
        lines = [text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + " …" for text in lines[-1:]]
    told = [*words, *([] if not lines else ["reproduce with:", *lines])]
    return "\n".join([f"{number}. {failure.suite}: {failure.name}", *(f"   {text}" for text in told)])


def _variables(check: Check) -> str:
    names = ["API_KEY"]
    if check.target.publish_key != check.target.api_key:
        names.append("PUBLISH_KEY")
    text = f"The lines for the shell read {' and '.join(names)}"
    if check.target.certificate is None or check.target.is_tls:
        return text + "."
    return f"{text}, and CLIENT_CERT='{check.target.certificate.header}'."
