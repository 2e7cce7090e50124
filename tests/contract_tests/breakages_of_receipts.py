"""Servers that break the contract of receipts."""

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from tests.contract_tests.breakages import Case
from tests.contract_tests.breakages_of_systems import LIST, JSONObject
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

RECEIPTS = "/v1/abonnement/kvitteringer"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
MOMENTS = [datetime(2026, 3, 1, hour, tzinfo=COPENHAGEN).isoformat() for hour in (12, 13, 14)]
RULE = "test_receipts.py::test_receipt_has_the_fields_of_the_contract"
FILTERS = "test_receipts.py::test_filters_select_receipts"


def receipt(place: int, **changes: object) -> JSONObject:
    return {
        "leveringId": f"7d1a8f10-5798-41e9-ae24-00000000000{place}",
        "beskedId": f"0b1f4c1e-5798-41e9-ae24-00000000000{place}",
        "orgType": 1,
        "orgCode": 101,
        "entityType": 202,
        "webhookUrl": "/webhook",
        "oprettet": MOMENTS[0],
        "foersteForsoeg": MOMENTS[place],
        "sidsteForsoeg": MOMENTS[place],
        "forsoeg": 1,
        "httpStatus": 200,
        "millisekunder": 20,
        "sha256": "0f" * 32,
        **changes,
    }


def with_receipts(*receipts: JSONObject, without: str = "") -> Breakage:
    """Return these receipts, selected by all filters but one."""

    def is_selected(item: JSONObject, query: dict[str, str]) -> bool:
        since, until = query.get("fra", MOMENTS[0]), query.get("til", "2999")
        moment = datetime.fromisoformat(str(item["sidsteForsoeg"])).astimezone(COPENHAGEN).isoformat()
        return (
            (without == "fra" or moment >= since)
            and (without == "til" or moment < until)
            and (without == "beskedId" or item["beskedId"] == query.get("beskedId", item["beskedId"]))
        )

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if request.path != RECEIPTS or response.status != 200:
            return response
        query = {name: values[0] for name, values in parse_qs(request.query.decode("latin-1")).items()}
        return response.with_json({"kvitteringer": [item for item in receipts if is_selected(item, query)]})

    return breakage


async def receipts_of_the_queue(request: Request, forward: Forward) -> ServerResponse:
    """Return a receipt for each message that was accepted from the publisher."""
    response = await forward(request)
    if request.path != RECEIPTS or response.status != 200:
        return response
    system = request.query.decode("latin-1").partition("systemIdentifier=")[2].partition("&")[0]
    queue = await forward(replace(request.with_path(LIST.encode()), query=f"systemIdentifier={system}".encode()))
    items = [receipt(1, leveringId=item["leveringId"]) for item in queue.json()["beskeder"]]
    return response.with_json({"kvitteringer": items})


def without_parameter(name: str) -> Breakage:
    """Ignore a parameter."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        if request.path != RECEIPTS:
            return await forward(request)
        parts = [part for part in request.query.split(b"&") if not part.startswith(f"{name}=".encode())]
        return await forward(replace(request, query=b"&".join(parts)))

    return breakage


async def any_system(request: Request, forward: Forward) -> ServerResponse:
    """Return an empty list for a system of others."""
    response = await forward(request)
    if request.path != RECEIPTS or response.status != 403:
        return response
    return replace(response.with_json({"kvitteringer": []}), status=200)


def case(breakage: Breakage, rule: str, words: str) -> Case:
    return Case(breakage, "subscriptions", rule, words)


OF_RECEIPTS = {
    "a receipt without a hash": case(with_receipts({**receipt(1), "sha256": "0f"}), RULE, "64 digits"),
    "a receipt with the person": case(with_receipts({**receipt(1), "identifikation": "x"}), RULE, "identifikation"),
    "a receipt of a rejected message": case(with_receipts(receipt(1, httpStatus=404)), RULE, "only a 2xx is delivery"),
    "receipts with times in UTC": case(
        with_receipts(receipt(1, sidsteForsoeg=datetime(2026, 3, 1, 12, tzinfo=UTC).isoformat())),
        RULE,
        "must be in Copenhagen's time zone",
    ),
    "the newest receipts first": case(with_receipts(receipt(2), receipt(1)), RULE, "oldest last attempt first"),
    "two receipts of a delivery": case(with_receipts(receipt(1), receipt(1)), RULE, "has two receipts"),
    "receipts of all events": case(with_receipts(receipt(1), receipt(2), without="beskedId"), FILTERS, "beskedId must"),
    "receipts from any time": case(with_receipts(receipt(1), receipt(2), without="fra"), FILTERS, "fra must exclude"),
    "receipts until any time": case(with_receipts(receipt(1), receipt(2), without="til"), FILTERS, "til must exclude"),
    "receipts of waiting messages": case(
        receipts_of_the_queue, "test_receipts.py::test_message_on_the_queue_has_no_receipt", "must have no receipt"
    ),
    "invalid times of receipts are ignored": case(
        without_parameter("fra"), "test_receipts.py::test_invalid_filter_is_refused", "expected 400"
    ),
    "invalid cursors of receipts are ignored": case(
        without_parameter("after"), "test_receipts.py::test_invalid_page_is_refused", "expected 400"
    ),
    "receipts of any system": case(
        any_system, "test_subscription_access.py::test_look_up_of_another_callers_system_is_refused", "expected 403"
    ),
}
