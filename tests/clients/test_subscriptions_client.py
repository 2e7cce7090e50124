"""The generated Python client of the subscriptions: every operation and every response."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from conftest import RunningService
from tests.catalogue_rows import ALLOWED, ORG_TYPE, OTHER
from tests.clients.generating import Generated, read_next_page
from tests.clients.response_cases import ResponseCase, ResponseCases
from tests.clients.subscriptions_api import (
    ALLOWED_TYPES,
    CURRENT,
    IDENTITY,
    OF_A_PUBLISHER,
    OF_A_SYSTEM,
    PUBLISH,
    RECEIPTS,
    REPLAY,
    STATUS,
    SYNC,
    TEST,
    WAITING,
    SubscriptionsApi,
)
from tests.clients.subscriptions_errors import ERROR_CASES

RESPONSE_CASES = ResponseCases(uncaused=dict(ERROR_CASES.uncaused), cases=[*ERROR_CASES.cases])
RESPONSE_CASES.exclude(
    429,
    [*OF_A_SYSTEM, *OF_A_PUBLISHER, ALLOWED_TYPES],
    because="it needs many failures in a second: openapi/observation/test_source_limits.py",
)


@pytest.fixture
def api(generate: Callable[[str], Generated], running: RunningService, broken: RunningService) -> SubscriptionsApi:
    return SubscriptionsApi(generate("subscriptions"), running, broken)


@RESPONSE_CASES.register(200, SYNC)
def synced_set(call: Any, api: SubscriptionsApi) -> Any:
    changed = api.subscription(webhook_url="/other", slut_dato="2999-12-31T23:59:59")
    new = api.subscription(entity_type=OTHER)
    for body, counts in [
        (api.set_of(api.subscription()), (1, 0, 0, 0)),
        (api.set_of(changed, new), (1, 1, 0, 0)),
        (api.set_of(new), (0, 0, 1, 1)),
    ]:
        dry, response = call(body=body, dry_run=True), call(body=body)
        assert dry.parsed == response.parsed
        result = response.parsed
        assert (result.oprettet, result.opdateret, result.slettet, result.uaendret) == counts
    return response


@RESPONSE_CASES.register(200, CURRENT)
def current_set(call: Any, api: SubscriptionsApi) -> Any:
    api.sync(api.subscription(), api.subscription(org_code=-1, slut_dato="2999-12-31T23:59:59"))
    response = call(x_request_id="named-by-the-client")
    assert response.headers["x-requestId"] == "named-by-the-client"
    assert response.parsed.system_identifier == api.system_id
    found = {(entry.org_code, entry.start_dato, entry.slut_dato) for entry in response.parsed.abonnementer}
    start = "2023-01-01T00:00:00+01:00"
    assert found == {(101, start, None), (-1, start, "2999-12-31T23:59:59+01:00")}
    # The response can be sent back unchanged.
    sync = api.generated.operation(SYNC)
    body = api.models.SyncRequest.from_dict(response.parsed.to_dict())
    assert sync.sync(client=api.system(), body=body).uaendret == 2
    return response


@RESPONSE_CASES.register(200, ALLOWED_TYPES)
def allowed_types(call: Any, api: SubscriptionsApi) -> Any:
    response = call()
    assert ALLOWED in [found.entity_type for found in response.parsed.beskedtyper]
    assert {(found.org_type, found.start_dato) for found in response.parsed.beskedtyper} == {(ORG_TYPE, None)}
    return response


@RESPONSE_CASES.register(202, PUBLISH)
def event(call: Any, api: SubscriptionsApi) -> Any:
    api.sync(api.subscription(org_code=7))
    body = api.models.EventBody.from_dict({"navn": "Team Nord"})
    response = call(body=api.event(org_code=7, body=body, ekstern_identifier=uuid4()))
    (waiting,) = api.waiting()
    assert (waiting.besked_id, waiting.org_code) == (response.parsed.besked_id, 7)
    assert (waiting.status, waiting.aarsag) == (api.models.Status.VENTER, None)
    assert datetime.now(UTC) - waiting.oprettet < timedelta(minutes=5)
    return response


@RESPONSE_CASES.register(200, PUBLISH)
def repeated_event(call: Any, api: SubscriptionsApi) -> Any:
    sent = api.event(besked_id=uuid4())
    first, again = call(body=sent), call(body=sent)
    assert (first.status_code, first.parsed) == (202, again.parsed)
    assert again.parsed.besked_id == sent.besked_id
    return again


@RESPONSE_CASES.register(200, STATUS)
def waiting_messages(call: Any, api: SubscriptionsApi) -> Any:
    api.sync(api.subscription(org_code=8))
    accepted = api.generated.operation(PUBLISH).sync(client=api.publisher(), body=api.event(org_code=8))
    response = call(besked_id=accepted.besked_id)
    status = response.parsed
    assert (status.besked_id, status.leveret, status.venter, status.parkeret, status.pauseret) == (
        accepted.besked_id,
        *(0, 1, 0, 0),
    )
    return response


@RESPONSE_CASES.register(200, WAITING)
def pages(call: Any, api: SubscriptionsApi) -> Any:
    parked = [api.park(org_code) for org_code in (1, 2, 3)]
    api.sync(*(api.subscription(org_code=org_code) for org_code in (1, 2, 3, 4)))
    api.generated.operation(TEST).sync(
        client=api.system(), body=api.models.TestMessage(api.system_id, **IDENTITY | {"org_code": 4})
    )
    status = api.models.Status.PARKERET
    first = call(status=status, limit=2)
    last = call(status=status, limit=2, after=read_next_page(first))
    found = first.parsed.beskeder + last.parsed.beskeder
    assert {delivery.levering_id for delivery in found} == set(parked)
    assert {(delivery.status, delivery.naeste_forsoeg) for delivery in found} == {(status, None)}
    assert len(api.waiting()) == 4
    return last


@RESPONSE_CASES.register(200, RECEIPTS)
def receipts_of_delivered_messages(call: Any, api: SubscriptionsApi) -> Any:
    delivered = [api.deliver(org_code) for org_code in (1, 2, 3)]
    first = call(limit=2, fra="2026-01-01T00:00:00")
    last = call(limit=2, fra="2026-01-01T00:00:00", after=read_next_page(first))
    found = first.parsed.kvitteringer + last.parsed.kvitteringer
    assert [receipt.levering_id for receipt in found] == delivered
    assert {(receipt.forsoeg, receipt.http_status, receipt.sha256) for receipt in found} == {(1, 200, "0f" * 32)}
    return last


@RESPONSE_CASES.register(200, REPLAY)
def parked_and_unknown_deliveries(call: Any, api: SubscriptionsApi) -> Any:
    parked, unknown = api.park(1), uuid4()
    response = call(body=api.models.Replay(api.system_id, [parked, unknown]))
    assert (response.parsed.genfremsendt, response.parsed.ikke_parkerede) == (1, [unknown])
    assert [delivery.status for delivery in api.waiting()] == [api.models.Status.VENTER]
    return response


@RESPONSE_CASES.register(202, TEST)
def message_to_one_subscription(call: Any, api: SubscriptionsApi) -> Any:
    api.sync(api.subscription())
    response = call()
    assert [delivery.levering_id for delivery in api.waiting()] == [response.parsed.levering_id]
    return response


@pytest.mark.parametrize("case", RESPONSE_CASES.cases, ids=str)
def test_each_response_is_parsed_to_its_type(case: ResponseCase, api: SubscriptionsApi) -> None:
    case.check(api)


def test_every_response_has_a_case(generate: Callable[[str], Generated]) -> None:
    RESPONSE_CASES.assert_complete(generate("subscriptions"))


def test_responses_that_no_caller_can_cause_are_parsed(api: SubscriptionsApi) -> None:
    RESPONSE_CASES.assert_examples_are_parsed(api)
