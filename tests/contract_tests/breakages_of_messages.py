"""Servers that break the contract of web messages and were once not detected: careless changes and other frameworks."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.contract_tests.breakages import MESSAGES, Case
from tests.contract_tests.broken import Answer, Breakage, Forward, Request

PARTY = "/webmessages/recipients/"
ONE_MESSAGE = re.compile("/webmessages/[0-9a-f-]{36}")
CASE, LARGEST_CASE = "flowInstanceId", "2147483647"


def with_messages(change: Callable[[dict[str, Any], Request], dict[str, Any]]) -> Breakage:
    """Change each message of a list."""

    async def breakage(request: Request, forward: Forward) -> Answer:
        answer = await forward(request)
        value = answer.json()
        if request.method != "GET" or not isinstance(value, list):
            return answer
        return answer.with_json([change(message, request) for message in value])

    return breakage


def with_references(change: Callable[[str, str], tuple[str, str]]) -> Breakage:
    """Change key and value of each reference in a request."""

    def changed(item: Any) -> Any:
        if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in ("key", "value")):
            return item
        key, value = change(item["key"], item["value"])
        return {**item, "key": key, "value": value}

    async def breakage(request: Request, forward: Forward) -> Answer:
        body = request.json()
        given = body.get("externalReferences") if isinstance(body, dict) else None
        if request.path == MESSAGES and isinstance(given, list) and given != [changed(item) for item in given]:
            request = request.with_json({**body, "externalReferences": [changed(item) for item in given]})
        return await forward(request)

    return breakage


def problem(answer: Answer, status: int, phrase: str) -> Answer:
    """Return a problem instead of the response."""
    value = {"title": phrase, "status": {"statusCode": status, "reasonPhrase": phrase}}
    return replace(answer.with_json(value).with_header("content-type", "application/problem+json"), status=status)


def names_case(request: Request, number: str | None = None) -> bool:
    """Return whether a message names a case, optionally that case."""
    body = request.json() if request.path == MESSAGES else None
    given = body.get("externalReferences") if isinstance(body, dict) else None
    named = [item.get("value") for item in given if item.get("key") == CASE] if _is_list_of_objects(given) else []
    return bool(named) if number is None else number in named


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def only_the_matching_reference(message: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return only the matching reference of each message, as a filtering join does."""
    found = [item for item in message["externalReferences"] if request.path.endswith(f"/{item['key']}/{item['value']}")]
    return {**message, "externalReferences": found or message["externalReferences"]}


def without_sender(message: dict[str, Any], _: Request) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "sender"}


def folded_as_java_does(key: str, value: str) -> tuple[str, str]:
    return ("flowInstanceId" if key.upper() == "FLOWINSTANCEID" else key), value


def no_xml_no_reference(key: str, value: str) -> tuple[str, str]:
    return (key, "" if "\x1f" in value else value)


async def one_mib_at_most(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    return problem(answer, 413, "Content Too Large") if len(request.body) > 2**20 else answer


async def fifty_at_most(request: Request, forward: Forward) -> Answer:
    return await forward(replace(request, query=re.sub(b"limit=1(000|[0-9]{2})(?![0-9])", b"limit=50", request.query)))


async def hundred_without_a_limit(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    return answer.with_json(value[:100]) if isinstance(value, list) and not request.query else answer


async def created_in_another_zone(request: Request, forward: Forward) -> Answer:
    """Return the time of a clock that is an hour ahead, declared as UTC."""
    answer = await forward(request)
    created = rb'("created": ?"[0-9-]+T)([0-9]{2})'
    return answer.with_body(re.sub(created, lambda m: m[1] + b"%02d" % ((int(m[2]) + 1) % 24), answer.body))


async def created_in_seconds(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if not ONE_MESSAGE.fullmatch(request.path) or answer.status != 200 or "partyId" in value:
        return answer
    return answer.with_json({**value, "created": f"{value['created'][:20]}000{value['created'][23:]}"})


def later_pages_of_others() -> Breakage:
    """Return later pages for the party that was written to last, instead of the requested one."""
    last = ""

    async def breakage(request: Request, forward: Forward) -> Answer:
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

    async def breakage(request: Request, forward: Forward) -> Answer:
        if request.method == "DELETE" and request.path in published:
            return problem(await forward(replace(request, method="GET")), 404, "Not Found")
        answer = await forward(request)
        if names_case(request) and answer.status == 201:
            published.add(answer.header("location") or "")
        return answer

    return breakage


async def envelope_from_pieces(request: Request, forward: Forward) -> Answer:
    """Build the SOAP envelope by concatenation, so that markup in a text breaks it."""
    answer = await forward(request)
    is_broken = names_case(request) and answer.status == 201 and b"<" in request.body
    return problem(answer.without("location"), 500, "Internal Server Error") if is_broken else answer


async def refused_by_open_e_and_stored(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    is_refused = names_case(request, LARGEST_CASE) and answer.status == 201
    return problem(answer.without("location"), 404, "Not Found") if is_refused else answer


def text_of_another() -> Breakage:
    """Store request data in a variable that all requests share."""
    last: Any = None

    async def breakage(request: Request, forward: Forward) -> Answer:
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

    async def breakage(request: Request, forward: Forward) -> Answer:
        if request.method != "DELETE":
            return await forward(request)
        was_there = (await forward(replace(request, method="GET"))).status == 200
        await asyncio.sleep(0.01)
        answer = await forward(request)
        if not was_there or answer.status != 404:
            return answer
        kept = [pair for pair in answer.headers if pair[0] == b"x-request-id"]
        return Answer(204, kept, b"")

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
    "created in another zone": Case(
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
    "later pages of others": Case(
        later_pages_of_others(),
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_no_other_messages",
        "on the pages, but got",
    ),
    "lists join and filter": Case(
        with_messages(only_the_matching_reference),
        "web-messages",
        "test_web_message_lists.py::test_list_has_the_same_content_as_get",
        "the same content as GET by id",
    ),
    "lists forget the sender": Case(
        with_messages(without_sender),
        "web-messages",
        "test_web_message_lists.py::test_list_has_the_same_content_as_get",
        "the same content as GET by id",
    ),
    "a key folded as Java does": Case(
        with_references(folded_as_java_does),
        "web-messages",
        "test_web_message_references.py::test_key_that_resembles_flow_instance_id_is_an_ordinary_key",
        "resembles flow instance id",
    ),
    "no XML, no reference": Case(
        with_references(no_xml_no_reference),
        "web-messages",
        "test_web_message_references.py::test_reference_may_contain_any_character_but_nul",
        "any character but nul",
    ),
    "what is published stays": Case(
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
    "the text of another": Case(
        text_of_another(),
        "web-messages",
        "test_web_message_together.py::test_concurrent_messages_are_stored_separately",
        "concurrent messages are stored separately",
    ),
    "deleted by each at once": Case(
        concurrent_deletions_succeed(),
        "web-messages",
        "test_web_message_together.py::test_concurrent_deletions_delete_once",
        "concurrent deletions exactly one must succeed",
    ),
}
