"""The audit: who asked for what, what came of it, and what changed; each entry chained to the one before by hash."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

NO_SYSTEM = "-"
"""The chain of calls that touched no system: those that were not let in, and look-ups of message types."""

CATALOGUE = "catalogue"
"""The chain of the operator's changes."""

FIRST_HASH = "0" * 64
"""What stands for the hash before the first entry of a chain."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that happened, or with the kind `refusals` several refused calls of one caller.

    `kind` is `call`, `change` or `refusals`; `detail` is JSON: what was asked, before and after, or how many calls.

    `time` counts in milliseconds: what is finer is not kept.
    """

    chain: str
    kind: str
    time: datetime
    operation: str
    caller: str
    outcome: str
    request_id: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChainedEntry:
    """An entry in its place: the first of a chain has number 1."""

    entry: AuditEntry
    number: int
    hash: str


def write_detail(detail: dict[str, Any]) -> str:
    """The text of a detail as it is stored and hashed.

    The text itself is hashed, never what it would be after a way through a database and a JSON reader: so no such way
    can break a chain.
    """
    if not any(isinstance(value, list) and len(value) > _PART for value in detail.values()):
        return _dump(detail)
    # In parts: an encoder keeps Python's lock for as long as it runs.
    members = (f"{_dump(name)}:{_dump_in_parts(value)}" for name, value in sorted(detail.items()))
    return f"{{{','.join(members)}}}"


_PART = 500


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _dump_in_parts(value: Any) -> str:
    if not isinstance(value, list):
        return _dump(value)
    parts = (_dump(value[start : start + _PART])[1:-1] for start in range(0, len(value), _PART))
    return f"[{','.join(parts)}]"


def kept_time(moment: datetime) -> datetime:
    """A moment as an entry keeps it: in UTC, to the millisecond."""
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def hash_entry(entry: AuditEntry, detail: str, number: int, previous: str) -> str:
    """The hash of an entry: of all it says, its detail as text, its place, and the hash before it."""
    head = json.dumps(
        [
            previous,
            entry.chain,
            number,
            entry.kind,
            entry.time.astimezone(UTC).isoformat(timespec="microseconds"),
            entry.operation,
            entry.caller,
            entry.outcome,
            entry.request_id,
        ],
        separators=(",", ":"),
    )
    # JSON on one line: where the detail begins cannot be moved.
    return hashlib.sha256(f"{head}\n{detail}".encode()).hexdigest()
