"""The list of a system's receipts, page by page."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx

from domain.deliveries import AttemptOutcome
from handlers import receipts
from tests.catalogue_rows import ALLOWED, read_audit
from tests.handlers.callers import Caller, create_caller, list_places, read_errors
from tests.handlers.messages import create_id
from tests.handlers.waiting_deliveries import (
    SECOND,
    find_org_code,
    get_due_time,
    list_deliveries,
    publish,
    settle_claimable,
    subscribe,
)
from tests.persistence.queues import BODY_HASH
from tests.test_guards import SPECS


def get(caller: Caller, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    path = f"{receipts.PATH}?{urlencode({'systemIdentifier': caller.system_id} | query)}"
    return caller.service.client.get(path, headers=caller.headers(**(headers or {})))


def list_receipts(caller: Caller, **query: Any) -> list[dict[str, Any]]:
    response = get(caller, **query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["kvitteringer"]
    return found


def deliver(caller: Caller, **changes: Any) -> str:
    """Publish an event, let the system accept it, and return its id."""
    event_id = publish(caller, **changes)
    settle_claimable(caller, AttemptOutcome.DONE, get_due_time())
    return event_id


def test_delivered_message_has_a_receipt_without_content(caller: Caller) -> None:
    subscribe(caller)
    event_id = publish(caller, identifikationstypeId=1, identifikation="9999999901", body={"secret": "s3cr3t"})
    (waiting,) = list_deliveries(caller)
    assert list_receipts(caller) == []
    settle_claimable(caller, AttemptOutcome.AGAIN, get_due_time())
    settle_claimable(caller, AttemptOutcome.DONE, get_due_time() + 2 * SECOND)
    response = get(caller)
    assert "s3cr3t" not in response.text
    assert "9999999901" not in response.text
    (receipt,) = response.json()["kvitteringer"]
    assert receipt == {
        "leveringId": waiting["leveringId"],
        "beskedId": event_id,
        "orgType": 1,
        "orgCode": find_org_code(caller),
        "entityType": ALLOWED,
        "webhookUrl": "/webhook",
        "oprettet": waiting["oprettet"],
        "foersteForsoeg": receipt["sidsteForsoeg"],
        "sidsteForsoeg": receipt["sidsteForsoeg"],
        "forsoeg": 2,
        "httpStatus": 200,
        "millisekunder": 20,
        "sha256": BODY_HASH,
    }
    assert datetime.fromisoformat(receipt["sidsteForsoeg"]).utcoffset() is not None
    assert "link" not in response.headers
    assert list_deliveries(caller) == []


def test_receipts_are_selected_by_event_and_time(caller: Caller) -> None:
    subscribe(caller)
    first, second = deliver(caller), deliver(caller)
    assert [item["beskedId"] for item in list_receipts(caller, beskedId=second.upper())] == [second]
    assert list_receipts(caller, beskedId=create_id()) == []
    # The tests settle all deliveries with the same time.
    moment = datetime.fromisoformat(list_receipts(caller)[0]["sidsteForsoeg"])
    assert {item["beskedId"] for item in list_receipts(caller, fra=moment.isoformat())} == {first, second}
    assert list_receipts(caller, til=moment.isoformat()) == []
    later = (moment + timedelta(microseconds=1)).isoformat()
    assert len(list_receipts(caller, til=later)) == 2
    assert list_receipts(caller, fra=later) == []


def test_pages_contain_each_receipt_once_and_keep_the_filters(caller: Caller) -> None:
    subscribe(caller)
    events = {deliver(caller) for _ in range(5)}
    moment = datetime.fromisoformat(list_receipts(caller)[0]["sidsteForsoeg"])
    response = get(caller, limit=2, fra=moment.isoformat(), til=(moment + SECOND).isoformat())
    found, sizes = [], []
    while True:
        page = response.json()["kvitteringer"]
        found += [item["beskedId"] for item in page]
        sizes.append(len(page))
        if "link" not in response.headers:
            break
        path = response.headers["link"].removeprefix("<").partition(">")[0]
        assert all(f"&{name}=" in path for name in ("fra", "til", "limit", "after")), path
        response = caller.service.client.get(path, headers=caller.headers())
    assert sizes == [2, 2, 1]
    assert set(found) == events


def test_receipts_of_another_system_are_not_listed(caller: Caller) -> None:
    other = create_caller(caller.service)
    subscribe(other)
    deliver(other)
    assert list_receipts(caller) == []
    response = caller.service.client.get(
        f"{receipts.PATH}?systemIdentifier={other.system_id}&limit=0", headers=caller.headers()
    )
    assert read_errors(response, 403)[0]["errorCode"] == 1013


def test_hent_kvitteringer_returns_all_errors_of_the_query(caller: Caller) -> None:
    response = get(caller, fra="2026-03-29T02:30:00", til="2026-03-01", limit=0, beskedId="x", after="y")
    assert list_places(response) == [(None, name, 1014) for name in ("after", "beskedId", "fra", "limit", "til")]
    texts = {error["field"]: error["message"] for error in read_errors(response, 400)}
    assert "findes ikke" in texts["fra"]


def test_hent_kvitteringer_is_audited(caller: Caller) -> None:
    request_id = f"audited-{create_id()}"
    assert get(caller, {"x_requestId": request_id}).status_code == 200
    (recorded,) = read_audit(caller.database_url, request_id)
    assert (recorded.operation, recorded.chain) == ("hentKvitteringer", caller.system_id)


def test_limit_of_a_page_is_that_of_the_contract() -> None:
    parameters = SPECS["subscriptions"]["paths"][receipts.PATH]["get"]["parameters"]
    (limit,) = [each["schema"] for each in parameters if each.get("name") == "limit"]
    assert limit["maximum"] == limit["default"] == receipts.MAX_PAGE
