"""A sync keeps the deliveries of each subscription until they are delivered or the subscription is removed.

A worker may deliver at any moment, but not by coincidence in every round exactly those that the sync concerns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from contract_tests.api import LIST, Api, next_page
from contract_tests.rules.answers import expect
from contract_tests.rules.events import publish
from contract_tests.rules.subscription_sets import entries, identity

pytestmark = pytest.mark.needs("publisher", "certificate", "system", "allowed")

ROUNDS = (2, 3, 4, 5)
"""The number of deliveries per subscription in each round. It always differs from the number of subscriptions."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """The deliveries of the subscriptions before and after a sync, and the response to the sync."""

    before: set[str]
    after: set[str]
    done: Any


def are_lost(round_: Round) -> bool:
    return not round_.before & round_.after


def each_time(
    api: Api, do: Callable[[], Any], touched: list[Entry], others: list[Entry], is_wrong: Callable[[Round], bool]
) -> bool:
    """Return whether the deliveries of `touched` are wrong after each round, while those of all others are kept."""
    for count in ROUNDS:
        api.subscribe()
        api.subscribe(*touched, *others)
        for _ in range(count):
            for entry in [*touched, *others] if count % 2 else [*others, *touched]:
                publish(api, entry)
        before, stays = waiting(api, touched), waiting(api, others)
        round_ = Round(before, done=do(), after=waiting(api, touched))
        are_all = len(before) == count * len(touched) and len(stays) == count * len(others)
        if not are_all or stays != waiting(api, others) or not is_wrong(round_):
            return False
    return True


def waiting(api: Api, subscriptions: list[Entry]) -> set[str]:
    wanted = {identity(entry) for entry in subscriptions}
    return {item["leveringId"] for item in api.deliveries() if identity(item) in wanted}


@pytest.mark.parametrize("change", [{"webhookUrl": "/other"}, {"slutDato": "2999-01-01T00:00:00"}], ids=str)
def test_sync_keeps_deliveries_of_updated_subscriptions(change: Entry, own_set: Api) -> None:
    """The subscription is updated in place, not deleted and created again."""
    entry, other = entries(own_set, 2)
    is_lost = each_time(own_set, lambda: own_set.subscribe(entry | change, other), [entry], [other], are_lost)
    assert not is_lost, (
        f"a sync that changes {change} must keep the messages of the subscription, but removed them in every round"
    )


def test_sync_keeps_deliveries_of_unchanged_subscriptions(own_set: Api) -> None:
    """This holds for a sync of the same set, and for one that adds a new subscription."""
    one, two, new = entries(own_set, 3)
    for wanted in ([one, two], [one, two, new]):

        def sync(wanted: list[Entry] = wanted) -> None:
            own_set.subscribe(*wanted)

        is_lost = each_time(own_set, sync, [one, two], [], are_lost)
        assert not is_lost, "a sync must keep the messages of unchanged subscriptions, but removed them in every round"


def test_dry_run_keeps_deliveries(own_set: Api) -> None:
    dropped, kept = entries(own_set, 2)

    def ask() -> None:
        own_set.subscribe(kept, query={"dryRun": True})

    is_lost = each_time(own_set, ask, [dropped], [kept], are_lost)
    assert not is_lost, "a dry run must keep the messages that it counts, but removed them in every round"


def test_refused_sync_keeps_deliveries(own_set: Api) -> None:
    dropped, kept = entries(own_set, 2)
    bad = own_set.entry(webhookUrl="x")

    def sync() -> None:
        expect(own_set.sync([kept, bad]), 400)

    is_lost = each_time(own_set, sync, [dropped], [kept], are_lost)
    assert not is_lost, (
        "a rejected sync must keep all messages, but removed those of missing subscriptions in every round"
    )


@pytest.mark.parametrize("query", [{}, {"dryRun": True}], ids=["sync", "dry run"])
def test_removed_deliveries_are_counted(query: dict[str, Any], own_set: Api) -> None:
    """slettedeBeskeder counts deliveries, not subscriptions."""
    dropped, kept = entries(own_set, 2)

    def sync() -> int:
        return own_set.subscribe(kept, query=query)["slettedeBeskeder"]

    is_wrong = each_time(own_set, sync, [dropped], [kept], lambda round_: round_.done != len(round_.before))
    assert not is_wrong, (
        "slettedeBeskeder must be the number of messages of the removed subscription, but differed in every round"
    )


@pytest.mark.parametrize("limit", [2, 3], ids=["after one that stays", "after one that goes"])
def test_cursor_remains_valid_when_deliveries_are_removed(limit: int, own_set: Api) -> None:
    dropped, kept = entries(own_set, 2)
    own_set.subscribe(dropped, kept)
    for entry in (dropped, kept) * 3:
        publish(own_set, entry)
    before = own_set.deliveries()
    page = own_set.call("GET", f"{LIST}?systemIdentifier={own_set.target.system}&limit={limit}")
    first = [item["leveringId"] for item in page.json()["beskeder"]]
    own_set.subscribe(kept)
    rest: list[str] = []
    if following := next_page(page):
        rest = [item["leveringId"] for found in own_set.read_pages(following) for item in found.json()["beskeder"]]
    after = [item["leveringId"] for item in own_set.deliveries()]
    assert not set(first) & set(rest), f"a message is on two pages: {first}, then {rest}"
    missing = [item for item in before if item["leveringId"] in after and item["leveringId"] not in first + rest]
    assert missing == [], (
        f"a cursor must remain valid when messages are removed, but the pages do not contain {missing}"
    )
