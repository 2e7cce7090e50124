"""Checks run concurrently and cannot hide one another's findings."""

import asyncio
import threading

import pytest

from budkavle.daemon_threads import run_in_daemon_thread
from budkavle.doctor.findings import CheckSkipped, Finding, Findings, Status, run_checks
from domain.errors import StorageFailed

pytestmark = pytest.mark.anyio


async def hang(_findings: Findings) -> None:
    await asyncio.get_running_loop().create_future()


async def hang_in_thread(findings: Findings) -> None:
    findings.add_ok("before")
    await run_in_daemon_thread(threading.Event().wait)


async def fail(_findings: Findings) -> None:
    raise ZeroDivisionError


async def lack_database(_findings: Findings) -> None:
    raise StorageFailed("lost", "the disk is full")


async def skip(_findings: Findings) -> None:
    raise CheckSkipped("no database")


async def succeed(findings: Findings) -> None:
    findings.add_ok("fine")


async def test_run_checks_returns_the_findings_of_all_checks() -> None:
    checks = {
        "hang": hang,
        "thread": hang_in_thread,
        "fail": fail,
        "database": lack_database,
        "skip": skip,
        "good": succeed,
    }
    found = await run_checks(checks, 0.05)
    assert [(each.check, each.status, each.text) for each in found] == [
        ("hang", Status.PROBLEM, "no answer within 0.05 seconds"),
        ("thread", Status.OK, "before"),
        ("thread", Status.PROBLEM, "no answer within 0.05 seconds"),
        ("fail", Status.PROBLEM, "the check failed: ZeroDivisionError: "),
        ("database", Status.PROBLEM, "the disk is full"),
        ("skip", Status.SKIPPED, "no database"),
        ("good", Status.OK, "fine"),
    ]


async def test_run_checks_runs_them_concurrently() -> None:
    both = asyncio.Barrier(2)

    async def meet(findings: Findings) -> None:
        await both.wait()
        findings.add_ok("met")

    found = await run_checks({"first": meet, "second": meet}, 30)
    assert found == [Finding("first", Status.OK, "met"), Finding("second", Status.OK, "met")]
