"""Sets of subscriptions that checks put together, and what becomes of them."""

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
"""Published numbers of errors."""


def counts(
    *, oprettet: int = 0, opdateret: int = 0, slettet: int = 0, uaendret: int = 0, slettede_beskeder: int = 0
) -> dict[str, int]:
    """What a sync answers."""
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
    """Which subscription goes where."""
    return {identity(entry): entry["webhookUrl"] for entry in entries}


def entries(api: Api, count: int, **changes: Any) -> list[JSONObject]:
    """Subscriptions that may be made, of orgCodes that differ."""
    codes = api.random.sample(range(1000, 99_999_999), count)
    return [api.entry(orgCode=code, **changes) for code in codes]


def midnight() -> str:
    """When today began, in Copenhagen: the earliest that a subscription may end."""
    return datetime.combine(datetime.now(ZoneInfo("Europe/Copenhagen")), time()).isoformat()


def unknown_type(api: Api) -> int:
    """An entityType that, as far as can be told, nobody knows."""
    known = {entity_type for _, entity_type in api.target.allowed}
    return next(number for number in _numbers(api.random) if number not in known)


def type_not_allowed(api: Api) -> JSONObject:
    """An orgType with a known entityType that it may not subscribe to, as the target says."""
    _, entity_type = api.target.allowed[0]
    for org_type in _numbers(api.random):
        if entity_type not in allowed_types(api, org_type):
            return {"orgType": org_type, "entityType": entity_type}
    raise AssertionError("every orgType may subscribe to everything")


def allowed_types(api: Api, org_type: int) -> list[int]:
    """What an orgType may subscribe to, as the target says."""
    response = expect(api.call("GET", "/v1/beskedtype/tilladte", query={"orgType": org_type}), 200)
    return [item["entityType"] for item in response.json()["beskedtyper"]]


def another_pair(api: Api) -> tuple[int, int]:
    """A second orgType and entityType that may be subscribed to."""
    if len(api.target.allowed) < 2:
        pytest.skip("needs a second orgType and entityType that may be subscribed to")
    return api.target.allowed[1]


def another_type(api: Api) -> int:
    """A second entityType that is known."""
    first = api.target.allowed[0][1]
    found = next((entity_type for _, entity_type in api.target.allowed if entity_type != first), None)
    if found is None:
        pytest.skip("needs a second entityType that may be subscribed to")
    return found


def expect_refused(api: Api, wanted: list[Any], *places: Place) -> list[JSONObject]:
    """The errors of a set, which must be exactly these; and the set that there was stays as it was."""
    before = api.subscriptions()
    errors = expect_errors(api.sync(wanted), 400, *places)
    after = api.subscriptions()
    assert after == before, f"a refused sync changes nothing: expected {before}, but the set is {after}"
    return errors


def _numbers(source: random.Random) -> Iterable[int]:
    return (source.randrange(1_000_000_000, 2_000_000_000) for _ in range(100))
