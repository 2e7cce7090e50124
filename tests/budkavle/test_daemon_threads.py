"""Functions that block run in threads that do not delay the end of the program."""

import pytest

from budkavle.daemon_threads import run_in_daemon_thread

pytestmark = pytest.mark.anyio


async def test_run_in_daemon_thread_returns_the_result() -> None:
    assert await run_in_daemon_thread(int, "7") == 7


async def test_run_in_daemon_thread_raises_the_error_of_the_function() -> None:
    with pytest.raises(ValueError, match="base 10"):
        await run_in_daemon_thread(int, "x")
