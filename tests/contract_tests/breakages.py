"""Servers that break the contract, each in one way that `contract-check` must detect."""

from dataclasses import dataclass, replace
from typing import Any

from tests.contract_tests.broken import Answer, Breakage, Forward, Request

MESSAGES, SYNC, EVENT = "/webmessages", "/v1/abonnement/sync", "/v1/besked"


@dataclass(frozen=True)
class Case:
    """A breakage, the broken contract, and the only check that must report it in these words.

    The check is None if the preparation must report it; otherwise it has the form of `Check.only`.
    """

    breakage: Breakage
    spec: str
    check: str | None
    words: str
    suite: str = "rules"
    profile: str = "quick"


async def no_location(request: Request, forward: Forward) -> Answer:
    return (await forward(request)).without("location")


async def wrong_status(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    return replace(answer, status=200) if answer.status == 201 else answer


async def lost_violation(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if answer.status != 400 or len(value.get("violations", [])) < 2:
        return answer
    return answer.with_json({**value, "violations": value["violations"][:-1]})


async def lost_error(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if answer.status != 400 or len(value.get("errors", [])) < 2:
        return answer
    return answer.with_json({"errors": value["errors"][:-1]})


async def half_applied_sync(request: Request, forward: Forward) -> Answer:
    """Store the valid entries of a rejected set."""
    answer = await forward(request)
    body = request.json()
    if request.path == SYNC and answer.status == 400 and b"true" not in request.query.lower():
        bad = {error["index"] for error in answer.json()["errors"]}
        if None not in bad:
            good = [entry for index, entry in enumerate(body["abonnementer"]) if index not in bad]
            await forward(request.with_json({**body, "abonnementer": good}))
    return answer


async def unknown_properties_accepted(request: Request, forward: Forward) -> Answer:
    """Skip a validation."""
    body = request.json()
    if request.path != MESSAGES or not isinstance(body, dict):
        return await forward(request)
    known = {"message", "externalReferences", "partyId", "sender", "oepInstance", "attachments"}
    return await forward(request.with_json({name: value for name, value in body.items() if name in known}))


async def second_case_accepted(request: Request, forward: Forward) -> Answer:
    """Skip a rule that no schema expresses."""
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and isinstance(body.get("externalReferences"), list):
        kept: list[Any] = []
        for reference in body["externalReferences"]:
            is_case = isinstance(reference, dict) and str(reference.get("key")).lower() == "flowinstanceid"
            if not is_case or not any(str(other.get("key")).lower() == "flowinstanceid" for other in kept):
                kept.append(reference)
        if all(isinstance(reference, dict) for reference in kept) and len(kept) < len(body["externalReferences"]):
            request = request.with_json({**body, "externalReferences": kept})
    return await forward(request)


async def unchanged_reported_as_updated(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    if request.path != SYNC or answer.status != 200:
        return answer
    value = answer.json()
    return answer.with_json({**value, "opdateret": value["opdateret"] + value["uaendret"], "uaendret": 0})


async def dry_run_is_none(request: Request, forward: Forward) -> Answer:
    is_dry = request.path == SYNC and request.query == b"dryRun=true"
    return await forward(replace(request, query=b"") if is_dry else request)


async def list_backwards(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    return answer.with_json(value[::-1]) if isinstance(value, list) else answer


async def no_next_page(request: Request, forward: Forward) -> Answer:
    return (await forward(request)).without("link")


async def page_forgets_its_limit(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    link = answer.header("link")
    return answer if link is None else answer.with_header("link", link.replace("limit=", "limit=1000&was="))


async def page_loses_its_first(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    is_later = b"after=" in request.query and isinstance(value, list)
    return answer.with_json(value[1:]) if is_later else answer


async def attachments_backwards(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if answer.status != 200 or not isinstance(value, dict) or "attachments" not in value:
        return answer
    return answer.with_json({**value, "attachments": value["attachments"][::-1]})


async def null_for_what_is_absent(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if answer.status != 200 or not isinstance(value, dict) or "message" not in value:
        return answer
    return answer.with_json({"partyId": None, "sender": None, **value})


async def nothing_is_deleted(request: Request, forward: Forward) -> Answer:
    if request.method != "DELETE":
        return await forward(request)
    answer = await forward(replace(request, method="GET"))
    return (
        Answer(204, [pair for pair in answer.headers if pair[0] == b"x-request-id"], b"")
        if (answer.status == 200)
        else answer
    )


async def refused_message_is_stored(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    body = request.json()
    if request.path == MESSAGES and answer.status == 400 and isinstance(body, dict):
        await forward(request.with_json({**body, "message": "Stored all the same"}))
    return answer


async def any_key_reads(request: Request, forward: Forward) -> Answer:
    if request.method != "GET":
        return await forward(request)
    rest = [pair for pair in request.headers if pair[0] != b"apikey"]
    return await forward(replace(request, headers=[*rest, (b"apikey", b"messages-key-of-the-tests")]))


async def event_twice(request: Request, forward: Forward) -> Answer:
    """Store a repeated event as another event."""
    body = request.json()
    if request.path != EVENT or not isinstance(body, dict) or "beskedId" not in body:
        return await forward(request)
    answer = await forward(request.with_json({name: body[name] for name in body if name != "beskedId"}))
    return answer if answer.status != 202 else answer.with_json({**answer.json(), "beskedId": body["beskedId"]})


async def unknown_system_is_not_found(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    return replace(answer, status=404) if answer.status == 403 else answer


async def violations_in_any_order(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    if answer.status != 400 or "violations" not in (value or {}):
        return answer
    return answer.with_json({**value, "violations": value["violations"][::-1]})


async def problem_as_plain_json(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    return answer.with_header("content-type", "application/json") if answer.status == 400 else answer


async def broken_by_a_limit(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    is_bad_limit = b"limit=" in request.query and answer.status == 400
    return replace(answer, status=500) if is_bad_limit else answer


async def broken_by_bytes(request: Request, forward: Forward) -> Answer:
    """Respond with 500 to a body that is not UTF-8, which cannot be expressed in JSON."""
    answer = await forward(request)
    return replace(answer, status=500) if b"\xff" in request.body else answer


async def tenth_file_refused(request: Request, forward: Forward) -> Answer:
    """Refuse ten files, although that is within the limit."""
    body = request.json()
    if request.path == MESSAGES and isinstance(body, dict) and len(body.get("attachments") or ()) == 10:
        return await forward(request.with_json({**body, "attachments": body["attachments"] * 2}))
    return await forward(request)


async def undocumented_property(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    value = answer.json()
    is_allowed = request.path == "/v1/beskedtype/tilladte" and answer.status == 200
    return answer.with_json({**value, "antal": len(value["beskedtyper"])}) if is_allowed else answer


async def request_id_forgotten(request: Request, forward: Forward) -> Answer:
    answer = await forward(request)
    return answer.without("x-request-id") if answer.status == 204 else answer


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
    "unknown properties are taken": Case(
        unknown_properties_accepted,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "unknown property",
    ),
    "a second case is taken": Case(
        second_case_accepted,
        "web-messages",
        "test_web_message_faults.py::test_invalid_message_field_is_reported",
        "two cases",
    ),
    "unchanged is told as updated": Case(
        unchanged_reported_as_updated,
        "subscriptions",
        "test_subscription_sync.py::test_same_sync_again_changes_nothing",
        "uaendret",
    ),
    "a dry run is none": Case(
        dry_run_is_none,
        "subscriptions",
        "test_subscription_sync.py::test_dry_run_returns_the_counts_and_changes_nothing",
        "a dry run",
    ),
    "lists are backwards": Case(
        list_backwards,
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
    "the next page forgets its limit": Case(
        page_forgets_its_limit,
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_the_whole_list",
        "pages contain the whole list",
    ),
    "the next page loses its first": Case(
        page_loses_its_first,
        "web-messages",
        "test_web_message_lists.py::test_pages_contain_the_whole_list",
        "pages contain the whole list",
    ),
    "attachments are backwards": Case(
        attachments_backwards,
        "web-messages",
        "test_web_message_attachments.py::test_base64_is_returned_unchanged",
        "base64 is returned unchanged",
    ),
    "null for what is absent": Case(
        null_for_what_is_absent,
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
    "any key reads": Case(
        any_key_reads,
        "web-messages",
        "test_web_message_access.py::test_access_requires_a_known_key",
        "requires a known key",
    ),
    "an event comes twice": Case(
        event_twice, "subscriptions", "test_event_publishing.py::test_repeated_event_gets_the_same_response", "beskedId"
    ),
    "404 for a system of others": Case(
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
    "a problem is plain JSON": Case(
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
    "a forgotten request id": Case(
        request_id_forgotten, "web-messages", "(create|get|delete)WebMessage(ById)?$", "x-request-id", suite="schema"
    ),
    "500 for bytes that are no UTF-8": Case(
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
