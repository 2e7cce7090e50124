"""The receipts of a system: what they contain, and how they are selected.

A target may have receipts or none, and a worker may deliver at any moment. Rules about a receipt hold for each that the
target returns.
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from contract_tests.api import RECEIPTS, Api
from contract_tests.rules.answers import describe_response, expect_errors
from contract_tests.rules.events import publish
from contract_tests.rules.subscription_sets import NOT_VALID, entries

pytestmark = pytest.mark.needs("certificate", "system")

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
NAMES = {
    *("leveringId", "beskedId", "orgType", "orgCode", "entityType", "webhookUrl", "oprettet", "foersteForsoeg"),
    *("sidsteForsoeg", "forsoeg", "httpStatus", "millisekunder", "sha256"),
}
SOME = 50
"""A target may have millions of receipts."""


def read_some(api: Api, **query: Any) -> list[dict[str, Any]]:
    response = api.call("GET", RECEIPTS, query={"systemIdentifier": api.target.system, "limit": SOME, **query})
    assert response.status_code == 200, describe_response(response)
    found: list[dict[str, Any]] = response.json()["kvitteringer"]
    assert len(found) <= SOME, f"a page of {SOME} has {len(found)} receipts"
    return found


def read_moment(item: dict[str, Any], name: str = "sidsteForsoeg") -> datetime:
    moment = datetime.fromisoformat(item[name])
    assert moment.utcoffset() == moment.astimezone(COPENHAGEN).utcoffset(), (
        f"{name} must be in Copenhagen's time zone: {item}"
    )
    return moment


def test_receipt_has_the_fields_of_the_contract(api: Api) -> None:
    found = read_some(api)
    for item in found:
        assert set(item) == NAMES, item
        assert read_moment(item, "foersteForsoeg") <= read_moment(item), f"the first attempt follows the last: {item}"
        assert len(item["sha256"]) == len("0" * 64), f"sha256 must have 64 digits: {item}"
        assert 200 <= item["httpStatus"] < 300, f"only a 2xx is delivery: {item}"
    moments = [read_moment(item) for item in found]
    assert moments == sorted(moments), f"expected the oldest last attempt first, but got {found}"
    ids = [item["leveringId"] for item in found]
    assert len(set(ids)) == len(ids), f"a delivery has two receipts: {found}"


def test_filters_select_receipts(api: Api) -> None:
    found = read_some(api)
    for item in [*found[:1], *found[-1:]]:
        of_event = read_some(api, beskedId=item["beskedId"])
        assert {each["beskedId"] for each in of_event} == {item["beskedId"]}, (
            f"beskedId must select the receipts of one event, but got {of_event}"
        )
        moment = read_moment(item)
        since, before = read_some(api, fra=moment.isoformat()), read_some(api, til=moment.isoformat())
        assert all(read_moment(each) >= moment for each in since), f"fra must exclude earlier receipts: {since}"
        assert all(read_moment(each) < moment for each in before), f"til must exclude later receipts: {before}"
    assert read_some(api, beskedId=api.uuid()) == [], "an unknown event must have no receipts"


@pytest.mark.needs("publisher", "allowed")
def test_message_on_the_queue_has_no_receipt(own_set: Api) -> None:
    entry, *_ = entries(own_set, 1)
    own_set.subscribe(entry)
    event_id = publish(own_set, entry)["beskedId"]
    before = own_set.deliveries()
    receipts = own_set.receipts(beskedId=event_id)
    after = {item["leveringId"] for item in own_set.deliveries()}
    queued = {item["leveringId"] for item in before} & after
    early = [item for item in receipts if item["leveringId"] in queued]
    assert early == [], f"messages that are not delivered must have no receipt, but got {early}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("fra", "2026-02-30T00:00:00"), ("til", "2026-03-29T02:30:00"), ("fra", "2026-03-01"), ("beskedId", "x")],
)
def test_invalid_filter_is_refused(name: str, value: str, api: Api) -> None:
    query = {"systemIdentifier": api.target.system, name: value}
    expect_errors(api.call("GET", RECEIPTS, query=query), 400, (None, name, NOT_VALID))


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("limit", 1001), ("after", "x"), ("colour", "red")])
def test_invalid_page_is_refused(name: str, value: Any, api: Api) -> None:
    query = {"systemIdentifier": api.target.system, name: value}
    expect_errors(api.call("GET", RECEIPTS, query=query), 400, (None, name, NOT_VALID))
