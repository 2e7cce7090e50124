"""The verdict on one screen, and whole."""

import shlex
from collections import Counter

from contract_tests.suites import Check
from contract_tests.verdict import Failure, SuiteResult, Verdict

VARIABLES = "variables.sh"
WHOLE = "summary.txt"

_SHOWN = 5
"""Kinds of failures that have room on a screen."""
_LINES, _WIDTH, _CALLS, _LONGEST_LINE = 6, 240, 2, 500


def line(result: SuiteResult) -> str:
    """One suite, once it has ended."""
    failed = f"{len(result.failures)} failed" if result.failures else "none failed"
    left_out = f", {len(result.left_out)} left out" if result.left_out else ""
    error = f", {result.error}" if result.error else ""
    return f"{result.name + ':':28} {result.checks:6} checks, {failed}{left_out}{error} ({result.seconds:.0f} s)"


def one_screen(verdict: Verdict, check: Check) -> str:
    """What is wrong, the first of it with lines to paste, and where the rest is."""
    groups = _groups(verdict.failures)
    parts = [_headline(verdict, check)]
    parts += [_group(number, group) for number, group in enumerate(groups[:_SHOWN], 1)]
    more = sum(len(group) for group in groups[_SHOWN:])
    if more:
        parts.append(f"and {more} more, of {len(groups) - _SHOWN} kinds")
    if any(failure.lines for failure in verdict.failures):
        parts.append(_variables(check))
    parts += verdict.errors
    left_out = Counter(reason for result in verdict.results for reason in result.left_out)
    if left_out:
        parts.append("left out: " + "; ".join(f"{count} checks ({why})" for why, count in sorted(left_out.items())))
    parts += _left(verdict)
    parts.append(f"All of it: {check.report}/")
    return "\n\n".join(parts) + "\n"


def _groups(failures: list[Failure]) -> list[list[Failure]]:
    """Failures of one kind together: of one check with other values, or that say the same."""
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


def whole(verdict: Verdict, check: Check) -> str:
    """Every failure with all that was said of it."""
    lines = [line(result) for result in verdict.results]
    failures = [_failure(number, failure, short=False) for number, failure in enumerate(verdict.failures, 1)]
    return (
        "\n\n".join(
            [
                _headline(verdict, check),
                "\n".join(lines),
                *failures,
                *verdict.errors,
                *_left(verdict),
                _variables(check),
            ]
        )
        + "\n"
    )


def _left(verdict: Verdict) -> list[str]:
    return [f"not cleaned up: {text}" for text in verdict.left]


def _headline(verdict: Verdict, check: Check) -> str:
    checks = sum(result.checks for result in verdict.results)
    seconds = sum(result.seconds for result in verdict.results)
    how = f"{check.profile}, seed {check.target.seed}, {seconds:.0f} s"
    if verdict.is_interrupted:
        return f"the check of {check.target.url} was interrupted ({how})"
    if verdict.failures:
        return f"{check.target.url} BREAKS the contract: {len(verdict.failures)} failures in {checks} checks ({how})"
    if verdict.errors:
        return f"{check.target.url} was NOT CHECKED to the end ({how})"
    return f"{check.target.url} keeps the contract: {checks} checks ({how})"


def _failure(number: int, failure: Failure, *, short: bool) -> str:
    words = [text.rstrip() for text in failure.words.splitlines() if text.strip()]
    lines = list(failure.lines)
    if short:
        # How Python put it together is for the whole of it.
        words = [text for text in words if not text.startswith(("assert ", "+  where", "+    where"))] or words
        words = [text if len(text) <= _WIDTH else text[:_WIDTH] + " …" for text in words[:_LINES]]
        # What came last is what failed; what led to it is in the whole of it.
        lines = [_cut(text) for text in lines[-_CALLS:]]
    told = [*words, *([] if not lines else ["reproduce with:", *lines])]
    name = failure.name[:_WIDTH] if short else failure.name
    return "\n".join([f"{number}. {failure.suite}: {name}", *(f"   {text}" for text in told)])


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]} … (the whole line is in {WHOLE})"


def variables(check: Check) -> str | None:
    """For the shell: what lines need and is no secret."""
    certificate = check.target.certificate
    if certificate is None or check.target.is_tls:
        return None
    # A report goes to others than those who may call: where the certificate is, not what is in it.
    return f'CLIENT_CERT=":$(openssl x509 -in {shlex.quote(certificate.file)} -outform DER | openssl base64 -A):"\n'


def _variables(check: Check) -> str:
    names = ["API_KEY"] if check.target.other_key is None else ["API_KEY", "PUBLISH_KEY"]
    text = f"Before you paste a line, set {' and '.join(names)}"
    return text + "." if variables(check) is None else f"{text}, and run: . {check.report / VARIABLES}"
