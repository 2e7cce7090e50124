"""The status of an event: who may ask for it, and what it counts."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from conftest import PUBLISH_KEY
from domain.api_keys import ApiKey, generate_key, hash_key
from domain.deliveries import AttemptOutcome
from persistence import api_keys, delivery_pauses
from persistence.delivery_pauses import Command
from persistence.queue.housekeeping import FIRST_EVENT, prune_events
from persistence.queue.receipts import prune_receipts
from tests.catalogue_rows import ALLOWED
from tests.databases import run_with_database
from tests.factories import NOW
from tests.handlers.callers import Caller, build_entry, create_caller, list_places, read_errors
from tests.handlers.messages import create_id
from tests.handlers.waiting_deliveries import (
    SECOND,
    build_test_message,
    find_org_code,
    get_due_time,
    publish,
    settle_claimable,
    subscribe,
)


def get(caller: Caller, event_id: str, key: str = PUBLISH_KEY) -> httpx.Response:
    return caller.service.client.get(f"/v1/besked/{event_id}", headers={"apikey": key})


def read_status(caller: Caller, event_id: str, paused: int = 0) -> tuple[int, int, int]:
    """Return the numbers of delivered, waiting and parked messages, after a check of that of paused ones."""
    response = get(caller, event_id)
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    assert value.pop("beskedId") == event_id.lower()
    assert set(value) == {"leveret", "venter", "parkeret", "pauseret"}
    assert value["pauseret"] == paused
    return value["leveret"], value["venter"], value["parkeret"]


def create_key(caller: Caller, *scopes: str) -> str:
    """Store a key with these scopes."""
    key = generate_key()
    stored = ApiKey(hash_key(key.encode()), create_id(), scopes, NOW)
    run_with_database(caller.database_url, lambda database: api_keys.create(database, stored))
    return key


def test_each_message_is_counted_in_its_state(caller: Caller) -> None:
    other = create_caller(caller.service)
    subscribe(caller)
    other.sync(build_entry(orgCode=find_org_code(caller)))
    body = {"entityType": ALLOWED, "orgType": 1, "orgCode": find_org_code(caller), "aendringstype": 1}
    response = caller.service.client.post("/v1/besked", json=body, headers={"apikey": PUBLISH_KEY})
    assert response.json()["abonnementer"] == 2
    event_id = response.json()["beskedId"]
    assert read_status(caller, event_id) == (0, 2, 0)
    settle_claimable(caller, AttemptOutcome.AGAIN, get_due_time())
    assert read_status(caller, event_id.upper()) == (0, 2, 0)
    other.sync()
    assert read_status(caller, event_id) == (0, 1, 0)
    settle_claimable(caller, AttemptOutcome.DONE, get_due_time() + 2 * SECOND)
    assert read_status(caller, event_id) == (1, 0, 0)


def test_parked_message_is_counted_as_parked(caller: Caller) -> None:
    subscribe(caller)
    event_id = publish(caller)
    settle_claimable(caller, AttemptOutcome.PARK, get_due_time())
    assert read_status(caller, event_id) == (0, 0, 1)


def test_paused_message_is_counted_as_waiting_and_paused(caller: Caller) -> None:
    subscribe(caller)
    event_id = publish(caller)
    command, end = (
        Command(caller.system_id, None, "operator", get_due_time(), create_id(), create_id()) for _ in range(2)
    )
    run_with_database(caller.database_url, lambda database: delivery_pauses.pause(database, command, None))
    assert read_status(caller, event_id, paused=1) == (0, 1, 0)
    run_with_database(caller.database_url, lambda database: delivery_pauses.resume(database, end))
    assert read_status(caller, event_id) == (0, 1, 0)


def test_test_message_has_a_status(caller: Caller) -> None:
    subscribe(caller)
    response = caller.service.client.post(
        "/v1/abonnement/testbesked", json=build_test_message(caller), headers=caller.headers()
    )
    assert read_status(caller, response.json()["beskedId"]) == (0, 1, 0)


@pytest.mark.parametrize("changes", [{}, {"body": {"orgType": 7, "text": "æ\\u0000"}, "orgCode": -1}], ids=str)
def test_event_without_subscriptions_has_zeros(changes: dict[str, Any], caller: Caller) -> None:
    body = {"entityType": ALLOWED, "orgType": 1, "orgCode": 90_000_001, "aendringstype": 1} | changes
    response = caller.service.client.post("/v1/besked", json=body, headers={"apikey": PUBLISH_KEY})
    assert response.json()["abonnementer"] == 0
    assert read_status(caller, response.json()["beskedId"]) == (0, 0, 0)


def test_hent_beskedstatus_permits_only_events_that_the_caller_may_publish(caller: Caller) -> None:
    """The response to all others is that of an event that does not exist."""
    subscribe(caller)
    event_id, org_code = publish(caller), find_org_code(caller)
    for scopes in (("publish",), ("publish:1",), (f"publish:1:{org_code}",), ("messages", "publish:7", "publish:1")):
        assert get(caller, event_id, create_key(caller, *scopes)).status_code == 200, scopes
    for scope in ("publish:2", "publish:1:-1", f"publish:2:{org_code}"):
        key = create_key(caller, scope)
        refused, unknown = get(caller, event_id, key), get(caller, create_id(), key)
        assert [error["errorCode"] for error in read_errors(refused, 404)] == [150106]
        assert refused.content == unknown.content


def test_hent_beskedstatus_returns_all_errors_of_the_request(caller: Caller) -> None:
    assert list_places(get(caller, "x?y=1")) == [(None, "beskedId", 1014), (None, "y", 1014)]
    (error,) = read_errors(get(caller, create_id(), create_key(caller, "messages")), 403)
    assert error["errorCode"] == 1013


def test_status_remains_until_the_receipts_are_removed(caller: Caller) -> None:
    subscribe(caller)
    event_id = publish(caller)
    settle_claimable(caller, AttemptOutcome.DONE, get_due_time())
    later = get_due_time() + timedelta(days=1)
    run_with_database(caller.database_url, lambda database: prune_events(database, later, FIRST_EVENT, 100_000))
    assert read_status(caller, event_id) == (1, 0, 0)
    run_with_database(caller.database_url, lambda database: prune_receipts(database, later, 100_000))
    assert read_errors(get(caller, event_id), 404)
