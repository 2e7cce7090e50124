"""Checks a target: runs the suites one after the other, and tells how far they are."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from contract_tests import cleaning, preparing, redacting
from contract_tests.suites import Check, Suite, diary_file, suites, target_file
from contract_tests.target import Target
from contract_tests.verdict import SuiteResult, Verdict, read_result

POLL_SECONDS = 0.2

Progress = Callable[[str, int, int | None, str], None]
"""Is told the suite, how many checks are done, of how many if that is known, and which was the last."""


def run(check: Check, progress: Progress, on_result: Callable[[SuiteResult], None]) -> Verdict:
    """What the suites found. Whatever ends it, what they made is cleaned up first.

    Raises CannotCheckError where the target cannot be checked as it was asked for, before anything is changed.
    """
    verdict = Verdict()
    target, current = preparing.learn(check.target, check.specs)
    check = replace(check, target=target)
    check.report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="contract-check-") as folder:
        work = Path(folder)
        target.write(target_file(work))
        try:
            for suite in suites(check, work):
                # Each suite finds the same, whatever the one before it left.
                preparing.set_up(target)
                result = _run_suite(suite, target, diary_file(work), progress)
                verdict.results.append(result)
                on_result(result)
                if check.fail_fast and (result.failures or result.error):
                    break
        finally:
            progress("cleaning up", 0, None, "")
            verdict.left = cleaning.clean_up(target, diary_file(work), current)
    return verdict


def _run_suite(suite: Suite, target: Target, diary: Path, progress: Progress) -> SuiteResult:
    for old in (suite.junit, suite.junit.with_suffix(".json")):
        old.unlink(missing_ok=True)
    begin = diary.stat().st_size if diary.exists() else 0
    started = time.monotonic()
    with (
        suite.log.open("wb") as log,
        subprocess.Popen(
            suite.command, env=suite.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while True:
                try:
                    code = process.wait(POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(suite.name, *_how_far(diary, begin))
        except BaseException:
            process.kill()
            raise
    redacting.redact(suite, target)
    return read_result(suite, code, time.monotonic() - started)


def _how_far(diary: Path, begin: int) -> tuple[int, int | None, str]:
    """Checks that are done, of how many, and the last one, by what the suite noted since it began."""
    if not diary.exists():
        return 0, None, ""
    with diary.open(encoding="utf-8") as file:
        file.seek(begin)
        lines = file.read().splitlines()
    done = [line.removeprefix("did ") for line in lines if line.startswith("did ")]
    totals = [int(line.removeprefix("total ")) for line in lines if line.startswith("total ")]
    return len(done), totals[-1] if totals else None, done[-1] if done else ""
