"""Servers that break the contract of events and deliveries, each once not detected."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from tests.contract_tests.breakages import EVENT, Case
from tests.contract_tests.breakages_of_systems import (
    IDENTITY,
    TEST,
    JSONObject,
    build_identity,
    read_wanted,
    with_errors,
)
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

JOIN_SECONDS = 10
"""Maximum wait of a request for one that is sent with it."""


def parse_event(request: Request) -> JSONObject | None:
    body = request.json() if request.path == EVENT else None
    return body if isinstance(body, dict) else None


def subject_of_another(errors: list[JSONObject], _: Request) -> list[JSONObject]:
    """Omit the subject from schema errors."""
    return [
        {**e, "orgtype": None, "orgcode": None, "entitytype": None} if e["errorCode"] == 1014 else e for e in errors
    ]


def build_error(number: int, message: str) -> JSONObject:
    fields = dict.fromkeys(("orgtype", "orgcode", "entitytype", "index", "field"))
    return {"errors": [{**fields, "errorCode": number, "message": message}]}


CONFLICT = build_error(150104, "Der er allerede oprettet en anden besked med samme beskedId")


def compared_by(key: Callable[[JSONObject], Any]) -> Breakage:
    """Compare two events with the same id only by this part."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        event = parse_event(request)
        if event is None or "beskedId" not in event:
            return await forward(request)
        known = kept.get(str(event["beskedId"]).lower())
        if known is not None and key(known) == key(event):
            return await forward(request.with_json(known))
        response = await forward(request)
        if response.status == 202:
            kept[str(event["beskedId"]).lower()] = event
        return response

    kept: dict[str, JSONObject] = {}
    return breakage


def in_lower_case(event: JSONObject) -> Any:
    return json.loads(json.dumps(event).lower())


def without_org_type(event: JSONObject) -> Any:
    return {name: value for name, value in in_lower_case(event).items() if name != "orgtype"}


def without_entity_type(event: JSONObject) -> Any:
    return {name: value for name, value in event.items() if name.lower() not in {"entitytype", "beskedid"}}


def with_numbers_of_64_bits(event: JSONObject) -> Any:
    return json.loads(json.dumps(in_lower_case(event)), parse_int=float)


def with_lists_as_sets(event: JSONObject) -> Any:
    return sorted(json.dumps(in_lower_case(event)))


@dataclass
class Sets:
    """The last stored set, and the request that stored it."""

    request: Request | None = None
    entries: list[JSONObject] = field(default_factory=list)

    async def forward(self, request: Request, forward: Forward) -> ServerResponse:
        """Forward a request, and record its set if it was stored."""
        response = await forward(request)
        entries = read_wanted(request)
        if entries is not None and response.status == 200:
            self.request, self.entries = request, entries
        return response


def matching_by(*names: str) -> Breakage:
    """Match events and subscriptions only by these properties."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await sets.forward(request, forward)
        event = parse_event(request)
        if event is None or response.status != 202:
            return response
        more = [
            e
            for e in sets.entries
            if build_identity(e) != build_identity(event) and all(e[n] == event[n] for n in names)
        ]
        value = response.json()
        return response.with_json({**value, "abonnementer": value["abonnementer"] + len(more)})

    sets = Sets()
    return breakage


def delivered_regardless_of_dates() -> Breakage:
    """Queue a delivery for subscriptions that are not counted."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await sets.forward(request, forward)
        event = parse_event(request)
        if event is None or response.status != 202 or response.json()["abonnementer"] or sets.request is None:
            return response
        system = {"systemIdentifier": sets.request.json()["systemIdentifier"]}
        for entry in sets.entries:
            if build_identity(entry) == build_identity(event):
                body = system | {name: entry[name] for name in IDENTITY}
                await forward(sets.request.with_path(TEST.encode()).with_json(body))
        return response

    sets = Sets()
    return breakage


def concurrent_inserts_fail() -> Breakage:
    """Look up first and insert later, so that a concurrent request violates a key."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        event = parse_event(request)
        id_ = None if event is None else event.get("beskedId")
        if id_ is None or id_ in known:
            return await forward(request)
        if id_ in joined:
            joined[id_].set()
            response = await forward(request)
            return replace(response.with_json(build_error(1011, "Intern fejl i servicen")), status=500)
        joined[id_] = asyncio.Event()
        # The first request waits for another one, which finds no event either.
        with suppress(TimeoutError):
            async with asyncio.timeout(JOIN_SECONDS):
                await joined[id_].wait()
        response = await forward(request)
        known.add(id_)
        return response

    joined: dict[str, asyncio.Event] = {}
    known: set[str] = set()
    return breakage


def refused_ids_stored() -> Breakage:
    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        event = parse_event(request)
        response = await forward(request)
        id_ = None if event is None else event.get("beskedId")
        if isinstance(id_, str) and response.status == 400:
            used.add(id_)
        return replace(response.with_json(CONFLICT), status=409) if response.status == 202 and id_ in used else response

    used: set[str] = set()
    return breakage


OF_EVENTS = {
    "errors of an event without its integers": Case(
        with_errors(EVENT, subject_of_another),
        "subscriptions",
        "test_event_faults.py::test_errors_contain_the_integers_of_the_event",
        "must have orgtype, orgcode and entitytype",
    ),
    "events are compared without case": Case(
        compared_by(in_lower_case),
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "is a conflict",
    ),
    "events are compared without orgType": Case(
        compared_by(without_org_type),
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "is a conflict",
    ),
    "events are compared without entityType": Case(
        compared_by(without_entity_type),
        "subscriptions",
        "test_event_publishing.py::test_event_of_another_type_with_the_same_id_is_a_conflict",
        "of another type with the same id is a conflict",
    ),
    "events are compared as numbers of 64 bits": Case(
        compared_by(with_numbers_of_64_bits),
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "is a conflict",
    ),
    "lists of events are compared as sets": Case(
        compared_by(with_lists_as_sets),
        "subscriptions",
        "test_event_publishing.py::test_another_event_with_the_same_id_is_a_conflict",
        "is a conflict",
    ),
    "events match any orgType": Case(
        matching_by("orgCode", "entityType"),
        "subscriptions",
        "test_event_matching.py::test_event_of_another_organisation_is_not_delivered",
        "event of another organisation is not delivered",
    ),
    "events match any entityType": Case(
        matching_by("orgCode", "orgType"),
        "subscriptions",
        "test_event_matching.py::test_event_of_another_type_is_not_delivered",
        "event of another type is not delivered",
    ),
    "events are sent regardless of the dates": Case(
        delivered_regardless_of_dates(),
        "subscriptions",
        "test_event_matching.py::test_subscriptions_that_are_valid_now_are_counted",
        "expected deliveries to",
    ),
    "concurrent equal events fail": Case(
        concurrent_inserts_fail(),
        "subscriptions",
        "test_event_publishing.py::test_concurrent_identical_events_are_accepted_once",
        "identical events are accepted once",
    ),
    "ids of refused events are stored": Case(
        refused_ids_stored(),
        "subscriptions",
        "test_event_faults.py::test_id_of_a_refused_event_can_be_used",
        "id of a refused event can be used",
    ),
}
