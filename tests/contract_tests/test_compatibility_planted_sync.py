"""Breaks planted in our sync of subscriptions, beside what was published."""

from typing import Any

import pytest

from tests.contract_tests.real_contracts import since_now, since_published
from tests.contract_tests.small_contracts import GONE

SCHEMAS = "components > schemas"
SYNC = "paths > /v1/abonnement/sync > post"

BREAKS: list[tuple[str, Any, str]] = [
    ("paths > /v1/abonnement/sync", GONE, "/v1/abonnement/sync: no longer there"),
    (
        f"{SYNC} > operationId",
        "sync",
        'syncWebhookAbonnementer: operationId was "syncWebhookAbonnementer", is "sync"',
    ),
    (
        f"{SYNC} > requestBody > content > application/json",
        GONE,
        "syncWebhookAbonnementer body application/json: no longer there",
    ),
    (f"{SYNC} > responses > 500", GONE, "syncWebhookAbonnementer 500: no longer there"),
    (
        f"{SCHEMAS} > Error > properties > entitytype",
        GONE,
        "answers Error.entitytype: no longer there",
    ),
    (
        f"{SCHEMAS} > Error > properties > errorCode > type",
        "string",
        'answers Error.errorCode: type was "integer", is "string"',
    ),
    (
        f"{SCHEMAS} > Errors > properties > errors > items > $ref",
        "#/components/schemas/Subscription",
        "answers Errors.errors[]: was named Error, is named Subscription",
    ),
    (
        f"{SCHEMAS} > Subscription > required > 0",
        "slutDato",
        "requests Subscription.slutDato: required now",
    ),
]


@pytest.mark.parametrize(("place", "value", "line"), BREAKS)
def test_a_break_of_what_was_published_is_told(place: str, value: Any, line: str) -> None:
    assert line in since_published("subscriptions", place, value)
    assert since_now("subscriptions", place, value)
