"""The service, its worker and every command behind a real PgBouncer, configured as docs/how-to/pgbouncer.md says."""

import json
import signal
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from budkavle.demo.subscriptions import CLIENT_CERT, FINGERPRINT
from tests.budkavle.catalogue.catalogue_files import write
from tests.budkavle.conftest import Invoke
from tests.catalogues import SYSTEM_ID
from tests.factories import build_message_body
from tests.held_receiver import HeldReceiver, held_receiver
from tests.pgbouncer import PgBouncer, pgbouncer_before
from tests.postgresql import PostgresqlServer
from tests.processes import Process, budkavle, running

CALLERS = 20
KEYS, EVENTS = 6, 8
"""The number of objects that events concern, and the number of events of each object."""

ENTRY = {
    "orgType": 1,
    "orgCode": 101,
    "entityType": 202,
    "webhookUrl": "/webhook",
    "startDato": "2023-01-01T00:00:00",
    "slutDato": None,
}


def render_catalogue(receiver: HeldReceiver) -> str:
    return f"""systems:
  - systemIdentifier: {SYSTEM_ID}
    name: Fasit
    baseUrl: {receiver.url}
    allowPrivateAddresses: true
    certificates: ["sha256:{FINGERPRINT}"]
messageTypes:
  - {{entityType: 202, name: Type 202}}
allowedSubscriptions:
  - {{orgType: 1, entityType: 202}}
"""


def post_and_get(client: httpx.Client, number: int) -> None:
    body = build_message_body(message=f"Message {number}")
    posted = client.post("/webmessages", json=body)
    assert posted.status_code == 201, posted.text
    found = client.get(posted.headers["location"])
    assert found.status_code == 200, found.text
    assert found.json()["message"] == body["message"]


def sync(client: httpx.Client) -> None:
    body = {"systemIdentifier": SYSTEM_ID, "abonnementer": [ENTRY]}
    response = client.post("/v1/abonnement/sync", json=body, headers={"client-cert": CLIENT_CERT})
    assert response.status_code == 200, response.text


def publish(client: httpx.Client, key: int, number: int) -> None:
    event = {
        "entityType": 202,
        "orgType": 1,
        "orgCode": 101,
        "aendringstype": 1,
        "body": {"key": key, "number": number},
    }
    event["eksternIdentifier"] = f"81471222-5798-11e9-ae24-{key:012}"
    response = client.post("/v1/besked", json=event)
    assert (response.status_code, response.json()["abonnementer"]) == (202, 1), response.text


def publish_all(client: httpx.Client, key: int) -> None:
    for number in range(EVENTS):
        publish(client, key, number)


def call_concurrently(client: httpx.Client, receiver: HeldReceiver) -> None:
    """Post, synchronise and publish concurrently. Each message must be correct, and events must keep their order."""
    with ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(post_and_get, client, number) for number in range(2 * CALLERS)]
        calls += [callers.submit(publish_all, client, key) for key in range(KEYS)]
        calls += [callers.submit(sync, client) for _ in range(3)]
        for call in calls:
            call.result()
    receiver.wait_for_calls(KEYS * EVENTS)
    found = defaultdict(list)
    for body in receiver.bodies:
        found[body["body"]["key"]].append(body["body"]["number"])
    assert found == {key: list(range(EVENTS)) for key in range(KEYS)}


def wait_for_state(command: Callable[..., str], state: str) -> dict[str, Any]:
    """Return the only delivery once it is in a state."""
    while not (lines := command("deliveries", "list", "--state", state).splitlines()):
        pass
    (line,) = lines
    found: dict[str, Any] = json.loads(line)
    return found


def replay_and_drop(client: httpx.Client, receiver: HeldReceiver, command: Callable[..., str]) -> None:
    """Replay the delivery that the receiver rejected, and drop it after the second rejection."""
    receiver.status = 404
    publish(client, 0, EVENTS)
    rejected = wait_for_state(command, "parked")
    assert rejected["id"] in command("deliveries", "show", rejected["id"])
    calls = len(receiver.bodies)
    command("deliveries", "replay", rejected["id"])
    receiver.wait_for_calls(calls + 1)
    wait_for_state(command, "parked")
    command("deliveries", "drop", rejected["id"])
    assert command("deliveries", "list") == ""


def restart(bouncer: PgBouncer, client: httpx.Client, receiver: HeldReceiver) -> None:
    """Restart the pooler. Callers and the worker must not fail, because no statement is running."""
    calls = len(receiver.bodies)
    receiver.status = 200
    bouncer.stop()
    bouncer.start()
    publish(client, 0, EVENTS + 1)
    post_and_get(client, 0)
    receiver.wait_for_calls(calls + 1)


def read_records(command: Callable[..., str]) -> None:
    operations = {json.loads(line)["operation"] for line in command("audit", "list").splitlines()}
    assert "syncWebhookAbonnementer" in operations
    assert "ok" in command("audit", "verify")
    assert command("messages", "list") == ""


def end(process: Process) -> list[dict[str, Any]]:
    """Shut down the service and return its log entries."""
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    return [json.loads(line) for line in process.err if line.startswith("{")]


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_service_works_behind_a_pooler(
    postgresql_server: PostgresqlServer, invoke: Invoke, tmp_path: Path, mode: str
) -> None:
    name = f"behind_{mode}"
    few = {"default_pool_size": 4, "server_round_robin": 1} if mode == "transaction" else {}
    with (
        held_receiver(is_held=False) as receiver,
        pgbouncer_before(postgresql_server.create_empty(name), mode, **few) as bouncer,
    ):
        url = bouncer.url()

        def command(*arguments: str) -> str:
            result = invoke(url, *arguments, log_level="warning")
            assert (result.exit_code, result.stderr) == (0, ""), result.output
            return result.stdout

        command("migrate")
        command("apply", str(write(tmp_path, render_catalogue(receiver))))
        key = command("api-key", "create", "caller", "--scope", "messages", "--scope", "publish").strip()
        arguments = budkavle("serve", "--port", "0", "--with-worker")
        with running(*arguments, database_url=url, trusted_proxies="127.0.0.1") as process:
            place = process.wait_for("Budkavle listens on ")
            with httpx.Client(
                base_url=place, headers={"apikey": key}, timeout=60, trust_env=False, verify=False
            ) as client:
                sync(client)
                call_concurrently(client, receiver)
                replay_and_drop(client, receiver, command)
                restart(bouncer, client, receiver)
                assert client.get("/health/ready").json()["components"]["database"] == "UP"
            read_records(command)
            command("api-key", "revoke", "caller")
            logged = end(process)
    found = [entry["event"] for entry in logged if entry["level"] in {"error", "critical"}]
    # The worker may have a statement running during the restart.
    assert set(found) <= {"database_connection_lost", "database_connection_failed"}
    assert [entry["event"] for entry in logged].count("database_pooler_found") == 1
    postgresql_server.execute(f"drop database {name} with (force)")
