"""Convert the data of the mock to the JSON of the control API."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mock_open_e import FAULT_NAMES, Case, Conditions, Entry, Event, FaultKind, Message, MockOpenE, Order, OrderedFault
from mock_open_e.server.charsets import decode_content
from mock_open_e.server.worlds import World
from mock_open_e.server.xml_format import format_xml


def find_mismatches(message: Message, wanted: Mapping[str, Any]) -> list[str]:
    """Return the reasons why a message does not match the expectation, none if it does."""
    why = []
    if wanted.get("case", message.case) != message.case:
        why.append(f"the case is {message.case}, not {wanted['case']}")
    if wanted.get("instance", message.instance) != message.instance:
        why.append(f"the instance is {message.instance}, not {wanted['instance']}")
    if wanted.get("text", "") not in message.text:
        why.append(f"the text does not contain {wanted['text']!r}")
    if "kind" in wanted and wanted["kind"] != message.kind:
        why.append(f"the kind is {message.kind}, not {wanted['kind']}")
    if "kind" not in wanted and message.kind == "internal":
        why.append("the kind is internal, which must be requested explicitly")
    return why


def group_by_case(messages: Iterable[Message]) -> dict[tuple[str, int], list[Message]]:
    """Return the messages per case, by instance and number."""
    groups: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        groups.setdefault((message.instance, message.case), []).append(message)
    return groups


def conditions(present: Conditions) -> dict[str, Any]:
    """Return the conditions of an instance."""
    return {
        "clockSeconds": present.clock_seconds,
        "timeZone": present.time_zone,
        "staleSeconds": present.stale_seconds,
        "takenIds": present.taken_ids,
    }


def case_to_json(found: Case, messages: Sequence[Message], matching: int) -> dict[str, Any]:
    """Return a case with the number of its messages, and of those that match a search."""
    return {
        "instance": found.instance,
        "flowInstanceID": found.number,
        "family": found.family,
        "status": found.status,
        "managers": list(found.managers),
        "managerGroups": list(found.manager_groups),
        "messages": len(messages),
        "matching": matching,
        "newest": max((message.stored for message in messages), default=None),
    }


def message_to_json(stored: Message, mock: MockOpenE) -> dict[str, Any]:
    """Return a message as a part of its case."""
    poster = stored.poster
    return {
        "messageID": stored.message_id,
        "kind": stored.kind,
        "origin": stored.origin,
        "message": stored.text,
        "sender": None if poster is None else poster.name or poster.username,
        "userID": stored.user_id,
        "added": stored.added,
        "stored": stored.stored.isoformat(),
        "readReceipt": stored.read_receipt,
        "duplicateOf": stored.duplicate_of,
        "attachments": [
            {
                "attachmentID": file.attachment_id,
                "filename": file.filename,
                "size": file.size,
                "sha256": file.content.sha256,
                "isKept": mock.file(file.content.sha256) is not None,
            }
            for file in stored.files
        ],
    }


def get_moment(stored: Message) -> tuple[datetime, int]:
    """Return the sort key of a case's messages: the declared time, then the order of arrival."""
    try:
        added = datetime.fromisoformat(stored.added)
    except ValueError:
        # Python does not parse some valid xs:dateTime values, such as 24:00:00 for the end of a day.
        added = stored.stored
    return added if added.tzinfo else added.replace(tzinfo=UTC), stored.sequence


def event_to_json(found: Event) -> dict[str, Any]:
    """Return an entry of the history of a case."""
    return {
        "eventID": found.event_id,
        "kind": found.kind,
        "date": found.date,
        "text": found.text,
        "userID": found.user_id,
    }


def call(entry: Entry, mock: MockOpenE) -> dict[str, Any]:
    """Return a call without its content."""
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "instance": entry.instance,
        "method": entry.method,
        "url": entry.url,
        "query": entry.query,
        "operation": entry.operation,
        "flowInstanceID": entry.case,
        "userID": entry.user_id,
        "messageID": entry.message_id,
        "status": entry.response.status if entry.response.ending == "response" else 0,
        "fault": entry.fault,
        "refusal": entry.refusal and dataclasses.asdict(entry.refusal),
        "notes": list(entry.notes),
        "files": [
            {
                "filename": file.filename,
                "size": file.size,
                "sha256": file.sha256,
                "isKept": mock.file(file.sha256) is not None,
            }
            for file in entry.files
        ],
        "requestBytes": entry.body_size,
        "answerBytes": entry.response_size,
    }


def whole_call_to_json(entry: Entry, mock: MockOpenE) -> dict[str, Any]:
    """Return a call with its content and response."""
    return {
        "call": call(entry, mock),
        "request": _sent_to_json(entry.headers, entry.body, entry.body_size),
        "answer": _sent_to_json(entry.response.headers, entry.response.body, entry.response_size),
    }


def _sent_to_json(headers: Mapping[str, str], body: bytes, size: int) -> dict[str, Any]:
    text = decode_content(headers, body)
    is_cut = len(body) < size
    return {"headers": dict(headers), "text": text, "formatted": format_xml(text, is_cut=is_cut), "isCut": is_cut}


def refusal_to_json(entry: Entry) -> dict[str, Any]:
    """Return the reason why a call was rejected."""
    return {
        "number": entry.number,
        "operation": entry.operation,
        "flowInstanceID": entry.case,
        "received": entry.refusal and entry.refusal.received,
        "accepted": entry.refusal and entry.refusal.accepted,
    }


def overview_to_json(world: World) -> dict[str, Any]:
    """Return the state of a world."""
    mock = world.mock
    # Read the revision first, so that concurrent changes result in another revision.
    revision = world.revision
    calls = mock.list_calls()
    return {
        "name": world.name,
        "revision": revision,
        "messages": len(mock.list_messages()),
        "cases": len(mock.list_cases()),
        "calls": len(calls),
        "refused": sum(entry.refusal is not None for entry in calls),
        "strict": mock.scenario.strict,
        "faults": [_order_to_json(order) for order in mock.list_faults()],
        "faultNames": list(FAULT_NAMES),
    }


def ordered_fault_to_json(pending: OrderedFault) -> dict[str, Any]:
    """Return an order in the format in which it can be given, with its number and the failed calls."""
    return {"number": pending.number, **_order_to_json(pending.order), "failed": pending.failed}


def _order_to_json(order: Order) -> dict[str, Any]:
    asked = dataclasses.asdict(order)
    asked["flowInstanceID"] = asked.pop("case")
    return {name: value for name, value in asked.items() if value is not None or name == "times"}


def fault_kind_to_json(kind: FaultKind) -> dict[str, Any]:
    """Return the explanation of a fault."""
    return {
        "fault": kind.fault,
        "title": kind.title,
        "effect": kind.effect,
        "cause": kind.cause,
        "isStored": kind.is_stored,
        "usesSeconds": kind.uses_seconds,
    }
