"""What the owner published of SyncWebhookAbonnementer is still in our contract.

The page gives one example of the request and one of the errors, and says when 200, 400 and 500 come.
"""

from typing import Any

import pytest

from tests.test_guards import SPECS, validator

SPEC = SPECS["subscriptions"]
SCHEMAS = SPEC["components"]["schemas"]
SYNC = SPEC["paths"]["/v1/abonnement/sync"]["post"]

PUBLISHED_REQUEST = {
    "systemIdentifier": "550e8400-e29b-41d4-a716-446655440000",
    "abonnementer": [
        {
            "orgType": 1,
            "orgCode": 101,
            "entityType": 202,
            "webhookUrl": "/webhook",
            "startDato": "2023-01-01T00:00:00",
            "slutDato": "2023-12-31T23:59:59",
        },
        {
            "orgType": 2,
            "orgCode": 102,
            "entityType": 203,
            "webhookUrl": "/webhook",
            "startDato": "2023-01-01T00:00:00",
            "slutDato": "2023-12-31T23:59:59",
        },
    ],
}
PUBLISHED_ERROR = {
    "orgtype": 123,
    "orgcode": 456,
    "entitytype": 789,
    "errorCode": 1001,
    "message": "Slutdato er før startdato",
}


def test_the_sync_is_posted_as_json() -> None:
    assert SYNC["operationId"] == "syncWebhookAbonnementer"
    assert set(SYNC["requestBody"]["content"]) == {"application/json"}


def test_the_published_request_fits() -> None:
    errors = list(validator("subscriptions", "/components/schemas/SyncRequest").iter_errors(PUBLISHED_REQUEST))
    assert errors == []


def test_the_example_is_the_published_request_with_dates_that_do_not_pass() -> None:
    example: dict[str, Any] = SYNC["requestBody"]["content"]["application/json"]["example"]
    dated = [entry | {"slutDato": "2999-12-31T23:59:59"} for entry in PUBLISHED_REQUEST["abonnementer"]]  # type: ignore[operator]
    assert example == PUBLISHED_REQUEST | {"abonnementer": dated}


@pytest.mark.parametrize("status", ["200", "400", "500"])
def test_each_published_answer_is_there(status: str) -> None:
    assert status in SYNC["responses"]


def test_an_error_has_the_published_properties_with_their_types() -> None:
    properties = SCHEMAS["Error"]["properties"]
    types = {int: "integer", str: "string"}
    for name, value in PUBLISHED_ERROR.items():
        assert properties[name]["type"] == types[type(value)], name
    assert SCHEMAS["Errors"]["properties"]["errors"]["items"] == {"$ref": "#/components/schemas/Error"}


def test_what_is_added_to_an_error_is_the_place_alone() -> None:
    assert set(SCHEMAS["Error"]["properties"]) - set(PUBLISHED_ERROR) == {"index", "field"}


def test_the_codes_of_the_published_example_mean_something_else_there_and_are_not_used() -> None:
    assert not {1001, 1002} & set(SCHEMAS["Error"]["properties"]["errorCode"]["enum"])
