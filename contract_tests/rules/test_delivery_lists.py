"""The list of a system's deliveries: its pages, and their removal with the subscription.

A worker may deliver or park a delivery at any moment. Therefore lists are read twice: a delivery in both the first and
the last list existed all the time.
"""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from contract_tests.api import LIST, Api
from contract_tests.links import next_page
from contract_tests.reading import time_differs
from contract_tests.rules.answers import describe_response, expect_errors
from contract_tests.rules.events import deliveries_to, publish
from contract_tests.rules.subscription_sets import NOT_VALID, entries

pytestmark = pytest.mark.needs("publish_key", "certificate", "system", "allowed")

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
NAMES = {
    *("leveringId", "beskedId", "orgType", "orgCode", "entityType", "webhookUrl", "status", "forsoeg", "oprettet"),
    *("naesteForsoeg", "aarsag", "httpStatus"),
}
OPTIONAL = {"aarsagTekst", "blokeretAf"}


MINUTES = timedelta(minutes=15)
"""The tolerated difference between clocks. Time zones differ by more."""


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["leveringId"] for item in items]


def test_list_of_deliveries_has_no_content(own_set: Api) -> None:
    """Nor does the list contain the person or organisation that the event concerns."""
    entry = own_set.entry(webhookUrl="/a/webhook")
    own_set.subscribe(entry)
    secret = f"secret-{own_set.uuid()}"
    secret_fields = {"identifikationstypeId": 2, "identifikation": secret, "versionIdentifier": secret}
    published = publish(own_set, entry, body={"text": secret}, **secret_fields)["beskedId"]
    for page in own_set.pages(f"{LIST}?systemIdentifier={own_set.target.system}"):
        assert secret not in page.text, describe_response(page)
        for item in page.json()["beskeder"]:
            assert NAMES <= set(item) <= NAMES | OPTIONAL, item
            found = (item["beskedId"], item["webhookUrl"], item["orgCode"])
            assert found == (published, "/a/webhook", entry["orgCode"]), item
            assert item["status"] in {"venter", "parkeret"}, item
            assert item["status"] == "venter" or item["naesteForsoeg"] is None, item
            created = datetime.fromisoformat(item["oprettet"])
            assert created.utcoffset() == created.astimezone(COPENHAGEN).utcoffset(), f"not in Copenhagen: {item}"
            assert item["leveringId"] == item["leveringId"].lower(), f"UUIDs are returned in lower case: {item}"
            last_attempt = (item["aarsag"], item["httpStatus"])
            assert item["forsoeg"] or last_attempt == (None, None), (
                f"before the first attempt there is no answer: {item}"
            )
            assert item["forsoeg"] or item.get("aarsagTekst") is None, f"no attempt has failed yet: {item}"
            assert item["aarsag"] != "http" or item["httpStatus"], f"an answer has a status: {item}"
            # Compare with the clock of the response, if the response has a date.
            assert not time_differs(page, created, MINUTES), (
                f"answered at {page.headers['Date']}, but just published: {item}"
            )


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_together_are_the_whole_list(limit: int, own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    published = [publish(own_set, entry)["beskedId"] for _ in range(5)]
    before = own_set.deliveries()
    pages = list(own_set.pages(f"{LIST}?systemIdentifier={own_set.target.system}&limit={limit}"))
    after = ids(own_set.deliveries())
    found = [item for page in pages for item in page.json()["beskeder"]]
    assert all(len(page.json()["beskeder"]) <= limit for page in pages), f"a page is longer than {limit}"
    assert len(set(ids(found))) == len(found), f"the pages name a message twice: {found}"
    missing = [item for item in before if item["leveringId"] in after and item["leveringId"] not in ids(found)]
    assert missing == [], f"the pages leave out {missing}"
    order = [published.index(item["beskedId"]) for item in found]
    assert order == sorted(order), f"expected the oldest first, but got {found}"


@pytest.mark.parametrize("status", ["venter", "parkeret"])
def test_status_filters_the_list(status: str, own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    for _ in range(3):
        publish(own_set, entry)
    before = own_set.deliveries()
    query = f"systemIdentifier={own_set.target.system}&status={status}&limit=2"
    for page in own_set.pages(f"{LIST}?{query}"):
        kept = set(query.split("&")) - set((next_page(page) or query).partition("?")[2].split("&"))
        assert next_page(page) is None or not kept, f"the Link has lost {kept}: {page.headers['Link']}"
    found = own_set.deliveries(status=status, limit=2)
    after = {item["leveringId"]: item["status"] for item in own_set.deliveries()}
    assert {item["status"] for item in found} <= {status}, f"expected {status} only, but got {found}"
    stayed = [item for item in before if item["status"] == status == after.get(item["leveringId"])]
    missing = [item for item in stayed if item["leveringId"] not in ids(found)]
    assert missing == [], f"the list of {status} leaves out {missing}"


def test_list_has_nothing_of_an_event_without_subscribers(own_set: Api) -> None:
    one, other = entries(own_set, 2)
    own_set.subscribe(one)
    publish(own_set, other)
    assert own_set.deliveries() == []


def test_messages_go_with_their_subscription(own_set: Api) -> None:
    """The sync reports their number. Deliveries of remaining subscriptions are kept."""
    kept, dropped = entries(own_set, 2)
    own_set.subscribe(kept, dropped)
    for _ in range(3):
        publish(own_set, dropped)
        publish(own_set, kept)
    kept_before, most = deliveries_to(own_set, kept), len(deliveries_to(own_set, dropped))
    foretold = own_set.subscribe(kept, query={"dryRun": True})["slettedeBeskeder"]
    left = deliveries_to(own_set, dropped)
    least, parked = len(left), [item for item in left if item["status"] == "parkeret"]
    assert least <= foretold <= most, f"expected {least} to {most} messages to go, but a dry run says {foretold}"
    done = own_set.subscribe(kept)["slettedeBeskeder"]
    assert len(parked) <= done <= least, f"of {left} the sync says that {done} went"
    assert deliveries_to(own_set, dropped) == [], "messages to a subscription that is gone must be gone"
    assert set(ids(deliveries_to(own_set, kept))) <= set(ids(kept_before))
    own_set.subscribe(kept, dropped)
    assert deliveries_to(own_set, dropped) == [], "messages must not come back with their subscription"


def test_messages_stay_when_their_subscription_is_changed(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    published = {publish(own_set, entry)["beskedId"] for _ in range(3)}
    before = own_set.deliveries()
    done = own_set.subscribe(entry | {"webhookUrl": "/other"})
    assert (done["opdateret"], done["slettedeBeskeder"]) == (1, 0), done
    after = own_set.deliveries()
    assert {item["beskedId"] for item in after} <= published
    assert {item["webhookUrl"] for item in after} <= {"/other"}, f"they go where it goes now, but got {after}"
    assert set(ids(after)) <= set(ids(before))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        *((f"limit={value}", ["limit"]) for value in ("0", "1001", "-1", "x", "1.0", "1_0", "%2B1", "")),
        *((f"after={value}", ["after"]) for value in ("x", "", "8" + "0" * 15, "0" * 17, "%00", "A" * 16)),
        *((f"status={value}", ["status"]) for value in ("x", "Venter", "", "venter,parkeret")),
        ("limit=1&limit=1", ["limit"]),
        ("limit=0&after=x&status=x&page=1", ["after", "limit", "page", "status"]),
    ],
)
def test_all_faults_of_the_query_are_reported(query: str, fields: list[str], api: Api) -> None:
    response = api.call("GET", f"{LIST}?systemIdentifier={api.target.system}&{query}")
    expect_errors(response, 400, *((None, field, NOT_VALID) for field in fields))
