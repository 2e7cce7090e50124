"""Events that checks publish, and ids that no event has had."""

from typing import Any
from uuid import NAMESPACE_OID, uuid5

from contract_tests.api import Api
from contract_tests.rules.answers import expect

JSONObject = dict[str, Any]
NO_OBJECT = "00000000-0000-0000-0000-000000000000"


def new_event_id(api: Api) -> str:
    """An id that no event has: events stay, so it cannot follow from the seed alone; one of the target's own tells it.

    The event that is published for it is about an orgCode that hardly anybody subscribes to.
    """
    made = expect(api.publish(api.event(api.entry())), 202).json()["beskedId"]
    return str(uuid5(NAMESPACE_OID, made))


def publish(api: Api, entry: JSONObject, **changes: Any) -> JSONObject:
    """What an event that must be taken is answered."""
    answer: JSONObject = expect(api.publish(api.event(entry, **changes)), 202).json()
    return answer


def deliveries_to(api: Api, entry: JSONObject, **query: Any) -> list[JSONObject]:
    """What waits or is parked for one subscription."""
    names = ("orgType", "orgCode", "entityType")
    return [item for item in api.deliveries(**query) if all(item[name] == entry[name] for name in names)]
