"""Senders of events for operators that are killed with -9, or that work at the same time: each event arrives."""

import asyncio
import base64
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from budkavle.ids import create_id
from budkavle.operator_events import LEASE, OperatorEvents
from delivery.operator_webhook import OperatorClient
from persistence import failing_systems, tables
from persistence.database import Database
from persistence.opening import open_database
from tests.budkavle.kill_senders_at_lines import build_system_id
from tests.delivery.receiving import Recorder, build_base_url
from tests.delivery_validation import OPERATOR_PATH
from tests.factories import NOW
from tests.open_e.peers import Peer
from tests.persistence.queues import list_rows
from tests.processes import REPOSITORY, build_environment

pytestmark = pytest.mark.anyio

SECRET = f"whsec_{base64.b64encode(bytes(32)).decode()}"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def url(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of the operator."""
    monkeypatch.setenv("OPERATOR_SECRET", SECRET)
    peer = Peer(recorder)
    yield build_base_url(peer).removesuffix("/star") + OPERATOR_PATH
    peer.close()


def count_calls(recorder: Recorder) -> dict[str, Counter[str]]:
    """Return the number of calls of each `webhook-id`, by system."""
    found: dict[str, Counter[str]] = {}
    for index, (_, body) in enumerate(recorder.requests):
        system_id = json.loads(body)["data"]["systemId"]
        found.setdefault(system_id, Counter())[recorder.headers(index)["webhook-id"]] += 1
    return found


async def send_all(database: Database, url: str, after: timedelta = timedelta()) -> None:
    client = OperatorClient(url, "env:OPERATOR_SECRET", ca=None, allow_private=True)
    events = OperatorEvents(database, client, {}, timedelta(minutes=15), lambda: NOW + after)
    while await events.run_once():
        pass


async def test_event_whose_sender_is_killed_at_any_line_is_sent_by_another_one(
    database: Database, database_url: str, recorder: Recorder, url: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.budkavle.kill_senders_at_lines", database_url, url),
        env=build_environment() | {"OPERATOR_SECRET": SECRET},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    killed = int(output.splitlines()[-1])
    before = count_calls(recorder)
    await send_all(database, url, LEASE - timedelta(seconds=1))
    assert count_calls(recorder).keys() - before.keys() <= {build_system_id(1)}
    await send_all(database, url, LEASE)
    calls = count_calls(recorder)
    assert calls.keys() == {build_system_id(number) for number in range(killed + 2)}
    # A receiver that deduplicates by `webhook-id` has each event once.
    assert [len(ids) for ids in calls.values()] == [1] * (killed + 2)
    assert all(row["sent"] is not None for row in await list_rows(database, tables.operator_events))
    # Senders were killed before and after their call.
    assert {total for ids in calls.values() for total in ids.values()} == {1, 2}
    assert 0 < len(before) - 2 < killed


async def test_two_senders_at_once_send_each_event_once(
    database: Database, database_url: str, recorder: Recorder, url: str
) -> None:
    failing = {build_system_id(number): NOW for number in range(20)}
    await failing_systems.report_failing(database, failing, NOW, create_id)
    other = open_database(database_url)
    await asyncio.gather(send_all(database, url), send_all(other, url))
    await other.close()
    assert {system: ids.total() for system, ids in count_calls(recorder).items()} == dict.fromkeys(failing, 1)
