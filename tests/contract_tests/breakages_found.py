"""More servers that break the contract and were once not detected: default behaviour of other frameworks."""

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unicodedata import normalize
from urllib.parse import parse_qs

from tests.contract_tests.breakages import EVENT, MESSAGES, SYNC, Case
from tests.contract_tests.broken import Answer, Breakage, Forward, Request

UTF_16_LIMITS = {"key": 128, "value": 128, "userId": 255, "fileName": 255}


def with_texts(change: Callable[[str, str], str]) -> Breakage:
    """Change each text of a message, by the name of its property."""

    def changed(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: changed(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner, name) for inner in value]
        return change(name, value) if isinstance(value, str) else value

    async def breakage(request: Request, forward: Forward) -> Answer:
        body = request.json()
        is_changed = request.path == MESSAGES and changed(body) != body
        return await forward(request.with_json(changed(body)) if is_changed else request)

    return breakage


def too_long_in_utf_16(name: str, text: str) -> str:
    """Count lengths as Java and .NET do."""
    limit = UTF_16_LIMITS.get(name)
    return "x" * (limit + 1) if limit and len(text) <= limit < len(text.encode("utf-16-le")) // 2 else text


def composed_name(name: str, text: str) -> str:
    return normalize("NFC", text) if name == "fileName" else text


async def instance_by_its_place(request: Request, forward: Forward) -> Answer:
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and str(body.get("oepInstance")) in {"0", "1"}:
        request = request.with_json({**body, "oepInstance": ["internal", "external"][int(body["oepInstance"])]})
    return await forward(request)


async def one_for_a_list(request: Request, forward: Forward) -> Answer:
    body = request.json()
    given = body.get("externalReferences") if isinstance(body, dict) else None
    if request.path == MESSAGES and isinstance(given, dict) and given:
        request = request.with_json({**body, "externalReferences": [given]})
    return await forward(request)


async def plus_is_a_blank(request: Request, forward: Forward) -> Answer:
    return await forward(request.with_path(request.raw_path.replace(b"+", b"%20")))


async def key_in_the_query(request: Request, forward: Forward) -> Answer:
    key = parse_qs(request.query.decode("latin-1")).get("apikey")
    if key and request.header("apikey") is None:
        request = replace(request.with_header("apikey", key[0]), query=b"")
    return await forward(request)


async def gzip_unasked(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    if len(answer.body) < 1000:
        return answer
    return answer.with_body(gzip.compress(answer.body)).with_header("content-encoding", "gzip")


async def reason_of_its_own(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if answer.status < 400 or "status" not in (value or {}):
        return answer
    return answer.with_json({**value, "status": {**value["status"], "reasonPhrase": "Error"}})


async def attachments_in_upper_case(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if not isinstance(value, dict) or "attachments" not in value:
        return answer
    changed = [{**file, "id": file["id"].upper()} for file in value["attachments"]]
    return answer.with_json({**value, "attachments": changed})


async def last_parameter_counts(request: Request, forward: Forward) -> Answer:
    given = {item.partition(b"=")[0]: item for item in request.query.split(b"&")}
    return await forward(replace(request, query=b"&".join(given.values())))


async def any_certificate(request: Request, forward: Forward) -> Answer:
    """Accept any certificate, and identify the caller only if it is known."""
    answer = await forward(request)
    is_one = request.method == "GET" and request.path == "/v1/abonnement" and request.header("client-cert")
    if answer.status != 401 or not is_one:
        return answer
    value = {"systemIdentifier": parse_qs(request.query.decode())["systemIdentifier"][0], "abonnementer": []}
    return replace(answer.without("www-authenticate").with_json(value), status=200)


async def largest_number_refused(request: Request, forward: Forward) -> Answer:
    body = request.json()
    if request.path == SYNC and isinstance(body, dict) and isinstance(body.get("abonnementer"), list):
        is_largest = [isinstance(entry, dict) and entry.get("orgType") == 2**31 - 1 for entry in body["abonnementer"]]
        changed = [
            {**entry, "orgType": 2**31} if largest else entry
            for entry, largest in zip(body["abonnementer"], is_largest, strict=True)
        ]
        request = request.with_json({**body, "abonnementer": changed}) if any(is_largest) else request
    return await forward(request)


async def link_forgets_its_filter(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    link = answer.header("link")
    return answer if link is None else answer.with_header("link", re.sub("status=[a-z]+&?", "", link))


async def null_of_an_event_is_nothing(request: Request, forward: Forward) -> Answer:
    body = request.json()
    if request.path == EVENT and isinstance(body, dict) and isinstance(body.get("body"), dict):
        kept = {name: value for name, value in body["body"].items() if value is not None}
        request = request.with_json({**body, "body": kept}) if kept != body["body"] else request
    return await forward(request)


async def no_subscriptions_can_be_read(request: Request, forward: Forward) -> Answer:
    """Return an unusable response before all checks."""
    answer = await forward(request)
    return replace(answer, status=500) if request.path == "/v1/abonnement" else answer


async def set_that_is_no_json(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    return answer.with_body(b"<html>") if request.path == "/v1/abonnement" else answer


FOUND = {
    "lengths in UTF-16": Case(
        with_texts(too_long_in_utf_16),
        "web-messages",
        "test_web_message_attachments.py::test_lengths_are_counted_in_characters",
        "lengths are counted in characters",
    ),
    "file names are composed": Case(
        with_texts(composed_name),
        "web-messages",
        "test_web_message_round_trip.py::test_text_is_returned_unchanged",
        "expected the file name",
    ),
    "an instance by its place": Case(
        instance_by_its_place,
        "web-messages",
        "test_web_message_faults.py::test_instance_must_be_a_name",
        "instance",
    ),
    "one reference for a list": Case(
        one_for_a_list,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "one reference for a list",
    ),
    "a plus is a blank": Case(
        plus_is_a_blank,
        "web-messages",
        "test_web_message_lists.py::test_characters_that_need_no_encoding_are_literal",
        "need no encoding are literal",
    ),
    "the key in the query": Case(
        key_in_the_query,
        "web-messages",
        "test_web_message_access.py::test_only_the_exact_key_in_its_header_gives_access",
        "only the exact key in its header",
    ),
    "gzip unasked": Case(
        gzip_unasked,
        "web-messages",
        "test_web_message_access.py::test_response_is_not_compressed_unless_accepted",
        "accepts only identity",
    ),
    "a reason of its own": Case(
        reason_of_its_own,
        "web-messages",
        "test_web_message_access.py::test_access_requires_a_known_key",
        "reasonPhrase must be",
    ),
    "attachments in upper case": Case(
        attachments_in_upper_case,
        "web-messages",
        "test_web_message_attachments.py::test_attachment_is_found_by_ids_in_any_case",
        "returned in lower case",
    ),
    "the last parameter counts": Case(
        last_parameter_counts,
        "web-messages",
        "test_web_message_addresses.py::test_limit_outside_1_to_1000_is_refused",
        "limit outside 1 to 1000",
    ),
    "any certificate": Case(
        any_certificate,
        "subscriptions",
        "test_subscription_access.py::test_invalid_certificate_gives_no_access",
        "invalid certificate gives no access",
    ),
    "the largest number is refused": Case(
        largest_number_refused,
        "subscriptions",
        "test_subscription_faults.py::test_numbers_at_the_limits_pass_the_schema",
        "orgType 2147483647 must be valid",
    ),
    "the next page forgets its filter": Case(
        link_forgets_its_filter,
        "subscriptions",
        "test_delivery_lists.py::test_status_filters_the_list",
        "the Link must keep",
    ),
    "null is nothing in an event": Case(
        null_of_an_event_is_nothing,
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "is a conflict",
    ),
    "500 before all checks": Case(no_subscriptions_can_be_read, "subscriptions", None, "cannot be read: 500"),
    "no JSON before all checks": Case(set_that_is_no_json, "subscriptions", None, "not JSON in UTF-8"),
}
