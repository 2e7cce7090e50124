"""Servers that break the contract of the status of an event."""

from collections.abc import Callable
from dataclasses import replace

from tests.contract_tests.breakages import EVENT, Case
from tests.contract_tests.breakages_of_events import build_error
from tests.contract_tests.breakages_of_systems import TEST, JSONObject
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

NOT_FOUND = build_error(150106, "Der findes ingen besked med den angivne beskedId, som du har adgang til")


def is_status(request: Request) -> bool:
    return request.path.startswith(f"{EVENT}/")


def with_counts(change: Callable[[JSONObject], JSONObject]) -> Breakage:
    """Change the status of each event."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if not is_status(request) or response.status != 200:
            return response
        status = response.json()
        return response.with_json(status | change(status))

    return breakage


def count_publications() -> Breakage:
    """Count the messages of an event again each time it is published."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if request.path == EVENT and response.status in {200, 202}:
            id_ = response.json()["beskedId"]
            waiting[id_] = waiting.get(id_, 0) + response.json()["abonnementer"]
        if is_status(request) and response.status == 200:
            return response.with_json(response.json() | {"venter": waiting[response.json()["beskedId"]]})
        return response

    waiting: dict[str, int] = {}
    return breakage


def remember_counts() -> Breakage:
    """Return the number of subscriptions at the publication as that of waiting messages."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if request.path == EVENT and response.status == 202:
            waiting[response.json()["beskedId"]] = response.json()["abonnementer"]
        if is_status(request) and response.status == 200:
            return response.with_json(response.json() | {"venter": waiting.get(response.json()["beskedId"], 0)})
        return response

    waiting: dict[str, int] = {}
    return breakage


def forget_test_messages() -> Breakage:
    """Store test messages without an event."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        if is_status(request) and request.path.rpartition("/")[2] in tests:
            response = await forward(request)
            return replace(response.with_json(NOT_FOUND), status=404)
        response = await forward(request)
        if request.path == TEST and response.status == 202:
            tests.add(response.json()["beskedId"])
        return response

    tests: set[str] = set()
    return breakage


def with_missing(status: int, body: JSONObject) -> Breakage:
    """Return this response for an event that does not exist."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if not is_status(request) or response.status != 404:
            return response
        return replace(response.with_json(body), status=status)

    return breakage


async def ids_in_one_case(request: Request, forward: Forward) -> ServerResponse:
    """Find an event only by its id in lower case."""
    response = await forward(request)
    if is_status(request) and response.status == 200 and request.path != request.path.lower():
        return replace(response.with_json(NOT_FOUND), status=404)
    return response


async def ids_as_requested(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if not is_status(request) or response.status != 200:
        return response
    return response.with_json(response.json() | {"beskedId": request.path.rpartition("/")[2]})


async def invalid_ids_not_found(request: Request, forward: Forward) -> ServerResponse:
    response = await forward(request)
    if not is_status(request) or response.status != 400:
        return response
    return replace(response.with_json(NOT_FOUND), status=404)


async def parameters_ignored(request: Request, forward: Forward) -> ServerResponse:
    return await forward(replace(request, query=b"") if is_status(request) else request)


def open_to(status: int) -> Breakage:
    """Return a 404 to callers who get this status."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if not is_status(request) or response.status != status:
            return response
        return replace(response.with_json(NOT_FOUND), status=404)

    return breakage


async def certificates_accepted(request: Request, forward: Forward) -> ServerResponse:
    """Let systems ask for the status of an event."""
    response = await forward(request)
    if not is_status(request) or request.header("client-cert") is None:
        return response
    return replace(response.with_json(NOT_FOUND), status=404)


async def any_method(request: Request, forward: Forward) -> ServerResponse:
    return await forward(replace(request, method="GET") if is_status(request) else request)


def case(breakage: Breakage, rule: str, words: str) -> Case:
    return Case(breakage, "subscriptions", f"test_event_status.py::{rule}", words)


ONCE = "test_status_counts_each_message_once"
OF_EVENT_STATUSES = {
    "a status with the systems": case(
        with_counts(lambda _: {"systemer": []}), "test_status_has_the_fields_of_the_contract", "systemer"
    ),
    "more paused messages than waiting ones": case(
        with_counts(lambda status: {"pauseret": status["venter"] + 1}),
        "test_status_has_the_fields_of_the_contract",
        "part of the waiting ones",
    ),
    "a status without an id": case(
        with_counts(lambda _: {"beskedId": "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"}),
        "test_status_has_the_fields_of_the_contract",
        "beskedId",
    ),
    "waiting messages counted as delivered too": case(
        with_counts(lambda status: {"leveret": status["venter"]}), ONCE, "must be counted once"
    ),
    "waiting messages counted as parked": case(
        with_counts(lambda status: {"parkeret": status["venter"], "venter": 0}), ONCE, "a waiting message is not"
    ),
    "waiting messages not counted": case(with_counts(lambda _: {"venter": 0}), ONCE, "must be counted once"),
    "repeated events counted again": case(
        count_publications(), "test_repeated_event_is_not_counted_twice", "must not be counted again"
    ),
    "removed messages counted": case(
        remember_counts(), "test_removed_messages_are_not_counted", "removed with its subscription"
    ),
    "test messages without a status": case(forget_test_messages(), "test_test_message_is_counted", "expected 200"),
    "ids of events in lower case only": case(
        ids_in_one_case, "test_event_is_found_by_its_id_in_any_case", "expected 200"
    ),
    "ids of events as requested": case(
        ids_as_requested, "test_event_is_found_by_its_id_in_any_case", "must be returned in lower case"
    ),
    "an unknown event without messages": case(
        with_missing(200, {"beskedId": "x", "leveret": 0, "venter": 0, "parkeret": 0, "pauseret": 0}),
        "test_unknown_event_is_not_found",
        "expected 404",
    ),
    "an unknown event with the code of subscriptions": case(
        with_missing(404, build_error(150105, "Der findes ingen besked")), "test_unknown_event_is_not_found", "150106"
    ),
    "an unknown event with another text": case(
        with_missing(404, build_error(150106, "Ukendt")), "test_unknown_event_is_not_found", "Ukendt"
    ),
    "invalid ids of events are unknown": case(
        invalid_ids_not_found, "test_invalid_event_id_is_reported", "expected 400"
    ),
    "parameters of a status are ignored": case(
        parameters_ignored, "test_unknown_parameter_of_a_status_is_reported", "all errors"
    ),
    "a status without a key": case(open_to(401), "test_status_requires_a_known_key", "expected 401"),
    "a status with any key": case(open_to(403), "test_key_of_another_scope_reads_no_status", "expected 403"),
    "a status with a certificate": case(
        certificates_accepted, "test_certificate_of_a_system_reads_no_status", "expected 401"
    ),
    "a status by any method": case(any_method, "test_unsupported_method_of_a_status_is_refused", "expected 405"),
}
