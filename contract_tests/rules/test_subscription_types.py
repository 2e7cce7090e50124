"""Message types that an orgType may subscribe to, until they end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import describe_response, expect, expect_errors
from contract_tests.rules.subscription_sets import UNKNOWN, allowed_types, expect_refused

pytestmark = pytest.mark.needs("certificate", "system", "allowed")


def ended_type(api: Api) -> dict[str, Any]:
    """Return an orgType with an ended entityType that it could subscribe to otherwise, from the target's lists."""
    # The day before yesterday has ended in all time zones.
    over = (datetime.now(UTC).date() - timedelta(days=2)).isoformat()
    for org_type in sorted({org_type for org_type, _ in api.target.allowed}):
        response = expect(api.call("GET", "/v1/beskedtype/tilladte", query={"orgType": org_type}), 200)
        for item in response.json()["beskedtyper"]:
            if (item["slutDato"] or over) < over:
                return {"orgType": org_type, "entityType": item["entityType"]}
    pytest.skip("needs an allowed message type that has ended")


def test_allowed_types_can_be_subscribed_to(own_set: Api) -> None:
    for org_type, entity_type in own_set.target.allowed[:5]:
        query = {"orgType": org_type}
        response = expect(own_set.call("GET", "/v1/beskedtype/tilladte", query=query), 200)
        found = response.json()["beskedtyper"]
        assert entity_type in [item["entityType"] for item in found], describe_response(response)
        assert {item["orgType"] for item in found} == {org_type}, (
            f"all types must be of the orgType {org_type}, but {describe_response(response)}"
        )
        entry = own_set.entry(orgType=org_type, entityType=entity_type)
        assert own_set.subscribe(entry)["oprettet"] == 1
        own_set.subscribe()


def test_orgtype_without_allowed_types_gets_an_empty_list(api: Api) -> None:
    taken = {org_type for org_type, _ in api.target.allowed}
    org_type = next(number for number in range(1_900_000_000, 2_000_000_000) if number not in taken)
    assert allowed_types(api, org_type) == []
    for end in (0, 2147483647):
        expect(api.call("GET", "/v1/beskedtype/tilladte", query={"orgType": end}), 200)


def test_ended_type_allows_no_new_subscription(own_set: Api) -> None:
    """The error is the same as for a type that has never existed."""
    own_set.subscribe(own_set.entry())
    ended = own_set.entry(**ended_type(own_set))
    (error,) = expect_refused(own_set, [own_set.entry(), ended], (1, "entityType", UNKNOWN))
    assert error["message"].startswith("Det angivne beskedtypeId er ikke kendt i systemet"), error


@pytest.mark.needs("publisher")
def test_ended_type_allows_no_event(own_set: Api) -> None:
    event = own_set.event(own_set.entry(**ended_type(own_set)))
    expect_errors(own_set.publish(event), 400, (None, "entityType", UNKNOWN))
