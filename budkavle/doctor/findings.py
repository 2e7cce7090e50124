"""The findings of checks, and how checks run: concurrently, each with a timeout."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.errors import BudkavleError, StorageFailed

CHECK_SECONDS = 8.0
"""Timeout of a check."""


class Status(StrEnum):
    """The verdict about one subject.

    A problem is what an alert rule calls critical: something fails now, or soon will. A check is skipped if it needs
    something else that has a problem.
    """

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found about one subject. `remedy` says what to do; it is empty if everything is right."""

    check: str
    status: Status
    text: str
    remedy: str = ""


class CheckSkipped(BudkavleError):
    """The check needs something that does not work."""


class Findings:
    """Collects the findings of one check."""

    def __init__(self, check: str) -> None:
        self.check = check
        self.found: list[Finding] = []

    def add_ok(self, text: str) -> None:
        """Add that a subject is right."""
        self.found.append(Finding(self.check, Status.OK, text))

    def add_warning(self, text: str, remedy: str) -> None:
        """Add something to look at soon."""
        self.found.append(Finding(self.check, Status.WARNING, text, remedy))

    def add_problem(self, text: str, remedy: str) -> None:
        """Add something that fails now, or soon will."""
        self.found.append(Finding(self.check, Status.PROBLEM, text, remedy))


Check = Callable[[Findings], Awaitable[None]]
"""Adds its findings. It may raise `CheckSkipped`, `StorageFailed` and other expected errors."""


async def run_checks(checks: Mapping[str, Check], seconds: float = CHECK_SECONDS) -> list[Finding]:
    """Run all checks concurrently, and return their findings in the order of the checks."""
    results = await asyncio.gather(*(_run_check(name, check, seconds) for name, check in checks.items()))
    return [finding for result in results for finding in result]


async def _run_check(name: str, check: Check, seconds: float) -> Iterable[Finding]:
    findings = Findings(name)
    try:
        async with asyncio.timeout(seconds):
            await check(findings)
    except TimeoutError:
        findings.add_problem(f"no answer within {seconds:g} seconds", "find out what does not answer, and try again")
    except CheckSkipped as exc:
        findings.found.append(Finding(name, Status.SKIPPED, str(exc)))
    except StorageFailed as exc:
        findings.add_problem(exc.explanation or f"{exc} {exc.reason}".rstrip(), "repair the database")
    except BudkavleError as exc:
        findings.add_problem(str(exc), "correct it")
    except Exception as exc:  # noqa: BLE001  # A defect of one check must not hide the findings of the others.
        findings.add_problem(f"the check failed: {type(exc).__name__}: {exc}"[:300], "report this as a defect")
    return findings.found
