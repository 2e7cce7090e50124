"""Run work on the database again and again, and log its failures instead of ending."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from domain.errors import BudkavleError, StorageFailed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FailureLog:
    """How the failures of repeated work are logged."""

    log: Any
    """A logger of structlog."""

    storage_failed: str
    """The log event of a failure of the database, with its reason."""

    crashed: str
    """The log event of an unexpected error, with its trace."""

    refused: str | None = None
    """The log event of other errors of our own, with their text. Without it, they are unexpected."""

    storage_failed_level: int = logging.WARNING


async def run_or_log(work: Callable[[], Awaitable[T]], failures: FailureLog) -> T | None:
    """Return the result of work, or log its failure and return None."""
    log = failures.log
    try:
        return await work()
    except StorageFailed as exc:
        fields = {"reason": exc.reason, "detail": exc.explanation or None}
        log.log(failures.storage_failed_level, failures.storage_failed, **fields)
    except Exception as exc:
        if failures.refused is not None and isinstance(exc, BudkavleError):
            log.error(failures.refused, reason=str(exc))  # noqa: TRY400  # A trace adds nothing to the reason.
        else:
            # The next run must happen all the same.
            log.exception(failures.crashed)
    return None


async def run_repeatedly(work: Callable[[], Awaitable[object]], failures: FailureLog, seconds: float) -> None:
    """Run work, wait for `seconds`, and begin again, until this is cancelled. Failures are logged."""
    while True:
        await run_or_log(work, failures)
        await asyncio.sleep(seconds)
