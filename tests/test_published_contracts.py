"""The published contracts, beyond compatibility, which `contract_tests/compatibility` checks."""

from typing import Any

import pytest

from tests.test_guards import SPECS, create_validator

SYNC = SPECS["subscriptions"]["paths"]["/v1/abonnement/sync"]["post"]
ERROR = SPECS["subscriptions"]["components"]["schemas"]["Error"]["properties"]

PUBLISHED_ENTRIES = [
    {
        "orgType": number,
        "orgCode": 100 + number,
        "entityType": 201 + number,
        "webhookUrl": "/webhook",
        "startDato": "2023-01-01T00:00:00",
        "slutDato": "2023-12-31T23:59:59",
    }
    for number in (1, 2)
]
PUBLISHED_SYSTEM = {"systemIdentifier": "550e8400-e29b-41d4-a716-446655440000"}
PUBLISHED_ERROR = {"orgtype", "orgcode", "entitytype", "errorCode", "message"}


@pytest.mark.parametrize("name", ["key", "value"])
def test_look_ups_by_reference_accept_exactly_the_published_lengths(name: str) -> None:
    """Accepting more would be compatible, but docs/decisions/0002 excludes it."""
    operation = SPECS["web-messages"]["paths"]["/webmessages/external-references/{key}/{value}"]["get"]
    (schema,) = [parameter["schema"] for parameter in operation["parameters"] if parameter.get("name") == name]
    assert schema == {"type": "string", "minLength": 3, "maxLength": 128}


def test_message_must_have_a_body() -> None:
    assert SPECS["web-messages"]["paths"]["/webmessages"]["post"]["requestBody"]["required"] is True


def test_sync_is_posted_only_as_json() -> None:
    assert set(SYNC["requestBody"]["content"]) == {"application/json"}


def test_published_request_of_the_sync_is_valid() -> None:
    request = PUBLISHED_SYSTEM | {"abonnementer": PUBLISHED_ENTRIES}
    assert list(create_validator("subscriptions", "/components/schemas/SyncRequest").iter_errors(request)) == []


def test_example_of_the_sync_is_the_published_request_with_unlimited_dates() -> None:
    example: dict[str, Any] = SYNC["requestBody"]["content"]["application/json"]["example"]
    dated = [entry | {"slutDato": "2999-12-31T23:59:59"} for entry in PUBLISHED_ENTRIES]
    assert example == PUBLISHED_SYSTEM | {"abonnementer": dated}


def test_only_the_place_is_added_to_an_error_of_the_sync() -> None:
    assert set(ERROR) - PUBLISHED_ERROR == {"index", "field"}


def test_codes_of_the_published_example_are_not_used() -> None:
    assert not {1001, 1002} & set(ERROR["errorCode"]["enum"])
