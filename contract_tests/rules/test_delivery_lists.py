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
from contract_tests.rules.events import STATUSES, deliveries_to, publish
from contract_tests.rules.subscription_sets import NOT_VALID, entries

pytestmark = pytest.mark.needs("publisher", "certificate", "system", "allowed")

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
NAMES = {
    *("leveringId", "beskedId", "orgType", "orgCode", "entityType", "webhookUrl", "status", "forsoeg", "oprettet"),
    *("naesteForsoeg", "aarsag", "httpStatus"),
}
OPTIONAL = {"aarsagTekst", "blokeretAf", "pauseretSiden", "pauseretTil"}


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
    for page in own_set.read_pages(f"{LIST}?systemIdentifier={own_set.target.system}"):
        assert secret not in page.text, describe_response(page)
        for item in page.json()["beskeder"]:
            assert NAMES <= set(item) <= NAMES | OPTIONAL, item
            found = (item["beskedId"], item["webhookUrl"], item["orgCode"])
            assert found == (published, "/a/webhook", entry["orgCode"]), item
            assert item["status"] in STATUSES, item
            assert item["status"] == "venter" or item["naesteForsoeg"] is None, item
            created = datetime.fromisoformat(item["oprettet"])
            assert created.utcoffset() == created.astimezone(COPENHAGEN).utcoffset(), (
                f"the time must be in Copenhagen's time zone: {item}"
            )
            assert item["leveringId"] == item["leveringId"].lower(), f"UUIDs must be returned in lower case: {item}"
            last_attempt = (item["aarsag"], item["httpStatus"])
            assert item["forsoeg"] or last_attempt == (None, None), (
                f"a message without attempts must have no response: {item}"
            )
            assert item["forsoeg"] or item.get("aarsagTekst") is None, (
                f"a message without attempts must have no error: {item}"
            )
            assert item["aarsag"] != "http" or item["httpStatus"], (
                f"the response of a receiver must have a status: {item}"
            )
            # Compare with the clock of the response, if the response has a date.
            assert not time_differs(page, created, MINUTES), (
                f"oprettet must be close to the Date of the response, {page.headers['Date']}: {item}"
            )


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_contain_the_whole_list(limit: int, own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    published = [publish(own_set, entry)["beskedId"] for _ in range(5)]
    before = own_set.deliveries()
    pages = list(own_set.read_pages(f"{LIST}?systemIdentifier={own_set.target.system}&limit={limit}"))
    after = ids(own_set.deliveries())
    found = [item for page in pages for item in page.json()["beskeder"]]
    assert all(len(page.json()["beskeder"]) <= limit for page in pages), f"a page has more than {limit} messages"
    assert len(set(ids(found))) == len(found), f"a message is on two pages: {found}"
    missing = [item for item in before if item["leveringId"] in after and item["leveringId"] not in ids(found)]
    assert missing == [], f"the pages do not contain {missing}"
    order = [published.index(item["beskedId"]) for item in found]
    assert order == sorted(order), f"expected the oldest first, but got {found}"


@pytest.mark.parametrize("status", STATUSES)
def test_status_filters_the_list(status: str, own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    for _ in range(3):
        publish(own_set, entry)
    before = own_set.deliveries()
    query = f"systemIdentifier={own_set.target.system}&status={status}&limit=2"
    for page in own_set.read_pages(f"{LIST}?{query}"):
        kept = set(query.split("&")) - set((next_page(page) or query).partition("?")[2].split("&"))
        assert next_page(page) is None or not kept, f"the Link must keep {kept}, but was {page.headers['Link']}"
    found = own_set.deliveries(status=status, limit=2)
    after = {item["leveringId"]: item["status"] for item in own_set.deliveries()}
    assert {item["status"] for item in found} <= {status}, (
        f"expected only deliveries with the status {status}, but got {found}"
    )
    stayed = [item for item in before if item["status"] == status == after.get(item["leveringId"])]
    missing = [item for item in stayed if item["leveringId"] not in ids(found)]
    assert missing == [], f"the list with status {status} does not contain {missing}"


def test_event_without_subscribers_creates_no_delivery(own_set: Api) -> None:
    one, other = entries(own_set, 2)
    own_set.subscribe(one)
    publish(own_set, other)
    assert own_set.deliveries() == []


def test_removing_a_subscription_removes_its_deliveries(own_set: Api) -> None:
    """The sync reports their number. Deliveries of remaining subscriptions are kept."""
    kept, dropped = entries(own_set, 2)
    own_set.subscribe(kept, dropped)
    for _ in range(3):
        publish(own_set, dropped)
        publish(own_set, kept)
    kept_before, most = deliveries_to(own_set, kept), len(deliveries_to(own_set, dropped))
    predicted = own_set.subscribe(kept, query={"dryRun": True})["slettedeBeskeder"]
    left = deliveries_to(own_set, dropped)
    least, parked = len(left), [item for item in left if item["status"] == "parkeret"]
    assert least <= predicted <= most, (
        f"expected slettedeBeskeder between {least} and {most}, but the dry run returned {predicted}"
    )
    done = own_set.subscribe(kept)["slettedeBeskeder"]
    assert len(parked) <= done <= least, f"expected slettedeBeskeder to count {left}, but the sync returned {done}"
    assert deliveries_to(own_set, dropped) == [], "the messages of a removed subscription must be removed"
    assert set(ids(deliveries_to(own_set, kept))) <= set(ids(kept_before))
    own_set.subscribe(kept, dropped)
    assert deliveries_to(own_set, dropped) == [], "removed messages must not be restored with their subscription"


def test_changing_a_subscription_keeps_its_deliveries(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    published = {publish(own_set, entry)["beskedId"] for _ in range(3)}
    before = own_set.deliveries()
    done = own_set.subscribe(entry | {"webhookUrl": "/other"})
    assert (done["opdateret"], done["slettedeBeskeder"]) == (1, 0), done
    after = own_set.deliveries()
    assert {item["beskedId"] for item in after} <= published
    assert {item["webhookUrl"] for item in after} <= {"/other"}, (
        f"messages must go to the current webhookUrl of their subscription, but got {after}"
    )
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
