"""Build sets of subscriptions, and assert the results of syncs."""

import random
from collections.abc import Iterable
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import Place, expect, expect_errors

JSONObject = dict[str, Any]

IDENTITY = ("orgType", "orgCode", "entityType")
GOOD_ENTRIES = 3

DURATION, END, UNKNOWN, NOT_VALID = 1003, 150000, 150002, 1014
NOT_ALLOWED, WEBHOOK, TWICE, ANOTHER, MISSING = 150101, 150102, 150103, 150104, 150105
"""The published numbers of errors."""


def counts(
    *, oprettet: int = 0, opdateret: int = 0, slettet: int = 0, uaendret: int = 0, slettede_beskeder: int = 0
) -> dict[str, int]:
    """Return the expected response to a sync."""
    return {
        "oprettet": oprettet,
        "opdateret": opdateret,
        "slettet": slettet,
        "uaendret": uaendret,
        "slettedeBeskeder": slettede_beskeder,
    }


def identity(entry: JSONObject) -> tuple[int, ...]:
    return tuple(entry[name] for name in IDENTITY)


def webhooks(entries: Iterable[JSONObject]) -> dict[tuple[int, ...], str]:
    """Return the webhookUrl of each subscription, by identity."""
    return {identity(entry): entry["webhookUrl"] for entry in entries}


def entries(api: Api, count: int, **changes: Any) -> list[JSONObject]:
    """Return valid subscriptions with different orgCodes."""
    codes = api.random.sample(range(1000, 99_999_999), count)
    return [api.entry(orgCode=code, **changes) for code in codes]


def midnight() -> str:
    """Return the beginning of today in Copenhagen, the earliest valid end of a subscription."""
    return datetime.combine(datetime.now(ZoneInfo("Europe/Copenhagen")), time()).isoformat()


def unknown_type(api: Api) -> int:
    """Return an entityType that is probably unknown to the target."""
    known = {entity_type for _, entity_type in api.target.allowed}
    return next(number for number in _numbers(api.random) if number not in known)


def type_not_allowed(api: Api) -> JSONObject:
    """Return an orgType with a known entityType that it may not subscribe to, according to the target."""
    _, entity_type = api.target.allowed[0]
    for org_type in _numbers(api.random):
        if entity_type not in allowed_types(api, org_type):
            return {"orgType": org_type, "entityType": entity_type}
    raise AssertionError("found no orgType that may not subscribe to the message type")


def allowed_types(api: Api, org_type: int) -> list[int]:
    """Return the entityTypes that an orgType may subscribe to, according to the target."""
    response = expect(api.call("GET", "/v1/beskedtype/tilladte", query={"orgType": org_type}), 200)
    return [item["entityType"] for item in response.json()["beskedtyper"]]


def another_pair(api: Api) -> tuple[int, int]:
    """Return a second pair of orgType and entityType that may be subscribed to."""
    if len(api.target.allowed) < 2:
        pytest.skip("needs a second orgType and entityType that may be subscribed to")
    return api.target.allowed[1]


def another_type(api: Api) -> int:
    """Return a second known entityType."""
    first = api.target.allowed[0][1]
    found = next((entity_type for _, entity_type in api.target.allowed if entity_type != first), None)
    if found is None:
        pytest.skip("needs a second entityType that may be subscribed to")
    return found


def expect_refused(api: Api, wanted: list[Any], *places: Place) -> list[JSONObject]:
    """Return the errors of a set, after asserting that they are these and that the stored set is unchanged."""
    before = api.subscriptions()
    errors = expect_errors(api.sync(wanted), 400, *places)
    after = api.subscriptions()
    assert after == before, f"a rejected sync must not change the set: expected {before}, but got {after}"
    return errors


def _numbers(source: random.Random) -> Iterable[int]:
    return (source.randrange(1_000_000_000, 2_000_000_000) for _ in range(100))
