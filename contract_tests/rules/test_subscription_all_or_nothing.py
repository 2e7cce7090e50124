"""A set with one invalid entry among valid ones changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.api import Api
from contract_tests.rules.subscription_sets import (
    DURATION,
    END,
    NOT_ALLOWED,
    NOT_VALID,
    TWICE,
    UNKNOWN,
    WEBHOOK,
    entries,
    expect_refused,
    type_not_allowed,
    unknown_type,
)

pytestmark = pytest.mark.needs("certificate", "system", "allowed")

Break = Callable[[Api], dict[str, Any]]

BROKEN: dict[str, tuple[Break, list[tuple[str, int]], str]] = {
    "start after end": (
        lambda _: {"startDato": "2100-01-02T00:00:00", "slutDato": "2100-01-01T00:00:00"},
        [("slutDato", DURATION)],
        "Den angivne varighed er negativ, startdato er større end slutdato",
    ),
    "end before today": (
        lambda _: {"slutDato": "2023-02-01T00:00:00"},
        [("slutDato", END)],
        "Slutdato skal være dagsdato eller i fremtiden",
    ),
    "unknown entityType": (
        lambda api: {"entityType": unknown_type(api)},
        [("entityType", UNKNOWN)],
        "Det angivne beskedtypeId er ikke kendt i systemet",
    ),
    "orgType that may not subscribe to it": (
        type_not_allowed,
        [("orgType", NOT_ALLOWED)],
        "Denne orgtype har ikke adgang til at abonnere på entity type",
    ),
    "webhookUrl that is no path": (lambda _: {"webhookUrl": "https://a.b/c"}, [("webhookUrl", WEBHOOK)], ""),
    "local time that does not exist": (
        lambda _: {"startDato": "2024-03-31T02:30:00"},
        [("startDato", NOT_VALID)],
        "Request validerer ikke",
    ),
    "day that does not exist": (
        lambda _: {"startDato": "2023-02-29T00:00:00"},
        [("startDato", NOT_VALID)],
        "Request validerer ikke",
    ),
    "text for a number": (lambda _: {"orgCode": "101"}, [("orgCode", NOT_VALID)], "Request validerer ikke"),
    "property that is missing": (lambda _: {"startDato": ...}, [("startDato", NOT_VALID)], "Request validerer ikke"),
    "unknown property": (lambda _: {"orgtype": 1}, [("orgtype", NOT_VALID)], "Request validerer ikke"),
}


@pytest.mark.parametrize(("broken", "wanted", "text"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("at", [0, 2], ids=["first", "last"])
def test_sync_with_one_invalid_entry_changes_nothing(
    broken: Break, wanted: list[tuple[str, int]], text: str, at: int, own_set: Api
) -> None:
    """No entry is created, updated or removed. The error text begins as published."""
    kept, changed, removed = entries(own_set, 3)
    own_set.subscribe(kept, changed, removed)
    request = [changed | {"webhookUrl": "/other"}, own_set.entry()]
    request.insert(at, own_set.entry(**broken(own_set)))
    errors = expect_refused(own_set, request, *((at, field, code) for field, code in wanted))
    for error in errors:
        assert error["message"].startswith(text), f"the message must begin with {text!r}, but was {error}"


def test_sync_that_names_an_identity_twice_changes_nothing(own_set: Api) -> None:
    """Every entry after the first one is reported, whether or not it is identical."""
    entry, other = entries(own_set, 2)
    own_set.subscribe(entry)
    request = [other, entry, other, other | {"webhookUrl": "/other"}]
    expect_refused(own_set, request, *((index, "entityType", TWICE) for index in (2, 3)))
    expect_refused(own_set, [entry, entry], (1, "entityType", TWICE))


def test_each_part_of_the_identity_distinguishes_entries(own_set: Api) -> None:
    """Entries that differ in only one part of the identity are no duplicates."""
    entry = own_set.entry()
    wanted = [entry, entry | type_not_allowed(own_set), entry | {"entityType": unknown_type(own_set)}]
    wanted.append(entry | {"orgCode": entry["orgCode"] + 1})
    expect_refused(own_set, wanted, (1, "orgType", NOT_ALLOWED), (2, "entityType", UNKNOWN))


def test_sync_with_an_invalid_update_changes_nothing(own_set: Api) -> None:
    one, two = entries(own_set, 2)
    own_set.subscribe(one, two)
    bad = two | {"slutDato": "2022-01-01T00:00:00"}
    expect_refused(own_set, [one | {"webhookUrl": "/x"}, bad], (1, "slutDato", DURATION), (1, "slutDato", END))


def test_sync_with_an_invalid_last_entry_changes_nothing(own_set: Api) -> None:
    own_set.subscribe(*entries(own_set, 2))
    request = [*entries(own_set, 999), own_set.entry(orgCode=1, webhookUrl="//x")]
    expect_refused(own_set, request, (999, "webhookUrl", WEBHOOK))


def test_sync_with_an_unknown_property_or_parameter_changes_nothing(own_set: Api) -> None:
    own_set.subscribe(own_set.entry())
    before = own_set.subscriptions()
    body = {"systemIdentifier": own_set.target.system, "abonnementer": []}
    queries = ("dryrun=true", "dryRun=1", "dryRun=True", "dryRun=", "dryRun=true&dryRun=false", "dryRun=true&x=1")
    for query, extra in (("", {"dryrun": True}), *((query, {}) for query in queries)):
        response = own_set.call("POST", f"/v1/abonnement/sync?{query}", body=body | extra)
        assert response.status_code == 400, f"expected 400, but was {response.status_code}: {response.text}"
        assert own_set.subscriptions() == before, "a rejected sync must not change the set"
