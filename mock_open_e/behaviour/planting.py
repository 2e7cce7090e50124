"""Add messages to a case as if others had written them, to be read through the messageapi."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from mock_open_e.behaviour.messages import is_date_time
from mock_open_e.behaviour.scenario import Scenario
from mock_open_e.behaviour.state import Content, File, Files, Kind, Message, State


def plant(
    state: State,
    scenario: Scenario,
    stored_files: Files,
    now: datetime,
    case: int,
    text: str,
    user_id: str | None,
    files: Sequence[tuple[str, bytes]],
    added: str | None,
    kind: Kind,
) -> Message:
    """Store a message and return it. Raises LookupError for an unknown case and ValueError for an invalid `added`."""
    if state.find_case(case) is None:
        raise LookupError(f"the {state.instance} instance has no case {case}")
    server_time = state.conditions.compute_server_time(now)
    added = server_time.isoformat(timespec="milliseconds") if added is None else added
    if not is_date_time(added):
        raise ValueError(f"added must be an xs:dateTime, not {added!r}")
    contents = [
        (name, stored_files.store(Content(len(data), hashlib.sha256(data).hexdigest(), data))) for name, data in files
    ]
    return state.add(
        Message(
            instance=state.instance,
            message_id=state.take_next_number("internal" if kind == "internal" else "message"),
            case=case,
            kind=kind,
            text=text,
            added=added,
            stored=now,
            user_id=user_id,
            poster=None if user_id is None else scenario.user(user_id),
            files=tuple(
                File(state.take_next_number("attachment"), name, content.size, content, server_time)
                for name, content in contents
            ),
            origin="planted",
        )
    )
