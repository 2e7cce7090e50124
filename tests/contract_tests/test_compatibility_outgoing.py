"""Changes of the contract of deliveries: the service sends its requests, so receivers are those who must not break."""

from typing import Any

import pytest

from tests.contract_tests.real_contracts import compare_with_current
from tests.contract_tests.small_contracts import GONE

RECEIVE = "paths > /webhook > post"
EVENT = "components > schemas > DeliveredEvent"


@pytest.mark.parametrize(
    ("place", "value", "found"),
    [
        (f"{EVENT} > properties > tidspunkt", GONE, "answers DeliveredEvent.tidspunkt: no longer there"),
        (f"{EVENT} > required > 0", GONE, "answers DeliveredEvent.beskedId: no longer always there"),
        (f"{EVENT} > properties > aendringstype > enum > 3", 4, "answers DeliveredEvent.aendringstype: enum has 4 now"),
        (
            f"{EVENT} > properties > eksternIdentifier > pattern",
            GONE,
            "answers DeliveredEvent.eksternIdentifier: pattern is gone",
        ),
        (
            f"{EVENT} > properties > versionIdentifier > maxLength",
            256,
            "answers DeliveredEvent.versionIdentifier: maxLength was 255, is 256",
        ),
        (f"{RECEIVE} > requestBody > x-max-bytes", 262144, "modtagLevering body: x-max-bytes was 131072, is 262144"),
        (f"{RECEIVE} > requestBody > required", False, "modtagLevering body: no longer always there"),
        (f"{RECEIVE} > parameters > 0", GONE, "modtagLevering header webhook-id: no longer there"),
        (
            f"{RECEIVE} > parameters > 1 > required",
            False,
            "modtagLevering header webhook-timestamp: no longer always there",
        ),
        (f"{RECEIVE} > responses > 425", GONE, "modtagLevering 425: no longer there"),
        ("paths > /other", {"post": {"operationId": "other", "responses": {}}}, "POST /other: new, look"),
        (f"{RECEIVE.removesuffix(' > post')} > get", {"responses": {}}, "GET /webhook: new, look"),
        ("x-outgoing", GONE, "x-outgoing: changed, look"),
    ],
)
def test_break_for_receivers_is_found(place: str, value: Any, found: str) -> None:
    assert compare_with_current("deliveries", place, value) == {found}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (f"{EVENT} > properties > ny", {"type": "string"}),
        (f"{EVENT} > required > 6", "entitetNavn"),
        (f"{EVENT} > properties > versionIdentifier > maxLength", 254),
        (f"{RECEIVE} > parameters > 0", {"name": "webhook-new", "in": "header", "required": True, "schema": {}}),
        (f"{RECEIVE} > parameters > 2 > required", True),
        (f"{RECEIVE} > requestBody > x-max-bytes", 65536),
        (f"{RECEIVE} > responses > 418", {"description": "A teapot."}),
    ],
)
def test_additions_for_receivers_are_compatible(place: str, value: Any) -> None:
    assert compare_with_current("deliveries", place, value) == set()
