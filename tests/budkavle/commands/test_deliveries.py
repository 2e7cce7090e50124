"""`budkavle deliveries`: list undelivered deliveries, replay them and drop them."""

import getpass
import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from budkavle.clock import now
from domain.deliveries import Attempt, AttemptOutcome, DeliveryState, Reason
from persistence.database import Database
from persistence.queue import claims
from persistence.queue.claims import Lease, SettledAttempt
from tests.budkavle.conftest import Invoke
from tests.budkavle.queues import list_queue, publish, subscribe
from tests.catalogues import OTHER_ID, SYSTEM_ID
from tests.certificates import Authority
from tests.databases import run_with_database
from tests.delivery.receiving import Recorder, build_base_url, serve_over_tls
from tests.delivery.working import running_worker
from tests.factories import NOW
from tests.open_e.peers import Peer
from tests.persistence.queues import claim_due

SECOND = timedelta(seconds=1)


def settle(url: str, *fates: tuple[str, AttemptOutcome, Reason]) -> None:
    """Settle one due delivery of each of these systems with that result."""

    async def work(database: Database) -> None:
        lease = Lease("tests", now(), now() + timedelta(seconds=30))
        of = Counter(system_id for system_id, *_ in fates)
        claimed = list(await claim_due(database, lease, len(fates), of))
        for system_id, outcome, reason in fates:
            item = next(item for item in claimed if item.receiver.system_id == system_id)
            claimed.remove(item)
            status = 404 if reason is Reason.HTTP else None
            attempt = Attempt(1, NOW, 20, status, reason, "<Sorry>")
            due = now() + timedelta(hours=1) if outcome is AttemptOutcome.AGAIN else None
            await claims.settle(database, lease, [SettledAttempt(item.number, outcome, attempt, due)])

    run_with_database(url, work)


def claim_all(url: str, system_id: str) -> None:
    """Claim the due deliveries of a system, as a worker does."""
    lease = Lease("tests", now(), now() + timedelta(seconds=30))
    run_with_database(url, lambda database: claim_due(database, lease, of={system_id: 100}))


@pytest.fixture
def filled(database_url: str) -> str:
    """Return two systems with two deliveries each: the first ones are parked, one of the others is retried."""
    subscribe(database_url, "http://127.0.0.1:9", SYSTEM_ID, OTHER_ID)
    publish(database_url, created=NOW)
    publish(database_url, created=NOW + SECOND)
    settle(
        database_url,
        (SYSTEM_ID, AttemptOutcome.PARK, Reason.HTTP),
        (OTHER_ID, AttemptOutcome.PARK, Reason.ADDRESS),
        (OTHER_ID, AttemptOutcome.AGAIN, Reason.TIMEOUT),
    )
    return database_url


def list_deliveries(url: str, invoke: Invoke, *arguments: str) -> list[dict[str, Any]]:
    result = invoke(url, "deliveries", "list", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def read_audit(url: str, invoke: Invoke) -> list[tuple[str, str, int]]:
    """Return chain, operation and deliveries of each audit entry of a command. The chain must be intact."""
    assert invoke(url, "audit", "verify").exit_code == 0
    lines = map(json.loads, invoke(url, "audit", "list").stdout.splitlines())
    entries = [line for line in lines if line["operation"].startswith("deliveries ")]
    assert all(
        (line["kind"], line["outcome"], line["caller"]) == ("call", "changed", getpass.getuser()) for line in entries
    )
    assert len({line["requestId"] for line in entries}) <= 1
    return [(line["chain"], line["operation"], line["detail"]["deliveries"]) for line in entries]


def read_states(url: str) -> list[tuple[str, DeliveryState]]:
    return [(item.system_id, item.state) for item in list_queue(url)]


def test_show_and_list_report_faults_of_the_configuration(
    database_url: str, invoke: Invoke, authority: Authority, tmp_path: Path
) -> None:
    """Run a real worker with an unset variable, a missing file and an expired certificate."""
    expired = authority.issue("127.0.0.1", begins=now() - timedelta(days=9), ends=now() - timedelta(days=1))
    receiver = Peer(serve_over_tls(Recorder(), expired))
    texts = []
    for base, changes in (
        ("http://127.0.0.1:9", {"webhook_secrets": ("env:NOT_SET",)}),
        ("http://127.0.0.1:9", {"webhook_secrets": (f"file:{tmp_path}/absent",)}),
        (build_base_url(receiver, scheme="https"), {"ca": f"file:{authority.file}"}),
    ):
        subscribe(database_url, base, **changes)
        publish(database_url, 2, external_id=str(uuid4()))
        run_with_database(database_url, work_now)
        first, behind = list_deliveries(database_url, invoke)[-2:]
        assert (first["attempts"], behind["attempts"], behind["blockedBy"]) == (1, 0, first["id"])
        assert not {"detail", "reason"} & behind.keys()
        shown = invoke(database_url, "deliveries", "show", first["id"]).stdout.splitlines()
        assert [json.loads(line).get("detail") for line in shown] == [first["detail"]] * 2
        texts.append((first["reason"], first["detail"]))
    receiver.close()
    assert texts == [
        ("setup", "env:NOT_SET is not set"),
        ("setup", f"file:{tmp_path}/absent cannot be read: No such file or directory"),
        ("tls", "certificate has expired"),
    ]


async def work_now(database: Database) -> None:
    async with running_worker(database, now=now()) as worker:
        await worker.run_once(now())
        await worker.finish()


def test_list_prints_undelivered_deliveries_oldest_first_without_content(filled: str, invoke: Invoke) -> None:
    lines = list_deliveries(filled, invoke)
    rows = list_queue(filled)
    assert [line["id"] for line in lines] == [row.id for row in rows]
    parked = next(line for line in lines if line["system"] == SYSTEM_ID and line["state"] == "parked")
    row = next(row for row in rows if row.id == parked["id"])
    assert parked == {
        "id": row.id,
        "eventId": row.event_id,
        "system": SYSTEM_ID,
        "orgType": 1,
        "orgCode": 101,
        "entityType": 202,
        "webhookUrl": "/webhook",
        "state": "parked",
        "attempts": 1,
        "created": "2026-03-01T12:00:00.123+00:00",
        "reason": "http",
        "status": 404,
    }
    fresh = next(line for line in lines if line["attempts"] == 0)
    assert set(fresh) == {*parked, "due"} - {"reason", "status"}
    assert datetime.fromisoformat(fresh["due"]).tzinfo


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--system", SYSTEM_ID.upper()), [(SYSTEM_ID, 0), (SYSTEM_ID, 1)]),
        (("--state", "waiting"), [(SYSTEM_ID, 1), (OTHER_ID, 1)]),
        (("--state", "parked", "--system", OTHER_ID), [(OTHER_ID, 0)]),
        (("--reason", "timeout"), [(OTHER_ID, 1)]),
        (("--since", "2026-03-01T13:00:01"), [(SYSTEM_ID, 1), (OTHER_ID, 1)]),
        (("--limit", "1", "--state", "waiting", "--system", OTHER_ID), [(OTHER_ID, 1)]),
        (("--reason", "lost"), []),
    ],
)
def test_list_can_be_filtered(
    filled: str, invoke: Invoke, arguments: tuple[str, ...], expected: list[tuple[str, int]]
) -> None:
    lines = list_deliveries(filled, invoke, *arguments)
    found = [(line["system"], datetime.fromisoformat(line["created"]).second) for line in lines]
    assert sorted(found) == sorted(expected)


def test_list_respects_its_limit(filled: str, invoke: Invoke) -> None:
    found = {limit: invoke(filled, "deliveries", "list", "--limit", str(limit)) for limit in (1, 3, 4, 5)}
    assert [len(result.stdout.splitlines()) for result in found.values()] == [1, 3, 4, 4]
    more = "There are more than {} deliveries: narrow the list, or give a larger --limit\n"
    assert [result.stderr for result in found.values()] == [more.format(1), more.format(3), "", ""]


def test_show_prints_a_delivery_and_its_attempts(filled: str, invoke: Invoke) -> None:
    (item,) = list_deliveries(filled, invoke, "--reason", "http")
    result = invoke(filled, "deliveries", "show", item["id"].upper())
    assert (result.exit_code, result.stderr) == (0, "")
    first, attempt = map(json.loads, result.stdout.splitlines())
    assert first == item
    time = "2026-03-01T12:00:00.123+00:00"
    expected = {"attempt": 1, "time": time, "milliseconds": 20, "reason": "http", "status": 404, "answer": "<Sorry>"}
    assert attempt == expected


def test_show_reports_an_unknown_delivery(database_url: str, invoke: Invoke) -> None:
    result = invoke(database_url, "deliveries", "show", SYSTEM_ID)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: There is neither a delivery nor a receipt with id '{SYSTEM_ID}'\n"


@pytest.mark.parametrize(
    ("arguments", "systems"),
    [
        (("--all",), [SYSTEM_ID, OTHER_ID]),
        (("--system", OTHER_ID), [OTHER_ID]),
        (("--reason", "http"), [SYSTEM_ID]),
        (("--since", "2026-03-01T12:00:00Z"), [SYSTEM_ID, OTHER_ID]),
        (("--since", "2026-03-01T12:00:01Z"), []),
    ],
)
def test_replay_sends_parked_deliveries_and_is_audited_per_system(
    filled: str, invoke: Invoke, arguments: tuple[str, ...], systems: list[str]
) -> None:
    result = invoke(filled, "deliveries", "replay", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{len(systems)} replayed, 0 unchanged\n"
    still = {system_id for system_id, state in read_states(filled) if state is DeliveryState.PARKED}
    assert still == {SYSTEM_ID, OTHER_ID} - set(systems)
    assert read_audit(filled, invoke) == [(system_id, "deliveries replay", 1) for system_id in sorted(systems)]


def test_replay_names_skipped_deliveries(filled: str, invoke: Invoke) -> None:
    ids = {line["attempts"]: line["id"] for line in list_deliveries(filled, invoke, "--system", SYSTEM_ID)}
    claim_all(filled, SYSTEM_ID)
    result = invoke(filled, "deliveries", "replay", ids[1], OTHER_ID, ids[1], ids[0])
    assert (result.exit_code, result.stdout) == (1, "1 replayed, 2 unchanged\n")
    first, *lines = result.stderr.splitlines()
    assert first == "Unchanged:"
    missing, held = sorted(lines, key=lambda line: "worker" in line)
    assert missing == f"{OTHER_ID}: not found; it may have arrived"
    assert held.startswith(f"{ids[0]}: claimed by a worker until 20")
    assert held.endswith(" at the latest")
    assert read_audit(filled, invoke) == [(SYSTEM_ID, "deliveries replay", 1)]


def test_replay_explains_why_matching_deliveries_were_skipped(filled: str, invoke: Invoke) -> None:
    claim_all(filled, SYSTEM_ID)
    result = invoke(filled, "deliveries", "replay", "--state", "waiting", "--system", SYSTEM_ID)
    assert (result.exit_code, result.stdout) == (0, "0 replayed, 1 unchanged\n")
    assert result.stderr == "Unchanged: under way, or behind an earlier delivery of the same key\n"


def test_replay_sends_waiting_deliveries(filled: str, invoke: Invoke) -> None:
    assert invoke(filled, "deliveries", "replay", "--state", "waiting").stdout == "2 replayed, 0 unchanged\n"
    assert {line["state"] for line in list_deliveries(filled, invoke)} == {"parked", "waiting"}


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (("--all",), 0),
        (("--system", SYSTEM_ID), 2),
        (("--state", "parked"), 2),
        (("--reason", "timeout"), 3),
    ],
)
def test_drop_removes_matching_deliveries_after_confirmation(
    filled: str, invoke: Invoke, arguments: tuple[str, ...], left: int
) -> None:
    refused = invoke(filled, "deliveries", "drop", *arguments)
    assert (refused.exit_code, len(list_queue(filled))) == (2, 4)
    assert "--yes" in refused.stderr
    result = invoke(filled, "deliveries", "drop", *arguments, "--yes")
    assert (result.exit_code, result.output) == (0, f"{4 - left} dropped, 0 unchanged\n")
    assert len(list_queue(filled)) == left
    entries = read_audit(filled, invoke)
    assert sum(number for _, _, number in entries) == 4 - left
    assert {operation for _, operation, _ in entries} == {"deliveries drop"}


def test_drop_accepts_ids_without_confirmation(filled: str, invoke: Invoke) -> None:
    first, *_ = list_queue(filled)
    result = invoke(filled, "deliveries", "drop", first.id)
    assert (result.exit_code, result.output) == (0, "1 dropped, 0 unchanged\n")
    assert read_audit(filled, invoke) == [(first.system_id, "deliveries drop", 1)]


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize(
    "arguments",
    [(), (SYSTEM_ID, "--all"), (SYSTEM_ID, "--system", OTHER_ID), ("--all", "--reason", "http"), ("x",)],
)
def test_commands_require_a_selection(filled: str, invoke: Invoke, command: str, arguments: tuple[str, ...]) -> None:
    before = read_states(filled)
    result = invoke(filled, "deliveries", command, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert ("give only one of " in result.stderr) == (len(arguments) > 1)
    assert read_states(filled) == before
