"""Find a delivery, an event, a message, a system or a request by its id on the operations page."""

from uuid import UUID

import httpx
import pytest

from handlers.operations_page.texts import build_request_address
from persistence import deliveries
from tests.factories import NOW
from tests.handlers.operations_page.operations import ROOT, Page, put_stuck
from tests.persistence.catalogues import SYSTEM_IDS
from tests.persistence.queues import publish


def test_search_goes_to_what_has_the_id(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[0], 101))
    event_id = page.run(lambda database: deliveries.get(database, stuck.parked[0])).event_id
    with page.signed_in("bo") as visitor:

        def find(text: str) -> httpx.Response:
            return visitor.get(f"{ROOT}/search", params={"id": text})

        assert find(f" {stuck.parked[0].upper()} ").headers["location"] == f"{ROOT}/deliveries/{stuck.parked[0]}"
        assert find(event_id).headers["location"] == f"{ROOT}/events/{event_id}"
        assert find(stuck.message).headers["location"] == f"{ROOT}/messages/{stuck.message}"
        assert find(SYSTEM_IDS[0]).headers["location"] == f"{ROOT}/systems/{SYSTEM_IDS[0]}"
        assert find(stuck.request).headers["location"] == f"{ROOT}/requests/{stuck.request}"
        # An unknown UUID may be the id of a request.
        assert find(str(UUID(int=99))).headers["location"] == f"{ROOT}/requests/{UUID(int=99)}"
        event = visitor.read(f"{ROOT}/events/{event_id}")
        assert "not delivered everywhere" in event
        assert "Published by publisher" in event
        assert stuck.request in event


def test_request_shows_what_it_stored_in_a_range_of_times(page: Page) -> None:
    stuck = page.run(lambda database: put_stuck(database, SYSTEM_IDS[1], 111))
    path = f"{ROOT}/requests/{stuck.request}"
    with page.signed_in("bo") as visitor:
        # The message was stored now, and the events in March.
        html = visitor.get(path).text
        assert stuck.message in html
        assert stuck.failing not in html
        assert "Searched: the last 24 hours." in html
        assert f"{path}?since=7d" in html
        html = visitor.get(f"{path}?since=all").text
        for id_ in (stuck.message, *stuck.parked, stuck.failing, stuck.blocked):
            assert id_ in html
        assert "Search everything" not in html
        near = visitor.get(build_request_address(stuck.request, NOW)).text
        assert stuck.failing in near
        assert stuck.message not in near
        unknown = visitor.get(f"{ROOT}/requests/unknown")
        assert (unknown.status_code, "Search everything" in unknown.text) == (404, True)
        for query in ("since=2d", "near=x", "near=", "near=-1", "near=999999999999", "since="):
            assert visitor.get(f"{path}?{query}").status_code == 404
        for query in ("near=0", "near=99999999999"):
            assert stuck.message not in visitor.get(f"{path}?{query}").text


def test_event_without_a_subscription_says_so(page: Page) -> None:
    event_id = page.run(lambda database: publish(database, org_code=999)).event_id
    with page.signed_in("bo") as visitor:
        text = visitor.read(f"{ROOT}/events/{event_id}")
    assert "no subscription" in text
    assert "delivered everywhere" not in text


def test_audit_entries_of_a_request_are_found(page: Page) -> None:
    with page.signed_in("anna") as visitor:
        entry = next(each for each in page.list_entries("-") if each.operation == "operations sign-in")
        assert "operations sign-in anna answered" in visitor.read(f"{ROOT}/requests/{entry.request_id}")


@pytest.mark.parametrize("text", ["", " ", "-", "nothing", "<script>", "\u00e5", "a b", "x" * 5000])
def test_search_for_nothing_finds_nothing(page: Page, text: str) -> None:
    with page.signed_in("bo") as visitor:
        response = visitor.get(f"{ROOT}/search", params={"id": text})
        if text == "nothing":
            response = visitor.get(response.headers["location"])
            assert (response.status_code, "Nothing of this request was found." in response.text) == (404, True)
        else:
            assert (response.status_code, "Nothing has the id" in response.text) == (200, bool(text.strip()))
            assert visitor.get(f"{ROOT}/requests/{text.strip() or '-'}").status_code == 404
