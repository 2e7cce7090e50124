"""The operations of spec/mock-open-e.yaml: the control API of the mock Open-E."""

import asyncio
import base64
import binascii
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from domain.errors import Invalid, NotFound, Violation
from mock_open_e import FAULT_KINDS, Conditions, Entry, Instance, Message
from mock_open_e.behaviour.conditions import is_time_zone
from mock_open_e.server import control_json as shapes
from mock_open_e.server.search import Search, read_search
from mock_open_e.server.worlds import World
from openapi import replies
from openapi.requests import Decoded

DEFAULT_TIMEOUT = 10
"""Default timeout of waiting callers in seconds, as in the contract."""

SHOWN = 20
"""Maximum number of mismatching messages, and of rejected calls, in the response of `expect`."""

ControlRequest = Decoded[World]


async def get_health(request: ControlRequest) -> Response:
    """Return that the mock answers."""
    request.raise_violations()
    return replies.ok({"status": "ok"})


async def list_control_messages(request: ControlRequest) -> Response:
    """Return the received messages."""
    request.raise_violations()
    return replies.ok(request.services.mock.messages)


async def clear_control_messages(request: ControlRequest) -> Response:
    """Delete messages and events."""
    request.raise_violations()
    request.services.mock.clear_messages()
    return replies.no_content()


async def expect_messages(request: ControlRequest) -> Response:
    """Wait until the expected number of messages match. Otherwise respond with 408 and the reasons of the others."""
    request.raise_violations()
    world, wanted = request.services, request.parameters
    count, seconds = wanted.get("count", 1), wanted.get("timeout", DEFAULT_TIMEOUT)

    def find_matching() -> list[Message] | None:
        matching = [message for message in _list_received(world) if not shapes.find_mismatches(message, wanted)]
        return matching if len(matching) >= count else None

    found = await world.wait_for(find_matching, seconds)
    if found is not None:
        return replies.ok({"messages": [message.as_dict() for message in found]})
    received = _list_received(world)
    matching = [message for message in received if not shapes.find_mismatches(message, wanted)]
    others = [(message, why) for message in received if (why := shapes.find_mismatches(message, wanted))]
    refused = [entry for entry in world.mock.list_calls() if entry.refusal]
    return replies.timed_out(
        {
            "errors": [f"{len(matching)} of {count} messages came within {seconds} seconds"],
            "messages": [message.as_dict() for message in matching],
            "others": [{"message": message.as_dict(), "because": why} for message, why in others[-SHOWN:]],
            "refused": [shapes.refusal_to_json(entry) for entry in refused[-SHOWN:]],
        }
    )


def _list_received(world: World) -> list[Message]:
    return [message for message in world.mock.list_messages() if message.origin != "planted"]


async def order_fault(request: ControlRequest) -> Response:
    """Order a fault for the next calls."""
    request.raise_violations()
    # The response always contains times and seconds, whether or not they were given.
    asked = {"fault": request.body["fault"], "times": 1, "seconds": 1} | request.body
    number = request.services.mock.fail(
        asked["fault"],
        times=asked["times"],
        seconds=asked["seconds"],
        every=asked.get("every", 1),
        operation=asked.get("operation"),
        case=asked.get("flowInstanceID"),
        instance=asked.get("instance"),
    )
    response = replies.created_json(asked)
    response.headers["Location"] = f"faults/{number}"
    return response


async def list_faults(request: ControlRequest) -> Response:
    """Return the ordered faults."""
    request.raise_violations()
    return replies.ok([shapes.ordered_fault_to_json(each) for each in request.services.mock.list_ordered_faults()])


async def remove_fault(request: ControlRequest) -> Response:
    """Delete one ordered fault."""
    request.raise_violations()
    try:
        request.services.mock.remove_fault(request.parameters["number"])
    except LookupError as exc:
        raise NotFound(str(exc)) from exc
    return replies.no_content()


async def list_fault_kinds(request: ControlRequest) -> Response:
    """Return the explanation of each fault."""
    request.raise_violations()
    return replies.ok([shapes.fault_kind_to_json(kind) for kind in FAULT_KINDS])


async def clear_faults(request: ControlRequest) -> Response:
    """Delete the ordered faults."""
    request.raise_violations()
    request.services.mock.clear_faults()
    return replies.no_content()


async def get_conditions(request: ControlRequest) -> Response:
    """Return the conditions of an instance."""
    request.raise_violations()
    return replies.ok(shapes.conditions(request.services.mock.conditions(request.parameters["instance"])))


async def set_conditions(request: ControlRequest) -> Response:
    """Replace the conditions of an instance. Absent ones get their defaults."""
    zone = request.body.get("timeZone") if request.is_clean("timeZone") else None
    if zone is not None and not is_time_zone(zone):
        request.violations.append(Violation("timeZone", "timeZone must be an IANA time zone that this machine knows"))
    request.raise_violations()
    body, instance = request.body, request.parameters["instance"]
    conditions = Conditions(
        clock_seconds=body.get("clockSeconds", 0),
        time_zone=zone,
        stale_seconds=body.get("staleSeconds", 0),
        taken_ids=body.get("takenIds", 0),
    )
    request.services.mock.set_conditions(conditions, instance=instance)
    return replies.ok(shapes.conditions(conditions))


async def list_cases(request: ControlRequest) -> Response:
    """Return the declared cases and those with data; with a search, those with a matching message."""
    request.raise_violations()
    search = read_search(request.parameters)
    mock, number = request.services.mock, request.parameters.get("case")
    instance = request.parameters.get("instance")
    messages = shapes.group_by_case(mock.list_messages(instance=instance, case=number))
    found = []
    for case in mock.list_cases(instance=instance):
        if number not in {None, case.number}:
            continue
        on_case = messages.get((case.instance, case.number), [])
        matching = sum(map(search.matches_message, on_case))
        if matching or not search.is_limiting:
            found.append(shapes.case_to_json(case, on_case, matching))
    return replies.ok(found)


async def get_case(request: ControlRequest) -> Response:
    """Return one case with its messages and its history."""
    request.raise_violations()
    search = read_search(request.parameters)
    mock = request.services.mock
    instance, number = _read_case_parameters(request)
    found = next((case for case in mock.list_cases(instance=instance) if case.number == number), None)
    if found is None:
        raise NotFound(f"the case {number} of the {instance} instance is not declared and has no data")
    messages = mock.list_messages(instance=instance, case=number)
    matching = sorted(filter(search.matches_message, messages), key=shapes.get_moment)
    return replies.ok(
        {
            "case": shapes.case_to_json(found, messages, len(matching)),
            "messages": [shapes.message_to_json(message, mock) for message in matching],
            "events": [shapes.event_to_json(event) for event in mock.list_events(instance=instance, case=number)],
        }
    )


async def plant_message(request: ControlRequest) -> Response:
    """Add a message to the case as if the citizen had written it."""
    files = _decode_files(request)
    request.raise_violations()
    instance, number = _read_case_parameters(request)
    body, mock = request.body, request.services.mock
    try:
        message = mock.plant(
            number,
            body["message"],
            instance=instance,
            user_id=body.get("userID"),
            files=files,
            added=body.get("added"),
            kind=body.get("kind", "owner"),
        )
    except LookupError as exc:
        raise NotFound(str(exc)) from exc
    except ValueError as exc:
        raise Invalid([Violation("added", str(exc))]) from exc
    return replies.created_json(shapes.message_to_json(message, mock))


def _decode_files(request: ControlRequest) -> list[tuple[str, bytes]]:
    """Return the decoded files of a body. Add invalid base64 to the violations of the request."""
    files: list[tuple[str, bytes]] = []
    if not request.is_clean("attachments"):
        return files
    for index, file in enumerate(request.body.get("attachments", ())):
        try:
            files.append((file["filename"], base64.b64decode(file["base64Data"], validate=True)))
        except binascii.Error:
            field = f"attachments[{index}].base64Data"
            request.violations.append(Violation(field, f"{field} must be base64"))
    return files


def _read_case_parameters(request: ControlRequest) -> tuple[Instance, int]:
    return request.parameters["instance"], request.parameters["flowInstanceID"]


async def list_calls(request: ControlRequest) -> Response:
    """Return the newest matching calls without their content."""
    request.raise_violations()
    search = read_search(request.parameters)
    wanted, mock = request.parameters, request.services.mock
    # A search decodes the content of all calls, up to 16 MiB.
    calls = await asyncio.to_thread(_find_calls, mock.list_calls(), wanted, search)
    return replies.ok([shapes.call(entry, mock) for entry in calls])


def _find_calls(calls: list[Entry], wanted: Mapping[str, Any], search: Search) -> list[Entry]:
    """Return the newest calls that match all parameters, oldest first."""
    matching = (
        entry
        for entry in reversed(calls)
        if wanted.get("after", 0) < entry.number < wanted.get("before", math.inf)
        and (entry.refusal or not wanted.get("refused"))
        and wanted.get("instance", entry.instance) == entry.instance
        and wanted.get("case", entry.case) == entry.case
        and search.matches_call(entry)
    )
    return list(islice(matching, wanted.get("limit", 1000)))[::-1]


async def get_call(request: ControlRequest) -> Response:
    """Return one call with its content and response."""
    request.raise_violations()
    mock, number = request.services.mock, request.parameters["number"]
    entry = next((entry for entry in mock.list_calls() if entry.number == number), None)
    if entry is None:
        raise NotFound(f"there is no call {number} in the journal, or it is no longer stored")
    return replies.ok(shapes.whole_call_to_json(entry, mock))


async def clear_calls(request: ControlRequest) -> Response:
    """Delete the journal."""
    request.raise_violations()
    request.services.mock.clear_calls()
    return replies.no_content()


async def get_file(request: ControlRequest) -> Response:
    """Return a file, with headers that prevent execution of its content."""
    request.raise_violations()
    sha256 = request.parameters["sha256"]
    data = request.services.mock.file(sha256)
    if data is None:
        raise NotFound("there is no file with this SHA-256, or its bytes are no longer stored")
    name = request.parameters.get("name", sha256).encode("utf-8", "replace")
    return Response(
        data,
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Content-Type-Options": "nosniff",
        },
    )


async def get_overview(request: ControlRequest) -> Response:
    """Return the overview as soon as it differs from the revision that the caller knows."""
    request.raise_violations()
    world, since = request.services, request.parameters.get("since")
    if since is not None:
        seconds = request.parameters.get("timeout", DEFAULT_TIMEOUT)
        await world.wait_for(lambda: world.revision if world.revision != since else None, seconds)
    return replies.ok(shapes.overview_to_json(world))


async def list_names(request: ControlRequest) -> Response:
    """Return the names of all worlds except the root."""
    request.raise_violations()
    return replies.ok(request.services.list_names())


async def reset_world(request: ControlRequest) -> Response:
    """Restore the initial state of the scenario."""
    request.raise_violations()
    request.services.mock.reset()
    return replies.no_content()
