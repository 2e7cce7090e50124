"""Publish events for checks, and find ids that no event has."""

from typing import Any
from uuid import NAMESPACE_OID, uuid5

from contract_tests.api import Api
from contract_tests.rules.answers import expect

JSONObject = dict[str, Any]
NO_OBJECT = "00000000-0000-0000-0000-000000000000"
STATUSES = ("venter", "parkeret")
"""The published statuses of deliveries."""


def new_event_id(api: Api) -> str:
    """Return an id that no event has. Events are permanent, so it derives from an id that the target generates.

    The event that is published for this purpose concerns an orgCode that is unlikely to have subscriptions.
    """
    made = expect(api.publish(api.event(api.entry())), 202).json()["beskedId"]
    return str(uuid5(NAMESPACE_OID, made))


def publish(api: Api, entry: JSONObject, **changes: Any) -> JSONObject:
    """Publish an event, which must be accepted, and return the response."""
    answer: JSONObject = expect(api.publish(api.event(entry, **changes)), 202).json()
    return answer


def deliveries_to(api: Api, entry: JSONObject, **query: Any) -> list[JSONObject]:
    """Return the waiting and parked deliveries of one subscription."""
    names = ("orgType", "orgCode", "entityType")
    return [item for item in api.deliveries(**query) if all(item[name] == entry[name] for name in names)]
