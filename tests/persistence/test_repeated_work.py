"""Repeated work survives each of its failures, and logs it."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog
from structlog.testing import capture_logs

from domain.errors import Invalid, StorageFailed
from openapi.observation.logs import set_up_logs
from persistence.repeated_work import FailureLog, run_or_log, run_repeatedly
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

LOG = structlog.get_logger("test")
FAILURES = FailureLog(LOG, "things_not_stored", "things_run_failed")

ITERATIONS = 100
"""Iterations of the event loop in which work that does not wait would run again."""


@pytest.fixture(autouse=True)
def _log_warnings() -> Iterator[None]:
    set_up_logs("json", "warning")
    yield
    set_up_logs("json", "error")


class Work:
    """Raises the errors one after the other, and then returns the numbers of its runs."""

    def __init__(self, *errors: BaseException) -> None:
        self.runs = 0
        self._errors: Iterator[BaseException] = iter(errors)

    async def __call__(self) -> int:
        self.runs += 1
        for error in self._errors:
            raise error
        return self.runs


async def test_run_or_log_returns_the_result() -> None:
    with capture_logs() as logged:
        assert await run_or_log(Work(), FAILURES) == 1
    assert logged == []


@pytest.mark.parametrize(("explanation", "detail"), [("the disk is full", "the disk is full"), ("", None)])
async def test_run_or_log_logs_a_failure_of_the_database(explanation: str, detail: str | None) -> None:
    with capture_logs() as logged:
        assert await run_or_log(Work(StorageFailed("full", explanation)), FAILURES) is None
    assert logged == [{"event": "things_not_stored", "log_level": "warning", "reason": "full", "detail": detail}]


async def test_run_or_log_logs_a_failure_of_the_database_at_the_level() -> None:
    failures = FailureLog(LOG, "things_not_stored", "things_run_failed", storage_failed_level=logging.ERROR)
    with capture_logs() as logged:
        await run_or_log(Work(StorageFailed("full")), failures)
    assert [entry["log_level"] for entry in logged] == ["error"]


@pytest.mark.parametrize("create_error", [lambda: ValueError("broken"), lambda: Invalid([])])
async def test_run_or_log_logs_an_unexpected_error_with_its_trace(create_error: Callable[[], Exception]) -> None:
    with capture_logs() as logged:
        assert await run_or_log(Work(create_error()), FAILURES) is None
    assert logged == [{"event": "things_run_failed", "log_level": "error", "exc_info": True}]


async def test_run_or_log_logs_a_refusal_without_trace() -> None:
    failures = FailureLog(LOG, "things_not_stored", "things_run_failed", refused="things_refused")
    refusal = Invalid([])
    with capture_logs() as logged:
        assert await run_or_log(Work(refusal), failures) is None
    assert logged == [{"event": "things_refused", "log_level": "error", "reason": str(refusal)}]


async def test_run_or_log_can_be_cancelled() -> None:
    with capture_logs() as logged, pytest.raises(asyncio.CancelledError):
        await run_or_log(Work(asyncio.CancelledError()), FAILURES)
    assert logged == []


async def test_run_repeatedly_goes_on_after_failures() -> None:
    work = Work(StorageFailed("full"), ValueError("broken"))
    with capture_logs() as logged:
        running = asyncio.create_task(run_repeatedly(work, FAILURES, 0.001))
        await wait_until(lambda: work.runs > len(("full", "broken")) or running.done())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert [entry["event"] for entry in logged] == ["things_not_stored", "things_run_failed"]


async def test_run_repeatedly_waits_between_two_runs() -> None:
    work = Work(ValueError("broken"))
    with capture_logs():
        running = asyncio.create_task(run_repeatedly(work, FAILURES, 3600))
        await wait_until(lambda: work.runs > 0 or running.done())
        for _ in range(ITERATIONS):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert work.runs == 1
