"""Concurrent syncs of one system are serialised."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from contract_tests.api import Api
from contract_tests.rules.subscription_sets import entries, webhooks
from contract_tests.rules.together import run_concurrently

pytestmark = pytest.mark.needs("certificate", "system", "allowed")


def test_concurrent_syncs_end_in_one_of_their_sets(own_set: Api) -> None:
    identities = entries(own_set, 60)
    sets = [
        [entry | {"webhookUrl": f"/{number}"} for entry in identities[number * 5 : number * 5 + 30]]
        for number in range(6)
    ]
    for _ in range(3):
        answers = run_concurrently(own_set.sync, sets)
        statuses = [answer.status_code for answer in answers]
        assert statuses == [200] * 6, f"every sync of a valid set must succeed, but the statuses are {statuses}"
        found = webhooks(own_set.subscriptions())
        assert found in [webhooks(wanted) for wanted in sets], (
            f"the set must be that of one request, but is a mixture: {found}"
        )
    made = sum(answer.json()["oprettet"] - answer.json()["slettet"] for answer in answers)
    assert made == 0, f"replacing a set of 30 must create and remove the same number, but the difference is {made}"


def test_concurrent_read_returns_the_old_or_the_new_set(own_set: Api) -> None:
    """A sync is one transaction: no reader sees a part of it."""
    sets = [entries(own_set, 100), entries(own_set, 100)]
    sets = [[*sets[0], *sets[1][:50]], [{**entry, "webhookUrl": "/other"} for entry in [*sets[1], *sets[0][:50]]]]
    own_set.subscribe(*sets[0])
    with ThreadPoolExecutor(1) as threads:
        for number in range(1, 9):
            syncing = threads.submit(own_set.sync, sets[number % 2])
            # Read a fixed number of times, however long the sync takes, so that the same seed sends the same requests.
            seen = [webhooks(own_set.subscriptions()) for _ in range(5)]
            assert syncing.result().status_code == 200, syncing.result().text
            parts = [found for found in seen if found not in [webhooks(wanted) for wanted in sets]]
            assert parts == [], f"a reader got an incomplete set: {len(parts[0])} of 150 entries, {parts[0]}"


def test_concurrent_identical_syncs_create_each_subscription_once(own_set: Api) -> None:
    wanted = entries(own_set, 30)
    answers = [answer.json() for answer in run_concurrently(own_set.sync, [wanted] * 6)]
    assert sum(answer["oprettet"] for answer in answers) == 30, answers
    assert sum(answer["uaendret"] for answer in answers) == 150, answers
    assert webhooks(own_set.subscriptions()) == webhooks(wanted)
