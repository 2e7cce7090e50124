"""Calls to Open-E from the event loop: their start, and circuits that open."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.errors import BackendUnavailable, BudkavleError, CircuitOpen
from domain.publications import MAX_START
from domain.web_messages import OepInstance
from mock_open_e import MockOpenE
from open_e.accounts import Account
from open_e.calls import OpenECalls
from open_e.client import OpenEClient
from tests.held_open_e import closed_port
from tests.open_e.peers import ADDED, build_web_message

URL = "http://open-e.test/external/api/callback"


def run_calls(now: datetime, count: int = 1, url: str = URL) -> list[Any]:
    """Make calls one after the other by a clock that shows `now`, and return the results or errors, then the health."""

    async def run() -> list[Any]:
        accounts = {OepInstance.EXTERNAL: Account(url)}
        calls = OpenECalls(
            OpenEClient(accounts, connect_timeout=1, read_timeout=1, threads=1),
            frozenset(accounts),
            threads=1,
            queue_timeout=1,
            now=lambda: now,
            circuit_threshold=3,
            probe_seconds=60,
        )
        results: list[Any] = []
        for _ in range(count):
            try:
                async with calls.slot(OepInstance.EXTERNAL):
                    results.append(
                        await calls.add_message(build_web_message(), added=ADDED, request_id="r", trace_parent=None)
                    )
            except BudkavleError as exc:
                results.append(type(exc))
        results.append(calls.get_health(OepInstance.EXTERNAL))
        calls.close()
        return results

    return asyncio.run(run())


def test_call_begins_in_time_or_not_at_all(open_e: MockOpenE) -> None:
    assert run_calls(ADDED + MAX_START) == [1, "UP"]
    late = run_calls(ADDED + MAX_START + timedelta(milliseconds=1), count=4)
    assert all(issubclass(each, BackendUnavailable) for each in late[:-1])
    # It says nothing about Open-E, and opens no circuit.
    assert late[-1] == "UNKNOWN"
    assert len(open_e.messages) == 1


@pytest.mark.parametrize(("fault", "is_opened"), [("Slow", True), ("Reset", False), ("Http500", False)])
def test_circuit_opens_after_timeouts_but_not_after_other_errors(
    open_e: MockOpenE, fault: Any, is_opened: bool
) -> None:
    open_e.fail(fault, times=None, seconds=60)
    results = run_calls(ADDED, count=4)
    assert (results[3] is CircuitOpen) == is_opened
    assert results[-1] == ("PAUSED" if is_opened else "DOWN")


def test_circuit_opens_after_failed_connections() -> None:
    with closed_port() as port:
        assert run_calls(ADDED, count=4, url=f"http://127.0.0.1:{port}/api/callback")[3:] == [CircuitOpen, "PAUSED"]
