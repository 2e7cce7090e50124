"""The named pipe that wakes the worker of a SQLite file."""

import asyncio
import stat
from pathlib import Path

import pytest

from persistence.sqlite.wake_pipe import WakePipe
from tests.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.anyio


async def test_send_never_waits_for_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.touch(mode=0o640)
    pipe, woken = WakePipe(path), asyncio.Event()
    # There is no worker yet.
    pipe.send()
    with pipe.watch(woken.set) as is_watched:
        assert is_watched
        # More than the pipe can hold.
        for _ in range(100_000):
            pipe.send()
        async with asyncio.timeout(LIMIT_SECONDS):
            await woken.wait()
    # The worker has ended, and left the pipe.
    pipe.send()
    mode = (tmp_path / ".test.db.wake").stat().st_mode
    assert (stat.S_ISFIFO(mode), stat.S_IMODE(mode)) == (True, 0o640)


async def test_watch_uses_the_pipe_of_a_killed_worker(tmp_path: Path) -> None:
    path, woken = tmp_path / "test.db", asyncio.Event()
    path.touch()
    for _ in range(2):
        with WakePipe(path).watch(woken.set) as is_watched:
            assert is_watched


async def test_watch_uses_one_pipe_for_all_names_of_the_file(tmp_path: Path) -> None:
    path, woken = tmp_path / "test.db", asyncio.Event()
    path.touch()
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with WakePipe(path).watch(woken.set):
        WakePipe(link).send()
        async with asyncio.timeout(LIMIT_SECONDS):
            await woken.wait()


async def test_watch_yields_false_where_no_pipe_can_be_created(tmp_path: Path) -> None:
    with WakePipe(tmp_path / "missing" / "test.db").watch(lambda: None) as is_watched:
        assert not is_watched


async def test_watch_yields_false_for_a_file_that_is_no_pipe(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.touch()
    (tmp_path / ".test.db.wake").touch()
    with WakePipe(path).watch(lambda: None) as is_watched:
        assert not is_watched
