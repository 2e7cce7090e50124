"""Convert the data of the mock to the JSON of the control API."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.message import Message as Headers
from typing import Any

from mock_open_e import FAULT_NAMES, Case, Conditions, Entry, Event, Message, MockOpenE, Order
from mock_open_e.server.worlds import World


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


def count_by_case(messages: Iterable[Message]) -> Counter[tuple[str, int]]:
    """Return the number of messages per case, by instance and number."""
    return Counter((message.instance, message.case) for message in messages)


def conditions(present: Conditions) -> dict[str, Any]:
    """Return the conditions of an instance."""
    return {
        "clockSeconds": present.clock_seconds,
        "timeZone": present.time_zone,
        "staleSeconds": present.stale_seconds,
        "takenIds": present.taken_ids,
    }


def case_to_json(found: Case, messages: int) -> dict[str, Any]:
    """Return a case with the number of its messages."""
    return {
        "instance": found.instance,
        "flowInstanceID": found.number,
        "family": found.family,
        "status": found.status,
        "managers": list(found.managers),
        "managerGroups": list(found.manager_groups),
        "messages": messages,
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
    kind = Headers()
    kind["content-type"] = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    charset = kind.get_content_charset() or "utf-8"
    try:
        text = body.decode(charset, "replace")
    except (LookupError, ValueError):
        # The charset does not exist, or it is one of Python's non-text codecs.
        text = body.decode("utf-8", "replace")
    # Some charsets can decode to unpaired surrogates, which JSON cannot contain.
    text = text.encode("utf-8", "replace").decode()
    return {"headers": dict(headers), "text": text, "isCut": len(body) < size}


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


def _order_to_json(order: Order) -> dict[str, Any]:
    """Return an order in the format in which it can be given."""
    asked = dataclasses.asdict(order)
    asked["flowInstanceID"] = asked.pop("case")
    return {name: value for name, value in asked.items() if value is not None or name == "times"}
