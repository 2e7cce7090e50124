"""The errors of the subscriptions that a client can cause, each with its number, index and field."""

from typing import Any
from uuid import uuid4

from conftest import MESSAGES_KEY
from tests.catalogue_rows import NOT_ALLOWED, ORG_TYPE, OTHER
from tests.clients.generating import as_text
from tests.clients.response_cases import ResponseCases
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
from tests.handlers.callers import create_certificate

ERROR_CASES = ResponseCases()


def list_codes(response: Any) -> list[tuple[int | None, str | None, int]]:
    """Return index, field and number of each error."""
    return [(error.index, error.field, error.error_code.value) for error in response.parsed.errors]


@ERROR_CASES.register(409, PUBLISH)
def another_event(call: Any, api: SubscriptionsApi) -> Any:
    besked_id = uuid4()
    call(body=api.event(besked_id=besked_id))
    response = call(body=api.event(besked_id=besked_id, version_identifier="8"))
    assert list_codes(response) == [(None, None, 150104)]
    return response


@ERROR_CASES.register(400, SYNC)
def errors_of_entries(call: Any, api: SubscriptionsApi) -> Any:
    response = call(
        body=api.set_of(
            api.subscription(webhook_url="/a/../b"),
            api.subscription(entity_type=NOT_ALLOWED),
            api.subscription(entity_type=OTHER, slut_dato="2022-01-01T00:00:00"),
        )
    )
    assert list_codes(response) == [
        (0, "webhookUrl", 150102),
        (1, "orgType", 150101),
        (2, "slutDato", 1003),
        (2, "slutDato", 150000),
    ]
    assert (response.parsed.errors[1].orgtype, response.parsed.errors[1].entitytype) == (ORG_TYPE, NOT_ALLOWED)
    assert "orgType" in response.parsed.errors[1].message
    return response


@ERROR_CASES.register(400, PUBLISH)
def incomplete_identification(call: Any, api: SubscriptionsApi) -> Any:
    response = call(body=api.event(identifikation="12345678"))
    assert {error.error_code.value for error in response.parsed.errors} == {1014}
    return response


@ERROR_CASES.register(400, CURRENT, WAITING, RECEIPTS)
def no_system(call: Any, api: SubscriptionsApi) -> Any:
    response = call(system_identifier="no-system")
    assert list_codes(response) == [(None, "systemIdentifier", 1014)]
    return response


@ERROR_CASES.register(400, STATUS)
def no_event_id(call: Any, api: SubscriptionsApi) -> Any:
    response = call(besked_id="no-event")
    assert list_codes(response) == [(None, "beskedId", 1014)]
    return response


@ERROR_CASES.register(400, ALLOWED_TYPES)
def no_org_type(call: Any, api: SubscriptionsApi) -> Any:
    response = call(org_type=-1)
    assert list_codes(response) == [(None, "orgType", 1014)]
    return response


@ERROR_CASES.register(400, REPLAY)
def nothing_to_replay(call: Any, api: SubscriptionsApi) -> Any:
    response = call(body=api.models.Replay(api.system_id, []))
    assert list_codes(response) == [(None, "leveringIds", 1014)]
    return response


@ERROR_CASES.register(400, TEST)
def message_of_no_type(call: Any, api: SubscriptionsApi) -> Any:
    response = call(body=api.models.TestMessage(api.system_id, **IDENTITY | {"entity_type": -1}))
    assert list_codes(response) == [(None, "entityType", 1014)]
    return response


@ERROR_CASES.register(401, *OF_A_SYSTEM, ALLOWED_TYPES)
def unknown_certificate(call: Any, api: SubscriptionsApi) -> Any:
    stranger = api.generated.caller(api.running.url, create_certificate().header, "Client-Cert")
    response = call(client=stranger)
    assert list_codes(response) == [(None, None, 1101)]
    return response


@ERROR_CASES.register(401, *OF_A_PUBLISHER)
def unknown_key(call: Any, api: SubscriptionsApi) -> Any:
    response = call(client=api.publisher("nobody-knows-it"))
    assert list_codes(response) == [(None, None, 1012)]
    return response


@ERROR_CASES.register(403, *OF_A_PUBLISHER)
def key_of_another_scope(call: Any, api: SubscriptionsApi) -> Any:
    response = call(client=api.publisher(MESSAGES_KEY))
    assert list_codes(response) == [(None, None, 1013)]
    return response


@ERROR_CASES.register(403, *OF_A_SYSTEM)
def system_of_another(call: Any, api: SubscriptionsApi) -> Any:
    another = SubscriptionsApi(api.generated, api.running, api.broken)
    assert another.system_id != api.system_id
    response = call(client=another.system())
    assert list_codes(response) == [(None, None, 1013)]
    return response


@ERROR_CASES.register(404, STATUS)
def no_event(call: Any, api: SubscriptionsApi) -> Any:
    response = call()
    assert list_codes(response) == [(None, None, 150106)]
    return response


@ERROR_CASES.register(404, TEST)
def no_subscription(call: Any, api: SubscriptionsApi) -> Any:
    response = call()
    assert list_codes(response) == [(None, None, 150105)]
    return response


@ERROR_CASES.register(413, SYNC)
def too_many_bytes(call: Any, api: SubscriptionsApi) -> Any:
    response = call(body=api.set_of(api.subscription(webhook_url="/" + "a" * 16777216)))
    assert list_codes(response) == [(None, None, 1014)]
    return response


@ERROR_CASES.register(413, PUBLISH)
def too_large_event(call: Any, api: SubscriptionsApi) -> Any:
    return call(body=api.event(version_identifier="a" * 262144))


@ERROR_CASES.register(413, REPLAY)
def too_many_ids(call: Any, api: SubscriptionsApi) -> Any:
    return call(body=api.models.Replay(api.system_id, [uuid4() for _ in range(4000)]))


@ERROR_CASES.register(413, TEST)
def too_large_test_message(call: Any, api: SubscriptionsApi) -> Any:
    return call(body=api.models.TestMessage("a" * 65536, **IDENTITY))


@ERROR_CASES.register(415, SYNC, REPLAY, TEST)
def text_body_of_a_system(call: Any, api: SubscriptionsApi) -> Any:
    return call(client=api.system(change=as_text))


@ERROR_CASES.register(415, PUBLISH)
def text_body_of_a_publisher(call: Any, api: SubscriptionsApi) -> Any:
    return call(client=api.publisher(change=as_text))


ERROR_CASES.exclude(500, (*OF_A_SYSTEM, *OF_A_PUBLISHER, ALLOWED_TYPES), because="a fault of the service itself")


@ERROR_CASES.register(503, *OF_A_SYSTEM, ALLOWED_TYPES)
def no_database(call: Any, api: SubscriptionsApi) -> Any:
    response = call(client=api.system(api.broken.url))
    assert list_codes(response) == [(None, None, 1011)]
    return response


@ERROR_CASES.register(503, *OF_A_PUBLISHER)
def no_database_for_a_publisher(call: Any, api: SubscriptionsApi) -> Any:
    response = call(client=api.publisher(url=api.broken.url))
    assert list_codes(response) == [(None, None, 1011)]
    return response
