"""Servers that break the contract of lists, replays and test messages, each once not detected."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from tests.contract_tests.breakages import Case
from tests.contract_tests.breakages_of_events import build_error
from tests.contract_tests.breakages_of_systems import LIST, REPLAY, TEST, JSONObject, build_identity, fetch_current
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

MISSING = build_error(150105, "Systemet har intet abonnement med den angivne orgType, orgCode og entityType")


async def pages_by_number(request: Request, forward: Forward) -> ServerResponse:
    """Use the number of preceding items as the cursor."""
    query = {name: values[0] for name, values in parse_qs(request.query.decode("latin-1")).items()}
    limit, after = query.get("limit", "1000"), query.get("after", "0" * 16)
    whole = f"systemIdentifier={query.get('systemIdentifier')}"
    if request.path != LIST or set(query) - {"systemIdentifier", "limit", "after"} or not limit.isdecimal():
        return await forward(request)
    response = await forward(request)
    if response.status != 200:
        return response
    items = (await forward(replace(request, query=whole.encode()))).json()["beskeder"]
    begin = int(after, 16)
    end = begin + int(limit)
    link = f'<{LIST}?{whole}&limit={limit}&after={end:016x}>; rel="next"'
    page = response.with_json({"beskeder": items[begin:end]}).without("link")
    return page.with_header("link", link) if end < len(items) else page


async def reason_is_missing(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if request.path != REPLAY or response.status != 200:
        return response
    value = response.json()
    return response.with_json(value | {"ikkeGenfremsendte": value["ikkeGenfremsendte"][1:]})


async def no_test_after_the_end(request: Request, forward: Forward) -> ServerResponse:
    body = request.json()
    if request.path != TEST or not isinstance(body, dict):
        return await forward(request)
    ends = {build_identity(entry): entry["slutDato"] for entry in await fetch_current(request, forward)}
    end = ends.get(build_identity(body))
    response = await forward(request)
    has_ended = end is not None and datetime.fromisoformat(end) < datetime.now(UTC)
    return replace(response.with_json(MISSING), status=404) if has_ended and response.status == 202 else response


def with_items(change: Callable[[JSONObject], JSONObject]) -> Breakage:
    """Change each item of the list of deliveries."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if request.path != LIST or response.status != 200:
            return response
        return response.with_json({"beskeder": [change(item) for item in response.json()["beskeder"]]})

    return breakage


def reason_before_the_first_attempt(item: JSONObject) -> JSONObject:
    return {**item, "aarsag": item["aarsag"] or "connect"}


def times_in_utc(item: JSONObject) -> JSONObject:
    """Return the digits of UTC with the offset of Copenhagen."""
    moment = datetime.fromisoformat(item["oprettet"]).astimezone(UTC)
    return {**item, "oprettet": moment.replace(tzinfo=ZoneInfo("Europe/Copenhagen")).isoformat()}


async def request_id_of_a_conflict_lost(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return response.without("x-requestid") if response.status == 409 else response


OF_DELIVERIES = {
    "a conflict without a request id": Case(
        request_id_of_a_conflict_lost,
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "every response must have the header x-requestId",
    ),
    "pages by number": Case(
        pages_by_number,
        "subscriptions",
        "test_delivery_survival.py::test_cursor_remains_valid_when_deliveries_are_removed",
        "must remain valid when messages are removed",
    ),
    "a reason is missing": Case(
        reason_is_missing,
        "subscriptions",
        "test_delivery_replays.py::test_unknown_ids_are_reported_once_in_request_order",
        "each id that was not replayed must have a reason",
    ),
    "no test message after the end date": Case(
        no_test_after_the_end,
        "subscriptions",
        "test_delivery_replays.py::test_test_message_is_delivered_to_a_subscription_that_has_ended",
        "to a subscription that has ended",
    ),
    "a reason before the first attempt": Case(
        with_items(reason_before_the_first_attempt),
        "subscriptions",
        "test_delivery_lists.py::test_list_of_deliveries_has_no_content",
        "a message without attempts must have no response",
    ),
    "times in UTC": Case(
        with_items(times_in_utc),
        "subscriptions",
        "test_delivery_lists.py::test_list_of_deliveries_has_no_content",
        "oprettet must be close to the Date",
    ),
}
