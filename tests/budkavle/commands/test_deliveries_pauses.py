"""`budkavle deliveries pause`, `resume` and `paused`."""

import getpass
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from budkavle.clock import now
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import publish, subscribe
from tests.catalogues import OTHER_ID, SYSTEM_ID

IDENTITY = "1/101/202"


@pytest.fixture
def filled(database_url: str) -> str:
    """Return two systems with a waiting delivery each."""
    subscribe(database_url, "http://127.0.0.1:9", SYSTEM_ID, OTHER_ID)
    publish(database_url)
    return database_url


def run(url: str, invoke: Invoke, *arguments: str) -> list[dict[str, Any]]:
    result = invoke(url, "deliveries", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_pause_is_shown_by_list_show_and_paused(filled: str, invoke: Invoke) -> None:
    [paused] = run(filled, invoke, "pause", "--system", SYSTEM_ID, "--until", "2h")
    by = getpass.getuser()
    assert (paused["system"], paused["pausedBy"], "subscription" in paused) == (SYSTEM_ID, by, False)
    since, until = (datetime.fromisoformat(paused[name]) for name in ("pausedSince", "pausedUntil"))
    assert until - since == timedelta(hours=2)
    assert run(filled, invoke, "paused") == run(filled, invoke, "paused", "--system", SYSTEM_ID) == [paused]
    assert run(filled, invoke, "paused", "--system", OTHER_ID) == []
    listed = {item["system"]: item for item in run(filled, invoke, "list")}
    of_system, of_other = listed[SYSTEM_ID], listed[OTHER_ID]
    names = ("pausedSince", "pausedUntil", "pausedBy")
    assert [of_system.get(name) for name in names] == [paused[name] for name in names]
    assert not set(names) & set(of_other)
    assert run(filled, invoke, "show", of_system["id"]) == [of_system]


def test_resume_ends_one_pause_and_prints_the_others(filled: str, invoke: Invoke) -> None:
    of_one = ["--system", SYSTEM_ID, "--subscription", IDENTITY]
    [paused] = run(filled, invoke, "pause", *of_one)
    assert (paused["subscription"], "pausedUntil" in paused) == (IDENTITY, False)
    run(filled, invoke, "pause", "--system", SYSTEM_ID, "--until", (now() + timedelta(days=1)).isoformat())
    result = invoke(filled, "deliveries", "resume", "--system", SYSTEM_ID)
    assert result.stdout.splitlines() == ["resumed; other pauses of the system:", json.dumps(paused)]
    assert invoke(filled, "deliveries", "resume", *of_one).stdout == "resumed\n"
    assert run(filled, invoke, "paused") == []
    assert invoke(filled, "audit", "verify").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--until", "2020-01-01"], "must be after the current time"),
        (["--until", "0s"], "must be longer than 0"),
        (["--until", "9999999d"], "must be longer than 0 and at most"),
        (["--until", "soon"], "is not a time"),
        (["--until", "9999-12-31T23:59-14:00"], "is not a time"),
        (["--until", "2027-03-28T02:30"], "does not exist in Copenhagen"),
        (["--subscription", "1/101"], "is not orgType/orgCode/entityType"),
        (["--subscription", "1/101/9999999999"], "is not orgType/orgCode/entityType"),
        (["--subscription", "1/102/202"], f"there is no subscription 1/102/202 of system {SYSTEM_ID}"),
    ],
)
def test_pause_explains_what_it_refuses(filled: str, invoke: Invoke, arguments: list[str], text: str) -> None:
    result = invoke(filled, "deliveries", "pause", "--system", SYSTEM_ID, *arguments)
    assert result.exit_code != 0
    assert text in result.stderr
    assert run(filled, invoke, "paused") == []


def test_resume_explains_that_nothing_is_paused(filled: str, invoke: Invoke) -> None:
    result = invoke(filled, "deliveries", "resume", "--system", SYSTEM_ID)
    assert (result.exit_code, result.stderr) == (1, f"Error: system {SYSTEM_ID} is not paused\n")
    run(filled, invoke, "pause", "--system", SYSTEM_ID, "--subscription", "1/101/202")
    result = invoke(filled, "deliveries", "resume", "--system", SYSTEM_ID)
    paused = f"subscription 1/101/202 of system {SYSTEM_ID}"
    assert (result.exit_code, result.stderr) == (1, f"Error: system {SYSTEM_ID} is not paused; paused: {paused}\n")
