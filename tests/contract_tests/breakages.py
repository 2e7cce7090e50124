"""Servers that break the contract, each in one way that `contract-check` must detect."""

from dataclasses import dataclass, replace
from typing import Any

from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

MESSAGES, SYNC, EVENT = "/webmessages", "/v1/abonnement/sync", "/v1/besked"


@dataclass(frozen=True)
class Case:
    """A breakage, the broken contract, and the only check that must report it in these words.

    The check is None if the preparation must report it; otherwise it has the form of an item of `Check.only`. `token`
    has the scopes of the token that is given to the check; without scopes the server accepts tokens, but gets none.
    """

    breakage: Breakage
    spec: str
    check: str | None
    words: str
    suite: str = "rules"
    profile: str = "quick"
    token: tuple[str, ...] | None = None


async def no_location(request: Request, forward: Forward) -> ServerResponse:
    return (await forward(request)).without("location")


async def wrong_status(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return replace(response, status=200) if response.status == 201 else response


async def lost_violation(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status != 400 or len(value.get("violations", [])) < 2:
        return response
    return response.with_json({**value, "violations": value["violations"][:-1]})


async def lost_error(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status != 400 or len(value.get("errors", [])) < 2:
        return response
    return response.with_json({"errors": value["errors"][:-1]})


async def half_applied_sync(request: Request, forward: Forward) -> ServerResponse:
    """Store the valid entries of a rejected set."""
    response = await forward(request)
    body = request.json()
    if request.path == SYNC and response.status == 400 and b"true" not in request.query.lower():
        bad = {error["index"] for error in response.json()["errors"]}
        if None not in bad:
            good = [entry for index, entry in enumerate(body["abonnementer"]) if index not in bad]
            await forward(request.with_json({**body, "abonnementer": good}))
    return response


async def unknown_properties_accepted(request: Request, forward: Forward) -> ServerResponse:
    """Skip a validation."""
    body = request.json()
    if request.path != MESSAGES or not isinstance(body, dict):
        return await forward(request)
    known = {"message", "externalReferences", "partyId", "sender", "oepInstance", "attachments"}
    return await forward(request.with_json({name: value for name, value in body.items() if name in known}))


async def second_case_accepted(request: Request, forward: Forward) -> ServerResponse:
    """Skip a rule that no schema expresses."""
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and isinstance(body.get("externalReferences"), list):
        pairs: list[Any] = []
        for reference in body["externalReferences"]:
            is_case = isinstance(reference, dict) and str(reference.get("key")).lower() == "flowinstanceid"
            if not is_case or not any(str(other.get("key")).lower() == "flowinstanceid" for other in pairs):
                pairs.append(reference)
        if all(isinstance(reference, dict) for reference in pairs) and len(pairs) < len(body["externalReferences"]):
            request = request.with_json({**body, "externalReferences": pairs})
    return await forward(request)


async def unchanged_reported_as_updated(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if request.path != SYNC or response.status != 200:
        return response
    value = response.json()
    return response.with_json({**value, "opdateret": value["opdateret"] + value["uaendret"], "uaendret": 0})


async def dry_run_changes_data(request: Request, forward: Forward) -> ServerResponse:
    is_dry = request.path == SYNC and request.query == b"dryRun=true"
    return await forward(replace(request, query=b"") if is_dry else request)


async def list_reversed(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    return response.with_json(value[::-1]) if isinstance(value, list) else response


async def no_next_page(request: Request, forward: Forward) -> ServerResponse:
    return (await forward(request)).without("link")


async def next_page_without_limit(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    link = response.header("link")
    return response if link is None else response.with_header("link", link.replace("limit=", "limit=1000&was="))


async def next_page_without_first_item(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    is_later = b"after=" in request.query and isinstance(value, list)
    return response.with_json(value[1:]) if is_later else response


async def attachments_reversed(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status != 200 or not isinstance(value, dict) or "attachments" not in value:
        return response
    return response.with_json({**value, "attachments": value["attachments"][::-1]})


async def null_for_absent_properties(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status != 200 or not isinstance(value, dict) or "message" not in value:
        return response
    return response.with_json({"partyId": None, "sender": None, **value})


async def nothing_is_deleted(request: Request, forward: Forward) -> ServerResponse:
    if request.method != "DELETE":
        return await forward(request)
    response = await forward(replace(request, method="GET"))
    return (
        ServerResponse(204, [pair for pair in response.headers if pair[0] == b"x-request-id"], b"")
        if (response.status == 200)
        else response
    )


async def refused_message_is_stored(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    body = request.json()
    if request.path == MESSAGES and response.status == 400 and isinstance(body, dict):
        await forward(request.with_json({**body, "message": "Stored all the same"}))
    return response


async def any_key_reads(request: Request, forward: Forward) -> ServerResponse:
    if request.method != "GET":
        return await forward(request)
    rest = [pair for pair in request.headers if pair[0] != b"apikey"]
    return await forward(replace(request, headers=[*rest, (b"apikey", b"messages-key-of-the-tests")]))


async def event_stored_twice(request: Request, forward: Forward) -> ServerResponse:
    """Store a repeated event as another event."""
    body = request.json()
    if request.path != EVENT or not isinstance(body, dict) or "beskedId" not in body:
        return await forward(request)
    response = await forward(request.with_json({name: body[name] for name in body if name != "beskedId"}))
    return response if response.status != 202 else response.with_json({**response.json(), "beskedId": body["beskedId"]})


async def unknown_system_is_not_found(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return replace(response, status=404) if response.status == 403 else response


async def violations_in_any_order(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    if response.status != 400 or "violations" not in (value or {}):
        return response
    return response.with_json({**value, "violations": value["violations"][::-1]})


async def problem_as_plain_json(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return response.with_header("content-type", "application/json") if response.status == 400 else response


async def broken_by_a_limit(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    is_bad_limit = b"limit=" in request.query and response.status == 400
    return replace(response, status=500) if is_bad_limit else response


async def broken_by_bytes(request: Request, forward: Forward) -> ServerResponse:
    """Respond with 500 to a body that is not UTF-8, which cannot be expressed in JSON."""
    response = await forward(request)
    return replace(response, status=500) if b"\xff" in request.body else response


async def tenth_file_refused(request: Request, forward: Forward) -> ServerResponse:
    """Refuse ten files, although that is within the limit."""
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and len(body.get("attachments") or ()) == 10:
        return await forward(request.with_json({**body, "attachments": body["attachments"] * 2}))
    return await forward(request)


async def undocumented_property(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    value = response.json()
    is_allowed = request.path == "/v1/beskedtype/tilladte" and response.status == 200
    return response.with_json({**value, "antal": len(value["beskedtyper"])}) if is_allowed else response


async def request_id_missing(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    return response.without("x-request-id") if response.status == 204 else response


BREAKAGES = {
    "no Location": Case(
        no_location,
        "web-messages",
        "test_web_message_round_trip.py::test_get_returns_exactly_what_was_sent",
        "the Location of a 201",
    ),
    "200 instead of 201": Case(
        wrong_status,
        "web-messages",
        "test_web_message_round_trip.py::test_get_returns_exactly_what_was_sent",
        "must get a 201, but got 200",
    ),
    "a violation is lost": Case(
        lost_violation,
        "web-messages",
        "test_web_message_many_faults.py::test_all_invalid_fields_are_reported",
        "all violations must be reported together",
    ),
    "an error of a sync is lost": Case(
        lost_error,
        "subscriptions",
        "test_subscription_faults.py::test_every_error_of_many_entries_is_reported",
        "all errors of all entries must be reported",
    ),
    "a refused sync is half applied": Case(
        half_applied_sync,
        "subscriptions",
        "test_subscription_all_or_nothing.py::test_sync_with_one_invalid_entry_changes_nothing",
        "a rejected sync",
    ),
    "unknown properties are accepted": Case(
        unknown_properties_accepted,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "unknown property",
    ),
    "a second case is accepted": Case(
        second_case_accepted,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "two cases",
    ),
    "unchanged is reported as updated": Case(
        unchanged_reported_as_updated,
        "subscriptions",
        "test_subscription_sync.py::test_same_sync_again_changes_nothing",
        "uaendret",
    ),
    "a dry run changes data": Case(
        dry_run_changes_data,
        "subscriptions",
        "test_subscription_sync.py::test_dry_run_returns_the_counts_and_changes_nothing",
        "a dry run",
    ),
    "lists are in reverse order": Case(
        list_reversed,
        "web-messages",
        "test_web_message_lists.py::test_list_is_ordered_by_created_and_then_by_id",
        "expected the order of created and id",
    ),
    "no Link to the next page": Case(
        no_next_page,
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_the_whole_list",
        "pages contain the whole list",
    ),
    "the next page omits the limit": Case(
        next_page_without_limit,
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_the_whole_list",
        "pages contain the whole list",
    ),
    "the next page omits its first item": Case(
        next_page_without_first_item,
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_the_whole_list",
        "pages contain the whole list",
    ),
    "attachments are in reverse order": Case(
        attachments_reversed,
        "web-messages",
        "test_web_message_attachments.py::test_base64_is_returned_unchanged",
        "base64 is returned unchanged",
    ),
    "null for absent properties": Case(
        null_for_absent_properties,
        "web-messages",
        "test_web_message_round_trip.py::test_absent_properties_are_omitted_and_not_null",
        "'sender': None",
    ),
    "nothing is deleted": Case(
        nothing_is_deleted,
        "web-messages",
        "test_web_message_deletion.py::test_deleted_message_is_not_returned",
        "delet",
    ),
    "a refused message is stored": Case(
        refused_message_is_stored,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "must not be stored",
    ),
    "any key may read": Case(
        any_key_reads,
        "web-messages",
        "test_web_message_access.py::test_access_requires_a_known_key",
        "requires a known key",
    ),
    "an event is stored twice": Case(
        event_stored_twice,
        "subscriptions",
        "test_event_publishing.py::test_repeated_event_gets_the_same_response",
        "beskedId",
    ),
    "404 for a foreign system": Case(
        unknown_system_is_not_found,
        "subscriptions",
        "test_subscription_access.py::test_look_up_of_another_callers_system_is_refused",
        "expected 403",
    ),
    "violations are in any order": Case(
        violations_in_any_order,
        "web-messages",
        "test_web_message_many_faults.py::test_all_invalid_fields_are_reported",
        "sorted by field",
    ),
    "a problem has the type of JSON": Case(
        problem_as_plain_json,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "must be application/problem+json",
    ),
    "500 for a bad limit": Case(
        broken_by_a_limit,
        "web-messages",
        "test_web_message_addresses.py::test_limit_outside_1_to_1000_is_refused",
        "is 500",
    ),
    "an undocumented property": Case(
        undocumented_property, "subscriptions", "hentTilladteBeskedtyper", "antal", suite="schema"
    ),
    "a missing request id": Case(
        request_id_missing, "web-messages", "(create|get|delete)WebMessage(ById)?$", "x-request-id", suite="schema"
    ),
    "500 for bytes that are not UTF-8": Case(
        broken_by_bytes,
        "web-messages",
        "test_json.py::test_body_that_is_not_strict_json_is_refused",
        "500",
        "raw-bytes",
        "full",
    ),
    "the tenth file is refused": Case(
        tenth_file_refused,
        "web-messages",
        "test_web_message_attachments.py::test_attachment_ids_are_unique",
        "must get a 201, but got 400",
    ),
}
