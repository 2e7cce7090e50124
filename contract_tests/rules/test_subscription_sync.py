"""A sync replaces the set of a system by that of the request. It is idempotent."""

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import describe_response, expect
from contract_tests.rules.subscription_sets import (
    another_pair,
    counts,
    entries,
    identity,
    unknown_type,
    webhooks,
)

pytestmark = pytest.mark.needs("certificate", "system", "allowed")


def test_sync_returns_the_counts_of_changes(own_set: Api) -> None:
    one, two, three, four = entries(own_set, 4)
    assert own_set.subscribe(one, two, three) == counts(oprettet=3)
    changed = two | {"webhookUrl": "/other"}
    done = own_set.subscribe(one, changed, four)
    assert done == counts(oprettet=1, opdateret=1, slettet=1, uaendret=1), done
    assert webhooks(own_set.subscriptions()) == webhooks([one, changed, four])


def test_same_sync_again_changes_nothing(own_set: Api) -> None:
    """The order of the entries does not matter."""
    wanted = entries(own_set, 5)
    own_set.subscribe(*wanted)
    before = own_set.subscriptions()
    for again in (wanted, wanted[::-1], [dict(reversed(entry.items())) for entry in wanted]):
        done = own_set.subscribe(*again)
        assert done == counts(uaendret=5), f"repeating a sync must change nothing, but it returned {done}"
        assert own_set.subscriptions() == before


def test_get_returns_the_set_in_a_form_that_sync_accepts(own_set: Api) -> None:
    wanted = [
        own_set.entry(startDato="2024-07-01T12:00:00.123456Z", slutDato=None),
        own_set.entry(startDato="2024-10-27T02:30:00", slutDato="2100-07-01T03:00:00", webhookUrl="/"),
        own_set.entry(startDato="1900-01-01T00:00:00", slutDato="2999-12-31T23:59:59.999999", orgCode=-1),
        own_set.entry(slutDato=..., orgCode=99_999_999),
        own_set.entry(startDato="2024-07-01T12:00:00.123456789+23:59", slutDato="2100-07-01T03:00:00.5-23:59"),
    ]
    own_set.subscribe(*wanted)
    query = {"systemIdentifier": own_set.target.system}
    answer = expect(own_set.call("GET", "/v1/abonnement", query=query), 200)
    assert webhooks(answer.json()["abonnementer"]) == webhooks(wanted), describe_response(answer)
    again = expect(own_set.call("POST", "/v1/abonnement/sync", body=answer.json()), 200)
    assert again.json() == counts(uaendret=5), f"GET must return the current set, but {describe_response(again)}"


@pytest.mark.parametrize(
    "changes",
    [
        {"webhookUrl": "/other"},
        {"webhookUrl": "/Webhook"},
        {"webhookUrl": "/webhook/"},
        {"startDato": "2023-01-01T00:00:01"},
        {"startDato": "2023-01-01T00:00:00.000001"},
        {"slutDato": "2999-01-01T00:00:00"},
        {"webhookUrl": "/third", "startDato": "2024-01-01T00:00:00", "slutDato": "2998-01-01T00:00:00"},
    ],
    ids=["webhookUrl", "its case", "its last slash", "startDato", "a microsecond", "slutDato", "all"],
)
def test_same_identity_is_updated_in_place(changes: dict[str, str], own_set: Api) -> None:
    kept, entry = entries(own_set, 2)
    own_set.subscribe(kept, entry)
    done = own_set.subscribe(kept, entry | changes)
    assert done == counts(opdateret=1, uaendret=1), f"expected one update, but the sync returned {done}"
    (found,) = [item for item in own_set.subscriptions() if identity(item) == identity(entry)]
    for name, value in changes.items():
        assert found[name].startswith(value), f"expected {name} {value}, but got {found}"
    done = own_set.subscribe(kept, entry)
    assert done == counts(opdateret=1, uaendret=1), (
        f"changing the value back must be an update, but the sync returned {done}"
    )


def test_each_part_of_the_identity_distinguishes_subscriptions(own_set: Api) -> None:
    org_type, entity_type = another_pair(own_set)
    entry = own_set.entry()
    others = [entry | {"orgCode": entry["orgCode"] + 1}, entry | {"orgType": org_type, "entityType": entity_type}]
    own_set.subscribe(entry)
    assert own_set.subscribe(entry, *others) == counts(oprettet=2, uaendret=1)
    assert own_set.subscribe(*others) == counts(slettet=1, uaendret=2)


def test_subscription_that_is_not_in_the_request_is_removed(own_set: Api) -> None:
    wanted = entries(own_set, 3)
    own_set.subscribe(*wanted)
    assert own_set.subscribe(wanted[1]) == counts(slettet=2, uaendret=1)
    assert webhooks(own_set.subscriptions()) == webhooks([wanted[1]])


def test_empty_list_removes_all(own_set: Api) -> None:
    own_set.subscribe(*entries(own_set, 2))
    assert own_set.subscribe() == counts(slettet=2)
    assert own_set.subscriptions() == []
    assert own_set.subscribe() == counts()


def test_dry_run_returns_the_counts_and_changes_nothing(own_set: Api) -> None:
    one, two, three = entries(own_set, 3)
    own_set.subscribe(one, two)
    before = own_set.subscriptions()
    wanted = [one | {"webhookUrl": "/other"}, three]
    predicted = own_set.subscribe(*wanted, query={"dryRun": True})
    assert own_set.subscriptions() == before, "a dry run must not change the set"
    done = own_set.subscribe(*wanted, query={"dryRun": False})
    assert done == predicted == counts(oprettet=1, opdateret=1, slettet=1)
    assert webhooks(own_set.subscriptions()) == webhooks(wanted)


def test_dry_run_reports_errors_too(own_set: Api) -> None:
    bad = [own_set.entry(entityType=unknown_type(own_set)), own_set.entry(webhookUrl="x")]
    answers = [expect(own_set.sync(bad, query={"dryRun": value}), 400).json() for value in (True, False)]
    assert answers[0] == answers[1]


def test_system_is_accepted_in_any_case_and_returned_in_lower_case(own_set: Api) -> None:
    system = own_set.target.system or ""
    entry = own_set.entry()
    own_set.subscribe(entry, system=system.upper())
    query = {"systemIdentifier": system.upper()}
    answer = expect(own_set.call("GET", "/v1/abonnement", query=query), 200).json()
    assert answer["systemIdentifier"] == system.lower()
    assert webhooks(answer["abonnementer"]) == webhooks([entry])
    assert own_set.subscribe(entry, system=system.lower()) == counts(uaendret=1)


def test_sync_accepts_1000_entries(own_set: Api) -> None:
    wanted = entries(own_set, 1000)
    assert own_set.subscribe(*wanted) == counts(oprettet=1000)
    assert webhooks(own_set.subscriptions()) == webhooks(wanted)
    changed = [entry | {"webhookUrl": f"/{number % 2}"} for number, entry in enumerate(wanted[:900])]
    assert own_set.subscribe(*changed) == counts(opdateret=900, slettet=100)
    assert own_set.subscribe(*changed[::-1]) == counts(uaendret=900)
    assert webhooks(own_set.subscriptions()) == webhooks(changed)


@pytest.mark.full
@pytest.mark.one_database
def test_sync_accepts_at_most_50000_entries(own_set: Api) -> None:
    wanted = entries(own_set, 50_000)
    assert own_set.subscribe(*wanted, query={"dryRun": True}) == counts(oprettet=50_000)
    errors = expect(own_set.sync([*wanted, own_set.entry(orgCode=1)]), 400).json()["errors"]
    assert [(error["field"], error["errorCode"]) for error in errors] == [("abonnementer", 1014)], errors
