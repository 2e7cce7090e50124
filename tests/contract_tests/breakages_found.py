"""More servers that break the contract and were once not detected: default behaviour of other frameworks."""

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unicodedata import normalize
from urllib.parse import parse_qs

from tests.contract_tests.breakages import EVENT, MESSAGES, SYNC, Case
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

UTF_16_LIMITS = {"key": 128, "value": 128, "userId": 255, "fileName": 255}


def with_texts(change: Callable[[str, str], str]) -> Breakage:
    """Change each text of a message, by the name of its property."""

    def changed(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: changed(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [changed(inner, name) for inner in value]
        return change(name, value) if isinstance(value, str) else value

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
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


async def instance_by_index(request: Request, forward: Forward) -> ServerResponse:
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and str(body.get("oepInstance")) in {"0", "1"}:
        request = request.with_json({**body, "oepInstance": ["internal", "external"][int(body["oepInstance"])]})
    return await forward(request)


async def one_instead_of_a_list(request: Request, forward: Forward) -> ServerResponse:
    body = request.json()
    given = body.get("externalReferences") if isinstance(body, dict) else None
    if request.path == MESSAGES and isinstance(given, dict) and given:
        request = request.with_json({**body, "externalReferences": [given]})
    return await forward(request)


async def plus_decoded_as_blank(request: Request, forward: Forward) -> ServerResponse:
    return await forward(request.with_path(request.raw_path.replace(b"+", b"%20")))


async def key_in_the_query(request: Request, forward: Forward) -> ServerResponse:
    key = parse_qs(request.query.decode("latin-1")).get("apikey")
    if key and request.header("apikey") is None:
        request = replace(request.with_header("apikey", key[0]), query=b"")
    return await forward(request)


async def gzip_without_accept_encoding(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if len(response.body) < 1000:
        return response
    return response.with_body(gzip.compress(response.body)).with_header("content-encoding", "gzip")


async def other_reason_phrase(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status < 400 or "status" not in (value or {}):
        return response
    return response.with_json({**value, "status": {**value["status"], "reasonPhrase": "Error"}})


async def attachments_in_upper_case(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if not isinstance(value, dict) or "attachments" not in value:
        return response
    changed = [{**file, "id": file["id"].upper()} for file in value["attachments"]]
    return response.with_json({**value, "attachments": changed})


async def last_repeated_parameter_used(request: Request, forward: Forward) -> ServerResponse:
    given = {item.partition(b"=")[0]: item for item in request.query.split(b"&")}
    return await forward(replace(request, query=b"&".join(given.values())))


async def any_certificate(request: Request, forward: Forward) -> ServerResponse:
    """Accept any certificate, and identify the caller only if it is known."""
    response = await forward(request)
    is_one = request.method == "GET" and request.path == "/v1/abonnement" and request.header("client-cert")
    if response.status != 401 or not is_one:
        return response
    value = {"systemIdentifier": parse_qs(request.query.decode())["systemIdentifier"][0], "abonnementer": []}
    return replace(response.without("www-authenticate").with_json(value), status=200)


async def largest_number_refused(request: Request, forward: Forward) -> ServerResponse:
    body = request.json()
    if request.path == SYNC and isinstance(body, dict) and isinstance(body.get("abonnementer"), list):
        is_largest = [isinstance(entry, dict) and entry.get("orgType") == 2**31 - 1 for entry in body["abonnementer"]]
        changed = [
            {**entry, "orgType": 2**31} if largest else entry
            for entry, largest in zip(body["abonnementer"], is_largest, strict=True)
        ]
        request = request.with_json({**body, "abonnementer": changed}) if any(is_largest) else request
    return await forward(request)


async def next_page_without_filter(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    link = response.header("link")
    return response if link is None else response.with_header("link", re.sub("status=[a-z]+&?", "", link))


async def null_of_an_event_dropped(request: Request, forward: Forward) -> ServerResponse:
    body = request.json()
    if request.path == EVENT and isinstance(body, dict) and isinstance(body.get("body"), dict):
        without_null = {name: value for name, value in body["body"].items() if value is not None}
        request = request.with_json({**body, "body": without_null}) if without_null != body["body"] else request
    return await forward(request)


async def no_subscriptions_can_be_read(request: Request, forward: Forward) -> ServerResponse:
    """Return an unusable response before all checks."""
    response = await forward(request)
    return replace(response, status=500) if request.path == "/v1/abonnement" else response


async def set_that_is_not_json(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return response.with_body(b"<html>") if request.path == "/v1/abonnement" else response


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
    "an instance by its index": Case(
        instance_by_index,
        "web-messages",
        "test_web_message_faults.py::test_instance_must_be_a_name",
        "instance",
    ),
    "one reference instead of a list": Case(
        one_instead_of_a_list,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "one reference for a list",
    ),
    "a plus is decoded as a blank": Case(
        plus_decoded_as_blank,
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
    "gzip without Accept-Encoding": Case(
        gzip_without_accept_encoding,
        "web-messages",
        "test_web_message_access.py::test_response_is_not_compressed_unless_accepted",
        "accepts only identity",
    ),
    "another reason phrase": Case(
        other_reason_phrase,
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
    "the last of repeated parameters is used": Case(
        last_repeated_parameter_used,
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
    "the next page omits the filter": Case(
        next_page_without_filter,
        "subscriptions",
        "test_delivery_lists.py::test_status_filters_the_list",
        "the Link must keep",
    ),
    "null properties of an event are dropped": Case(
        null_of_an_event_dropped,
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "is a conflict",
    ),
    "500 before all checks": Case(no_subscriptions_can_be_read, "subscriptions", None, "cannot be read: 500"),
    "no JSON before all checks": Case(set_that_is_not_json, "subscriptions", None, "not JSON in UTF-8"),
}
