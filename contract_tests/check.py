"""Check a target: run the suites, those of each contract concurrently, and report the progress."""

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from contract_tests import cleaning, evidence, preparing, redacting, reproducing
from contract_tests.api import SYNC
from contract_tests.preparing import BrokenContractError, CannotCheckError
from contract_tests.suites import Check, Suite, SuiteProcess, collect_run_records, plan_lanes, target_file
from contract_tests.target import CheckTarget
from contract_tests.tokens import TokenError
from contract_tests.verdict import Failure, SuiteResult, Verdict, read_result

POLL_SECONDS = 0.2
LAST_ANSWER_SECONDS = 10
"""Maximum seconds that a cancelled suite waits for the response to its last request."""
LEARNING_SECONDS = 600
"""Maximum seconds for the calls before all checks."""
LONGEST_SECONDS = {"quick": 1800, "full": 7200}
"""Maximum seconds per suite, many times the usual duration: a slow server must not block the check for ever."""

BEFORE = "subscriptions-before.json"
"""The file in the report with the system's original subscriptions, until they are known to be restored."""

CLEANING = "cleaning up"
"""The name of the last step in the progress."""

_RENEWING = threading.Lock()
"""Lanes share the token, and one of them renews it."""

ProgressStep = tuple[str, int, int | None, str]
"""A suite, the number of its finished checks, their total if known, and the name of the last one."""

Progress = Callable[[str, int, int | None, str], None]
"""Callback for the values of a `ProgressStep`."""


def run(check: Check, progress: Progress, on_result: Callable[[SuiteResult], None]) -> Verdict:
    """Run the suites and return the verdict. Clean up in any case, also after KeyboardInterrupt.

    Raises CannotCheckError if the target cannot be checked with these options, before anything is changed.
    """
    verdict = Verdict(baseline=check.baseline)
    try:
        with evidence.recording() as sent:
            target, current = _explore(check)
    except BrokenContractError as exc:
        _make_report(check.report)
        return _add_result(verdict, _preparation_failure(check, exc, sent), on_result)
    check = replace(check, target=target)
    _make_report(check.report)
    backup = check.report / BEFORE
    _save_subscriptions(backup, target, current)
    with tempfile.TemporaryDirectory(prefix="contract-check-") as folder:
        work = Path(folder)
        target.write(target_file(work))
        began = time.monotonic()
        try:
            for lanes in plan_lanes(check, work):
                stage = _Stage(check, lanes)
                with closing(stage.run()) as events:
                    for event in events:
                        if isinstance(event, SuiteResult):
                            _add_result(verdict, event, on_result)
                        else:
                            progress(*event)
                if stage.is_stopped:
                    break
        except KeyboardInterrupt:
            verdict.is_interrupted = True
        finally:
            progress(CLEANING, 0, None, "")
            with suppress(TokenError):
                _renew_token(check)
            verdict.left = cleaning.clean_up(target, collect_run_records(work), current, backup)
            verdict.seconds = time.monotonic() - began
    # Lanes end in any order.
    verdict.results.sort(key=lambda result: result.name)
    return verdict


class _Stage:
    """Runs lanes of suites, each in a thread that starts and watches the processes of its suites."""

    def __init__(self, check: Check, lanes: Sequence[Sequence[Suite]]) -> None:
        self._check = check
        self._lanes = lanes
        self._events: SimpleQueue[SuiteResult | ProgressStep | BaseException | None] = SimpleQueue()
        self._stop = threading.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether no more suites may run: one got no answers, or failed with `fail_fast`."""
        return self._stop.is_set()

    def run(self) -> Generator[SuiteResult | ProgressStep]:
        """Yield results and progress. If the caller stops or an error is raised, the suites are terminated first."""
        if not self._lanes:
            return
        with ThreadPoolExecutor(len(self._lanes)) as pool:
            try:
                for lane in self._lanes:
                    pool.submit(self._run_lane, lane)
                yield from self._take_events()
            except BaseException:
                self._stop.set()
                raise

    def _take_events(self) -> Generator[SuiteResult | ProgressStep]:
        """Yield events until each lane has put its end, which follows all its results."""
        running, is_unanswered = len(self._lanes), False
        while running:
            event = self._events.get()
            if event is None:
                running -= 1
            elif isinstance(event, BaseException):
                raise event
            elif not isinstance(event, SuiteResult) or not event.is_unanswered:
                yield event
            # Each lane may find out that the server does not answer.
            elif not is_unanswered:
                is_unanswered = True
                yield event

    def _run_lane(self, suites: Sequence[Suite]) -> None:
        """Put the events of a lane, and at its end None, or its error."""
        end = None
        try:
            self._run_suites(suites)
        except BaseException as exc:  # noqa: BLE001  # It is raised where the events are taken.
            end = exc
        self._events.put(end)

    def _run_suites(self, suites: Sequence[Suite]) -> None:
        for suite in suites:
            if self._stop.is_set():
                return
            result = _run_prepared(self._check, suite, lambda *shown: self._events.put(shown), self._stop)
            if result is None:
                return
            self._events.put(result)
            if result.is_unanswered or (self._check.fail_fast and (result.failures or result.error)):
                self._stop.set()


def _make_report(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotCheckError(f"cannot write a report to {folder}: {exc.strerror}") from exc


def _save_subscriptions(file: Path, target: CheckTarget, current: list[dict[str, Any]]) -> None:
    """Write the request body that restores the subscriptions to a file that survives this process."""
    if file.exists():
        # An existing file means that the system still has the subscriptions of an earlier check.
        raise CannotCheckError(
            f"{file} holds subscriptions that an earlier check did not put back: POST it to {SYNC}, and delete it"
        )
    if current:
        file.write_text(json.dumps({"systemIdentifier": target.system, "abonnementer": current}), encoding="utf-8")


def _run_prepared(check: Check, suite: Suite, progress: Progress, stop: threading.Event) -> SuiteResult | None:
    """Return the result of a suite, or None if it was stopped."""
    sent: list[evidence.Sent] = []
    try:
        _renew_token(check)
        if suite.uses_system:
            # Restore the same initial state before each suite.
            with evidence.recording() as sent:
                preparing.set_up(check.target)
    except BrokenContractError as exc:
        return replace(_preparation_failure(check, exc, sent), is_unanswered=True)
    except CannotCheckError as exc:
        return SuiteResult(suite.name, error=str(exc))
    except TokenError as exc:
        return SuiteResult(suite.name, error=str(exc), is_unanswered=True)
    return _run_suite(suite, check, progress, stop)


def _renew_token(check: Check) -> None:
    """Renew the token if it expires soon. Raises TokenError if it has expired."""
    if check.tokens is not None:
        with _RENEWING:
            check.tokens.renew()


def _explore(check: Check) -> tuple[CheckTarget, list[dict[str, Any]]]:
    """Return what the target supports, within a time limit: a server may send slow headers or endless 1xx responses."""
    found: Future[tuple[CheckTarget, list[dict[str, Any]]]] = Future()

    def learn() -> None:
        try:
            found.set_result(preparing.explore(check.target, check.specs))
        except Exception as exc:  # noqa: BLE001  # The waiting thread raises it again.
            found.set_exception(exc)

    threading.Thread(target=learn, daemon=True).start()
    try:
        return found.result(LEARNING_SECONDS)
    except TimeoutError as exc:
        raise CannotCheckError(f"{check.target.url} sent no complete responses within {LEARNING_SECONDS} s") from exc


def _add_result(verdict: Verdict, result: SuiteResult, on_result: Callable[[SuiteResult], None]) -> Verdict:
    verdict.results.append(result)
    on_result(result)
    return verdict


def _preparation_failure(check: Check, exc: BrokenContractError, sent: Sequence[evidence.Sent]) -> SuiteResult:
    """Return the failure of a step before all checks."""
    lines = reproducing.format_commands(sent[-1:], check.target, "preparing", check.report)
    failure = Failure("preparing", "what every check needs", str(exc), tuple(lines))
    return SuiteResult("preparing", checks=1, failures=(failure,))


def _run_suite(suite: Suite, check: Check, progress: Progress, stop: threading.Event) -> SuiteResult | None:
    target, longest = check.target, LONGEST_SECONDS[check.profile]
    for old in (suite.junit, suite.junit.with_suffix(".json")):
        old.unlink(missing_ok=True)
    started = time.monotonic()
    with (
        suite.log.open("wb") as log,
        check.start(suite.command, suite.environment, log) as process,
    ):
        code: int | None
        try:
            while True:
                try:
                    code = process.wait(POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(suite.name, *_read_progress(suite.run_record))
                    _renew_token(check)
                if stop.is_set():
                    _terminate(process)
                    redacting.redact(suite, target)
                    return None
                if time.monotonic() - started > longest:
                    process.kill()
                    code = None
                    break
        except TokenError as exc:
            # All further checks would fail, which would show nothing about the target.
            _terminate(process)
            redacting.redact(suite, target)
            return SuiteResult(suite.name, seconds=time.monotonic() - started, error=str(exc), is_unanswered=True)
        except BaseException:
            _terminate(process)
            redacting.redact(suite, target)
            raise
    redacting.redact(suite, target)
    if code is None:
        return SuiteResult(suite.name, seconds=longest, error=f"had no end after {longest} seconds; see {suite.log}")
    return read_result(suite, code, time.monotonic() - started)


def _terminate(process: SuiteProcess) -> None:
    process.terminate()
    try:
        process.wait(LAST_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()


def _read_progress(run_record: Path) -> tuple[int, int | None, str]:
    """Return the number of finished checks, their total and the name of the last one, from the suite's run record."""
    if not run_record.exists():
        return 0, None, ""
    lines = run_record.read_text(encoding="utf-8", errors="replace").splitlines()
    done = [line.removeprefix("did ") for line in lines if line.startswith("did ")]
    totals = [int(line.removeprefix("total ")) for line in lines if line.startswith("total ")]
    return len(done), totals[-1] if totals else None, done[-1] if done else ""
