"""Servers that break the contract of web messages and were once not detected: careless changes and other frameworks."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.contract_tests.breakages import MESSAGES, Case
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

PARTY = "/webmessages/recipients/"
ONE_MESSAGE = re.compile("/webmessages/[0-9a-f-]{36}")
CASE, LARGEST_CASE = "flowInstanceId", "2147483647"


def with_messages(change: Callable[[dict[str, Any], Request], dict[str, Any]]) -> Breakage:
    """Change each message of a list."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        value = response.json()
        if request.method != "GET" or not isinstance(value, list):
            return response
        return response.with_json([change(message, request) for message in value])

    return breakage


def with_references(change: Callable[[str, str], tuple[str, str]]) -> Breakage:
    """Change key and value of each reference in a request."""

    def changed(item: Any) -> Any:
        if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in ("key", "value")):
            return item
        key, value = change(item["key"], item["value"])
        return {**item, "key": key, "value": value}

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        body = request.json()
        pairs = body.get("externalReferences") if isinstance(body, dict) else None
        if request.path == MESSAGES and isinstance(pairs, list) and pairs != [changed(item) for item in pairs]:
            request = request.with_json({**body, "externalReferences": [changed(item) for item in pairs]})
        return await forward(request)

    return breakage


def build_problem(response: ServerResponse, status: int, phrase: str) -> ServerResponse:
    """Return a problem instead of the response."""
    value = {"title": phrase, "status": {"statusCode": status, "reasonPhrase": phrase}}
    return replace(response.with_json(value).with_header("content-type", "application/problem+json"), status=status)


def names_case(request: Request, number: str | None = None) -> bool:
    """Return whether a message names a case, optionally that case."""
    body = request.json() if request.path == MESSAGES else None
    pairs = body.get("externalReferences") if isinstance(body, dict) else None
    named = [item.get("value") for item in pairs if item.get("key") == CASE] if _is_list_of_objects(pairs) else []
    return bool(named) if number is None else number in named


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def keep_matching_references(message: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return only the matching reference of each message, as a filtering join does."""
    found = [item for item in message["externalReferences"] if request.path.endswith(f"/{item['key']}/{item['value']}")]
    return {**message, "externalReferences": found or message["externalReferences"]}


def remove_sender(message: dict[str, Any], _: Request) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "sender"}


def fold_key_as_java(key: str, value: str) -> tuple[str, str]:
    return ("flowInstanceId" if key.upper() == "FLOWINSTANCEID" else key), value


def empty_values_outside_xml(key: str, value: str) -> tuple[str, str]:
    return (key, "" if "\x1f" in value else value)


async def one_mib_at_most(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return build_problem(response, 413, "Content Too Large") if len(request.body) > 2**20 else response


async def fifty_at_most(request: Request, forward: Forward) -> ServerResponse:
    return await forward(replace(request, query=re.sub(b"limit=1(000|[0-9]{2})(?![0-9])", b"limit=50", request.query)))


async def hundred_without_a_limit(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    return response.with_json(value[:100]) if isinstance(value, list) and not request.query else response


async def created_in_another_zone(request: Request, forward: Forward) -> ServerResponse:
    """Return the time of a clock that is an hour ahead, declared as UTC."""
    response = await forward(request)
    created = rb'("created": ?"[0-9-]+T)([0-9]{2})'
    return response.with_body(re.sub(created, lambda m: m[1] + b"%02d" % ((int(m[2]) + 1) % 24), response.body))


async def created_in_seconds(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if not ONE_MESSAGE.fullmatch(request.path) or response.status != 200 or "partyId" in value:
        return response
    return response.with_json({**value, "created": f"{value['created'][:20]}000{value['created'][23:]}"})


def later_pages_of_others() -> Breakage:
    """Return later pages for the party that was written to last, instead of the requested one."""
    last = ""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        nonlocal last
        body = request.json()
        if request.path == MESSAGES and isinstance(body, dict) and isinstance(body.get("partyId"), str):
            last = body["partyId"]
        if last and request.path.startswith(PARTY) and b"after=" in request.query and b"limit=1&" in request.query:
            return await forward(request.with_path((PARTY + last).encode()))
        return await forward(request)

    return breakage


def published_message_undeletable() -> Breakage:
    """Refuse to delete published messages."""
    published: set[str] = set()

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        if request.method == "DELETE" and request.path in published:
            return build_problem(await forward(replace(request, method="GET")), 404, "Not Found")
        response = await forward(request)
        if names_case(request) and response.status == 201:
            published.add(response.header("location") or "")
        return response

    return breakage


async def envelope_from_pieces(request: Request, forward: Forward) -> ServerResponse:
    """Build the SOAP envelope by concatenation, so that markup in a text breaks it."""
    response = await forward(request)
    is_broken = names_case(request) and response.status == 201 and b"<" in request.body
    return build_problem(response.without("location"), 500, "Internal Server Error") if is_broken else response


async def refused_by_open_e_and_stored(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    is_refused = names_case(request, LARGEST_CASE) and response.status == 201
    return build_problem(response.without("location"), 404, "Not Found") if is_refused else response


def text_of_concurrent_message() -> Breakage:
    """Store request data in a variable that all requests share."""
    last: Any = None

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        nonlocal last
        body = request.json()
        if request.path != MESSAGES or not isinstance(body, dict) or not isinstance(body.get("message"), str):
            return await forward(request)
        last = body["message"]
        # Let other requests run, as they would during a wait.
        await asyncio.sleep(0.01)
        is_other = last != body["message"] and body["message"].startswith("Message ")
        return await forward(request.with_json({**body, "message": last}) if is_other else request)

    return breakage


def concurrent_deletions_succeed() -> Breakage:
    """Check for existence first, and delete later."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        if request.method != "DELETE":
            return await forward(request)
        was_there = (await forward(replace(request, method="GET"))).status == 200
        await asyncio.sleep(0.01)
        response = await forward(request)
        if not was_there or response.status != 404:
            return response
        headers = [pair for pair in response.headers if pair[0] == b"x-request-id"]
        return ServerResponse(204, headers, b"")

    return breakage


OF_MESSAGES = {
    "1 MiB at most": Case(
        one_mib_at_most,
        "web-messages",
        "test_web_message_attachments.py::test_file_of_more_than_1_mib_is_returned_unchanged",
        "more than 1 mib",
    ),
    "50 in a page at most": Case(
        fifty_at_most,
        "web-messages",
        "test_web_message_together.py::test_list_of_more_than_100_messages_is_complete",
        "pages with limit 1000 must have",
    ),
    "100 without a limit": Case(
        hundred_without_a_limit,
        "web-messages",
        "test_web_message_together.py::test_list_of_more_than_100_messages_is_complete",
        "without a limit all",
    ),
    "created in another time zone": Case(
        created_in_another_zone,
        "web-messages",
        "test_web_message_round_trip.py::test_created_is_close_to_the_date_of_the_response",
        "but the Date of the response",
    ),
    "created in whole seconds": Case(
        created_in_seconds,
        "web-messages",
        "test_web_message_round_trip.py::test_created_is_close_to_the_date_of_the_response",
        "not only whole seconds",
    ),
    "later pages contain other messages": Case(
        later_pages_of_others(),
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_no_other_messages",
        "on the pages, but got",
    ),
    "lists omit non-matching references": Case(
        with_messages(keep_matching_references),
        "web-messages",
        "test_web_message_lists.py::test_list_has_the_same_content_as_get",
        "the same content as GET by id",
    ),
    "lists omit the sender": Case(
        with_messages(remove_sender),
        "web-messages",
        "test_web_message_lists.py::test_list_has_the_same_content_as_get",
        "the same content as GET by id",
    ),
    "a key is case-folded as in Java": Case(
        with_references(fold_key_as_java),
        "web-messages",
        "test_web_message_references.py::test_key_that_resembles_flow_instance_id_is_an_ordinary_key",
        "resembles flow instance id",
    ),
    "values with characters outside XML are emptied": Case(
        with_references(empty_values_outside_xml),
        "web-messages",
        "test_web_message_references.py::test_reference_may_contain_any_character_but_nul",
        "any character but nul",
    ),
    "published messages are not deleted": Case(
        published_message_undeletable(),
        "web-messages",
        "test_web_message_references.py::test_message_on_a_case_can_be_deleted",
        "case can be deleted",
    ),
    "SOAP from pieces": Case(
        envelope_from_pieces,
        "web-messages",
        "test_web_message_references.py::test_message_on_a_case_is_published_and_readable",
        "expected 201, but the response to POST /webmessages",
    ),
    "refused by Open-E and stored": Case(
        refused_by_open_e_and_stored,
        "web-messages",
        "test_web_message_references.py::test_message_that_open_e_rejects_is_not_stored",
        "only a created message may be readable",
    ),
    "the text of a concurrent message": Case(
        text_of_concurrent_message(),
        "web-messages",
        "test_web_message_together.py::test_concurrent_messages_are_stored_separately",
        "concurrent messages are stored separately",
    ),
    "concurrent deletions all succeed": Case(
        concurrent_deletions_succeed(),
        "web-messages",
        "test_web_message_together.py::test_concurrent_deletions_delete_once",
        "concurrent deletions exactly one must succeed",
    ),
}
