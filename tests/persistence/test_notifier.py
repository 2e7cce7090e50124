"""Notify the workers of other processes: at most once at a time, and only if deliveries may be due."""

import asyncio

import pytest

from domain.errors import StorageFailed
from persistence import notifier as notifier_module
from persistence.database import Database
from persistence.notifier import Notifier
from persistence.opening import open_database
from tests.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.anyio


class Recorder:
    """Counts what a notifier does. The first `failing` notifications fail."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.sent = self.checks = 0
        self.is_mapped = False

    async def send(self) -> None:
        self.sent += 1
        await asyncio.sleep(0)
        if self.sent <= self.failing:
            raise StorageFailed("lost")

    async def are_mapped(self) -> bool:
        self.checks += 1
        return self.is_mapped


async def test_notify_sends_one_notification_for_many_commits() -> None:
    recorder = Recorder()
    notifier = Notifier(recorder.send, recorder.are_mapped)
    for _ in range(100):
        notifier.notify(is_certain=True)
    await wait_until(lambda: recorder.sent == 1)
    # The notification under way may have been sent before these commits.
    for _ in range(100):
        notifier.notify(is_certain=True)
    await wait_until(lambda: recorder.sent == 2)
    await notifier.close()
    assert (recorder.sent, recorder.checks) == (2, 0)


async def test_notify_waits_between_two_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier_module, "NOTIFY_SECONDS", 3600.0)
    recorder = Recorder()
    notifier = Notifier(recorder.send, recorder.are_mapped)
    for _ in range(10):
        notifier.notify(is_certain=True)
        # More than a notification takes.
        for _ in range(10):
            await asyncio.sleep(0)
    await notifier.close()
    assert recorder.sent == 1


async def test_notify_continues_after_a_failure() -> None:
    recorder = Recorder(failing=1)
    notifier = Notifier(recorder.send, recorder.are_mapped)
    notifier.notify(is_certain=True)
    await asyncio.sleep(0)
    # The first one is under way, and will fail.
    assert recorder.sent == 1
    notifier.notify(is_certain=True)
    await wait_until(lambda: recorder.sent == 2)
    await notifier.close()


async def test_notify_for_messages_asks_once_whether_they_raise_events() -> None:
    recorder = Recorder()
    notifier = Notifier(recorder.send, recorder.are_mapped)
    notifier.notify(is_certain=False)
    await wait_until(lambda: recorder.checks == 1)
    await wait_until(lambda: notifier._sending is None)
    for _ in range(100):
        notifier.notify(is_certain=False)
    assert notifier._sending is None
    # Other deliveries are announced nevertheless.
    notifier.notify(is_certain=True)
    await wait_until(lambda: recorder.sent == 1)
    await notifier.close()
    assert recorder.checks == 1


async def test_notify_for_messages_sends_if_they_raise_events() -> None:
    recorder = Recorder()
    recorder.is_mapped = True
    notifier = Notifier(recorder.send, recorder.are_mapped)
    notifier.notify(is_certain=False)
    await wait_until(lambda: recorder.sent == 1)
    await notifier.close()


async def test_notify_workers_wakes_the_worker_of_another_process(database: Database, database_url: str) -> None:
    other = open_database(database_url)
    woken = asyncio.Event()
    async with asyncio.timeout(LIMIT_SECONDS), database.watch_deliveries(woken.set) as is_watched:
        await wait_until(is_watched)
        for _ in range(3):
            woken.clear()
            other.notify_workers()
            await woken.wait()
    # Without a worker, notifications go nowhere.
    other.notify_workers()
    await other.close()
