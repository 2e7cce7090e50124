"""Events are delivered to valid subscriptions with the same orgType, orgCode and entityType, and to no others."""

from typing import Any

import pytest

from contract_tests.api import Api
from contract_tests.rules.events import deliveries_to, publish
from contract_tests.rules.subscription_sets import another_type, midnight

pytestmark = pytest.mark.needs("publisher", "certificate", "system", "allowed")


def test_subscriptions_that_are_valid_now_are_counted(own_set: Api) -> None:
    """Subscriptions that begin later, have ended or have another orgCode are not counted and get no delivery."""
    entry = own_set.entry()
    before = publish(own_set, entry)["abonnementer"]
    for changes, more in (
        ({}, 1),
        ({"slutDato": "2999-01-01T00:00:00"}, 1),
        ({"startDato": "2900-01-01T00:00:00"}, 0),
        ({"slutDato": midnight()}, 0),
        ({"orgCode": -1}, 0),
        ({}, 1),
    ):
        own_set.subscribe()
        own_set.subscribe(entry | changes)
        found = publish(own_set, entry)["abonnementer"]
        assert found == before + more, (
            f"an event must match {before + more} subscriptions with {changes}, but matched {found}"
        )
        waiting = own_set.deliveries()
        assert len(waiting) <= more, f"expected deliveries to {more} subscriptions with {changes}, but got {waiting}"
    own_set.subscribe()
    assert publish(own_set, entry)["abonnementer"] == before


@pytest.mark.parametrize(
    "changes", [{"orgCode": -1}, {"orgCode": 0}, {"orgType": 1_999_999_999}, {"orgType": 2147483647}], ids=str
)
def test_event_of_another_organisation_is_not_delivered(changes: dict[str, Any], own_set: Api) -> None:
    """No number is a wildcard."""
    entry = own_set.entry()
    other = entry | changes
    before = publish(own_set, other)["abonnementer"]
    own_set.subscribe(entry)
    found = publish(own_set, other)["abonnementer"]
    assert found == before, (
        f"an event with {changes} must not match {entry}: expected {before} deliveries, but got {found}"
    )
    assert deliveries_to(own_set, entry) == []


def test_event_of_another_type_is_not_delivered(own_set: Api) -> None:
    entry = own_set.entry()
    other = entry | {"entityType": another_type(own_set)}
    before = publish(own_set, other)["abonnementer"]
    own_set.subscribe(entry)
    found = publish(own_set, other)["abonnementer"]
    assert found == before, (
        f"an event with {other} must not match {entry}: expected {before} deliveries, but got {found}"
    )
    assert deliveries_to(own_set, entry) == []
