"""Check a receiver: run the cases one after the other and return the verdict."""

import asyncio
import time
from collections.abc import Callable

from contract_tests.preparing import CannotCheckError
from contract_tests.tokens import TokenError
from contract_tests.verdict import Failure, SuiteResult, Verdict
from delivery.references import ReceiverMisconfigured
from domain.deliveries import Reason
from receiver_tests.cases import SUITES
from receiver_tests.deliveries import DeliveryFactory
from receiver_tests.junit import CaseResult, write_junit
from receiver_tests.reproducing import format_commands
from receiver_tests.sending import Sender
from receiver_tests.target import ReceiverCheck, ReceiverTarget
from receiver_tests.trial import Finding, LookFailed, NoAnswer, ReceiverCase, Trial, is_done

ACCEPTED_FILE = "accepted.txt"
"""The file in the report with the ids of the deliveries that the receiver has accepted, to remove them there."""

_UNANSWERED = 3
"""Consecutive cases without an answer after which the check ends, because each further one would time out."""

_UNREACHABLE = {Reason.NAME, Reason.CONNECT, Reason.ADDRESS, Reason.SETUP}
"""Reasons why nothing can be checked."""

Progress = Callable[[str, int, int | None, str], None]
"""Callback for progress: suite, number of finished cases, their total, name of the last one."""


def run(check: ReceiverCheck, progress: Progress, on_result: Callable[[SuiteResult], None]) -> Verdict:
    """Run the suites and return the verdict, also after KeyboardInterrupt.

    Raises CannotCheckError if the receiver cannot be checked with these options.
    """
    verdict = Verdict()
    running = _RunningCheck(check, progress)
    try:
        check.report.mkdir(parents=True, exist_ok=True)
        asyncio.run(running.run(verdict, on_result))
    except KeyboardInterrupt:
        verdict.is_interrupted = True
    except (ReceiverMisconfigured, LookFailed, TokenError) as exc:
        raise CannotCheckError(str(exc)) from exc
    except OSError as exc:
        raise CannotCheckError(f"cannot write a report to {check.report}: {exc.strerror}") from exc
    finally:
        if running.accepted:
            text = "".join(f"{id_}\n" for id_ in dict.fromkeys(running.accepted))
            (check.report / ACCEPTED_FILE).write_text(text, encoding="utf-8")
    return verdict


class _RunningCheck:
    """The state of a check while it runs: the accepted deliveries, and the cases in a row without an answer."""

    def __init__(self, check: ReceiverCheck, progress: Progress) -> None:
        self.accepted: list[str] = []
        self._check = check
        self._progress = progress
        self._unanswered = 0

    async def run(self, verdict: Verdict, on_result: Callable[[SuiteResult], None]) -> None:
        async with Sender(self._check.target) as sender:
            await self._reach(sender)
            for suite, cases in SUITES.items():
                if self._check.suites and suite not in self._check.suites:
                    continue
                result = await self._run_suite(sender, suite, cases)
                verdict.results.append(result)
                on_result(result)
                if result.is_unanswered or (self._check.fail_fast and (result.failures or result.error)):
                    return

    async def _reach(self, sender: Sender) -> None:
        """Raise CannotCheckError if there is no receiver at the address, or LookFailed if its list cannot be read."""
        trial = self._create_trial(sender, "")
        delivery = trial.deliveries.create()
        answer = await sender.send(delivery)
        if is_done(answer):
            self.accepted.append(delivery.id)
        if answer.reason in _UNREACHABLE:
            detail = f": {answer.detail}" if answer.detail else ""
            raise CannotCheckError(f"{self._check.target.url} cannot be reached ({answer.reason}{detail})")
        if trial.looks:
            await trial.list_done()

    async def _run_suite(self, sender: Sender, suite: str, cases: tuple[ReceiverCase, ...]) -> SuiteResult:
        chosen = [case for case in cases if not self._check.only or case.name in self._check.only]
        chosen = [case for case in chosen if self._check.profile == "full" or not case.of_full]
        results: list[CaseResult] = []
        begun = time.monotonic()
        for case in chosen:
            results.append(await self._run_case(sender, suite, case))
            self._progress(suite, len(results), len(chosen), case.name)
            is_failed = results[-1].failure is not None or results[-1].error is not None
            if self._unanswered >= _UNANSWERED or (self._check.fail_fast and is_failed):
                break
        write_junit(self._check.report / f"{suite}.xml", suite, results)
        errors = [f"{result.name}: {result.error}" for result in results if result.error is not None]
        is_unanswered = self._unanswered >= _UNANSWERED
        if is_unanswered:
            errors.append(f"{_UNANSWERED} cases in a row got no answer; the rest was not checked")
        return SuiteResult(
            suite,
            sum(result.left_out is None for result in results),
            time.monotonic() - begun,
            tuple(result.failure for result in results if result.failure is not None),
            tuple(result.left_out for result in results if result.left_out is not None),
            "; ".join(errors) or None,
            is_unanswered,
        )

    async def _run_case(self, sender: Sender, suite: str, case: ReceiverCase) -> CaseResult:
        reason = _explain_omission(case, self._check.target)
        if reason is not None:
            return CaseResult(case.name, 0.0, left_out=reason)
        trial = self._create_trial(sender, case.name)
        begun = time.monotonic()
        failure = error = None
        try:
            await case.run(trial)
            self._unanswered = 0
        except Finding as exc:
            self._unanswered = self._unanswered + 1 if isinstance(exc, NoAnswer) else 0
            lines = format_commands(trial.sent, self._check.target, self._check.report)
            failure = Failure(suite, case.name, str(exc), tuple(lines))
        except (LookFailed, TokenError) as exc:
            error = str(exc)
        except Exception as exc:  # noqa: BLE001  # A fault of one case must not hide the results of the others.
            error = f"the check failed by a fault of its own, {type(exc).__name__}: {exc}"
        finally:
            self.accepted += trial.accepted
        return CaseResult(case.name, time.monotonic() - begun, failure, error=error)

    def _create_trial(self, sender: Sender, name: str) -> Trial:
        target = self._check.target
        # Each case has its own random numbers, so that a case alone sends the same as in a whole check.
        seed = f"{self._check.seed} {name}"
        deliveries = DeliveryFactory(target.org_type, target.org_code, target.entity_type, seed)
        return Trial(sender, deliveries, is_full=self._check.profile == "full")


def _explain_omission(case: ReceiverCase, target: ReceiverTarget) -> str | None:
    """Return the reason why a case is left out, or None."""
    if case.needs == "--secret" and target.key is None:
        return "needs --secret"
    if case.needs == "--client-cert":
        if target.certificate is None:
            return "needs --client-cert"
        if target.key is not None:
            return "the signature proves who sent a delivery, so a client certificate need not"
    return None
