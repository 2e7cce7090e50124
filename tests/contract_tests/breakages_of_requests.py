"""Servers that break the contract of requests and were once not detected: addresses, faults and their form."""

import json
import re
from dataclasses import replace

from tests.contract_tests.breakages import MESSAGES, Case
from tests.contract_tests.breakages_of_messages import PARTY, build_problem
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse


async def replacement_character_refused(request: Request, forward: Forward) -> ServerResponse:
    """Treat U+FFFD as a sign of invalid UTF-8."""
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and "\ufffd" in str(body.get("message")):
        return await forward(request.with_json({**body, "message": ""}))
    return await forward(request)


async def form_feed_accepted(request: Request, forward: Forward) -> ServerResponse:
    body = request.body.replace(b"\\f", b" ").replace(b"\\u000c", b" ")
    return await forward(request if body == request.body else request.with_json(json.loads(body)))


async def uuids_of_rfc_9562(request: Request, forward: Forward) -> ServerResponse:
    party = request.path.removeprefix(PARTY)
    is_other = len(party) == 36 and re.match("[0-9a-f-]{14}[1-8]", party) is None
    return await forward(request.with_path(f"{PARTY}x".encode()) if is_other else request)


async def suffix_removed(request: Request, forward: Forward) -> ServerResponse:
    return await forward(request.with_path(request.raw_path.removesuffix(b".json")))


async def unknown_parameters_ignored(request: Request, forward: Forward) -> ServerResponse:
    is_ignored = request.method == "DELETE" or "/attachments/" in request.path
    return await forward(replace(request, query=b"") if is_ignored else request)


async def message_before_the_attachment_id(request: Request, forward: Forward) -> ServerResponse:
    """Look up the message before the attachment id is validated."""
    message, _, attachment = request.raw_path.partition(b"/attachments/")
    is_read = request.method == "GET" and bool(attachment)
    if is_read and (await forward(request.with_path(message))).status == 404:
        return await forward(request.with_path(message))
    return await forward(request)


async def fifty_faults_at_most(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status != 400 or len(value.get("violations", [])) <= 50:
        return response
    return response.with_json({**value, "violations": value["violations"][:50]})


async def unreadable_body_hides_the_query(request: Request, forward: Forward) -> ServerResponse:
    is_unreadable = request.path == MESSAGES and request.json() is None
    return await forward(replace(request, query=b"") if is_unreadable else request)


async def faults_before_scopes(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    is_faulty = request.path == MESSAGES and response.status == 403 and request.json() == {}
    return build_problem(response, 400, "Bad Request") if is_faulty else response


async def errors_repeat_request_ids(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    request_id = request.header("x-request-id")
    return response.with_header("x-request-id", request_id) if request_id and response.status >= 400 else response


async def errors_with_accepted_type(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    is_json = request.header("accept") == "application/json" and response.status >= 400
    return response.with_header("content-type", "application/json") if is_json else response


async def json_of_forms_in_latin_1(request: Request, forward: Forward) -> ServerResponse:
    head, blank, rest = request.body.partition(b"\r\n\r\n")
    body, end, files = rest.partition(b"\r\n--")
    if not head.startswith(b"--") or body.isascii():
        return await forward(request)
    changed = head + blank + body.decode("latin-1").encode() + end + files
    return await forward(replace(request.with_header("content-length", str(len(changed))), body=changed))


def downloads_cached() -> Breakage:
    """Cache downloads for ever."""
    downloads: dict[str, ServerResponse] = {}

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if "/attachments/" not in request.path:
            return response
        if response.status == 200:
            downloads[request.path] = response
        return downloads.get(request.path, response) if response.status == 404 else response

    return breakage


OF_REQUESTS = {
    "JSON of forms in Latin-1": Case(
        json_of_forms_in_latin_1,
        "web-messages",
        "test_web_message_form.py::test_json_of_a_form_is_decoded_as_utf_8",
        "json of a form is decoded as utf 8",
    ),
    "files are cached": Case(
        downloads_cached(),
        "web-messages",
        "test_web_message_deletion.py::test_deleted_message_is_not_returned",
        "deleted message is not returned",
    ),
    "U+FFFD is refused": Case(
        replacement_character_refused,
        "web-messages",
        "test_web_message_round_trip.py::test_text_is_returned_unchanged",
        "text is returned unchanged",
    ),
    "a form feed is accepted": Case(
        form_feed_accepted,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "invalid message field is reported",
    ),
    "UUIDs of RFC 9562": Case(
        uuids_of_rfc_9562,
        "web-messages",
        "test_web_message_addresses.py::test_uuid_may_be_of_any_version_and_variant",
        "any version and variant",
    ),
    "a suffix is removed": Case(
        suffix_removed,
        "web-messages",
        "test_web_message_addresses.py::test_id_that_is_not_a_uuid_is_refused",
        ".json",
    ),
    "unknown parameters are ignored": Case(
        unknown_parameters_ignored,
        "web-messages",
        "test_web_message_addresses.py::test_request_with_an_unknown_parameter_deletes_and_returns_nothing",
        "with an unknown parameter",
    ),
    "404 before a bad id": Case(
        message_before_the_attachment_id,
        "web-messages",
        "test_web_message_attachments.py::test_both_invalid_ids_of_an_attachment_are_reported",
        "invalid ids of an attachment",
    ),
    "50 faults at most": Case(
        fifty_faults_at_most,
        "web-messages",
        "test_web_message_many_faults.py::test_hundreds_of_faults_are_all_reported",
        "all 300 violations",
    ),
    "invalid JSON hides faults of the query": Case(
        unreadable_body_hides_the_query,
        "web-messages",
        "test_web_message_many_faults.py::test_faults_of_the_query_and_of_the_body_are_reported_together",
        "createWebMessage.verbose",
    ),
    "faults before scopes": Case(
        faults_before_scopes,
        "web-messages",
        "test_web_message_access.py::test_key_of_another_scope_gives_no_access",
        "expected 403",
    ),
    "errors repeat request ids": Case(
        errors_repeat_request_ids,
        "web-messages",
        "test_web_message_access.py::test_invalid_request_id_is_replaced_and_not_refused",
        "expected a new x-request-id",
    ),
    "errors have the accepted media type": Case(
        errors_with_accepted_type,
        "web-messages",
        "test_web_message_access.py::test_error_is_a_problem_for_any_accept_header",
        "for any accept header",
    ),
}
