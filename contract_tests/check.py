"""Checks a target: runs the suites one after the other, and tells how far they are."""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from contract_tests import cleaning, evidence, preparing, redacting, reproducing
from contract_tests.suites import Check, Suite, diary_file, suites, target_file
from contract_tests.target import Target
from contract_tests.verdict import Failure, SuiteResult, Verdict, read_result

POLL_SECONDS = 0.2
LEARNING_SECONDS = 600
"""That the calls before all checks may take."""
LONGEST_SECONDS = {"quick": 1800, "full": 7200}
"""That one suite may take, many times what it does: a server that is slow to answer must not hold it for ever."""

Progress = Callable[[str, int, int | None, str], None]
"""Is told the suite, how many checks are done, of how many if that is known, and which was the last."""


def run(check: Check, progress: Progress, on_result: Callable[[SuiteResult], None]) -> Verdict:
    """What the suites found. Whatever ends it, what they made is cleaned up first.

    Raises CannotCheckError where the target cannot be checked as it was asked for, before anything is changed.
    """
    verdict = Verdict()
    try:
        with evidence.of_one_check() as sent:
            target, current = _learn(check)
    except preparing.BrokenContractError as exc:
        check.report.mkdir(parents=True, exist_ok=True)
        return _told(verdict, _unprepared(check, exc, sent), on_result)
    check = replace(check, target=target)
    check.report.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="contract-check-") as folder:
        work = Path(folder)
        target.write(target_file(work))
        try:
            for suite in suites(check, work):
                # Each suite finds the same, whatever the one before it left.
                try:
                    with evidence.of_one_check() as sent:
                        preparing.set_up(target)
                except preparing.BrokenContractError as exc:
                    _told(verdict, _unprepared(check, exc, sent), on_result)
                    break
                result = _run_suite(suite, diary_file(work), progress, LONGEST_SECONDS[check.profile])
                redacting.redact(suite, target)
                _told(verdict, result, on_result)
                if result.is_unanswered or (check.fail_fast and (result.failures or result.error)):
                    break
        finally:
            progress("cleaning up", 0, None, "")
            verdict.left = cleaning.clean_up(target, diary_file(work), current)
    return verdict


def _learn(check: Check) -> tuple[Target, list[dict[str, Any]]]:
    """What the target is, in time: headers may drip too, and a server may say for ever that one should go on."""
    found: Future[tuple[Target, list[dict[str, Any]]]] = Future()

    def learn() -> None:
        try:
            found.set_result(preparing.learn(check.target, check.specs))
        except Exception as exc:  # noqa: BLE001  # Whatever it is, it is raised where it is waited for.
            found.set_exception(exc)

    threading.Thread(target=learn, daemon=True).start()
    try:
        return found.result(LEARNING_SECONDS)
    except TimeoutError as exc:
        raise preparing.CannotCheckError(f"{check.target.url} gave no whole answers in {LEARNING_SECONDS} s") from exc


def _told(verdict: Verdict, result: SuiteResult, on_result: Callable[[SuiteResult], None]) -> Verdict:
    verdict.results.append(result)
    on_result(result)
    return verdict


def _unprepared(check: Check, exc: preparing.BrokenContractError, sent: Sequence[evidence.Sent]) -> SuiteResult:
    """The failure of what comes before all checks."""
    lines = reproducing.lines(sent[-1:], check.target, "preparing", check.report)
    failure = Failure("preparing", "what every check needs", str(exc), tuple(lines))
    return SuiteResult("preparing", checks=1, failures=(failure,))


def _run_suite(suite: Suite, diary: Path, progress: Progress, longest: float) -> SuiteResult:
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
                if time.monotonic() - started > longest:
                    process.kill()
                    error = f"had no end after {longest} seconds; see {suite.log}"
                    return SuiteResult(suite.name, seconds=longest, error=error)
        except BaseException:
            process.kill()
            raise
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
