"""Callers whose systems have waiting deliveries, and the outcome of those."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from conftest import PUBLISH_KEY
from domain.deliveries import AttemptOutcome
from persistence.database import Database
from persistence.queue import claims
from persistence.queue.claims import Lease
from tests.catalogue_rows import ALLOWED
from tests.databases import run_with_database
from tests.handlers.callers import Caller, build_entry
from tests.persistence.queues import LEASE, build_settled, claim_due

LIST, REPLAY, TEST = "/v1/abonnement/beskeder", "/v1/abonnement/beskeder/genfremsend", "/v1/abonnement/testbesked"
SECOND = timedelta(seconds=1)
UNKNOWN_DELIVERY = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"
"""An id that no delivery has."""


def find_org_code(caller: Caller) -> int:
    return int(caller.system_id[:6], 16)


def subscribe(caller: Caller) -> None:
    caller.sync(build_entry(orgCode=find_org_code(caller)))


def publish(caller: Caller, **changes: Any) -> str:
    """Publish an event to the caller's subscription and return its id."""
    body = {"entityType": ALLOWED, "orgType": 1, "orgCode": find_org_code(caller), "aendringstype": 1} | changes
    response = caller.service.client.post("/v1/besked", json=body, headers={"apikey": PUBLISH_KEY})
    assert response.json()["abonnementer"] == 1
    id_: str = response.json()["beskedId"]
    return id_


def settle_claimable(caller: Caller, outcome: AttemptOutcome, now: datetime) -> None:
    """Settle all claimable deliveries of all systems with that result."""

    async def work(database: Database) -> None:
        lease = Lease("tests", now, now + LEASE)
        claimed = await claim_due(database, lease)
        due = now + SECOND if outcome is AttemptOutcome.AGAIN else None
        await claims.settle(database, lease, [build_settled(item, outcome, due) for item in claimed])

    run_with_database(caller.database_url, work)


def get_due_time() -> datetime:
    """Return a time at which everything that was published is due."""
    return datetime.now(UTC) + SECOND


def get(caller: Caller, query: str = "", **headers: str) -> httpx.Response:
    path = f"{LIST}?systemIdentifier={caller.system_id}{query}"
    return caller.service.client.get(path, headers=caller.headers(**headers))


def list_deliveries(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    response = get(caller, query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["beskeder"]
    return found


def post(caller: Caller, path: str, body: Any, **headers: str) -> httpx.Response:
    return caller.service.client.post(path, json=body, headers=caller.headers(**headers))


def replay(caller: Caller, *ids: str, **headers: str) -> dict[str, Any]:
    response = post(caller, REPLAY, {"systemIdentifier": caller.system_id, "leveringIds": ids}, **headers)
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    return value


def build_test_message(caller: Caller, **changes: Any) -> dict[str, Any]:
    identity = {"orgType": 1, "orgCode": find_org_code(caller), "entityType": ALLOWED}
    return {"systemIdentifier": caller.system_id} | identity | changes
