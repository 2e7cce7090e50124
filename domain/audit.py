"""The audit: who asked for what, what came of it, and what changed; each entry chained to the one before by hash."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

NO_SYSTEM = "-"
"""The chain of calls that touched no system: those that were not let in, and look-ups of message types."""

CATALOGUE = "catalogue"
"""The chain of the operator's changes."""

FIRST_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that happened. `kind` is `call` or `change`; `detail` is JSON: what was asked, before and after."""

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


def chain(entries: list[AuditEntry], head: str, length: int) -> list[ChainedEntry]:
    """The entries, in order, after a chain that is so long and ends with this hash."""
    chained = []
    for entry in entries:
        length += 1
        head = hash_entry(entry, length, head)
        chained.append(ChainedEntry(entry, length, head))
    return chained


def hash_entry(entry: AuditEntry, number: int, previous: str) -> str:
    """The hash of an entry: of all it says, its place, and the hash before it."""
    text = json.dumps(
        [
            previous,
            entry.chain,
            number,
            entry.kind,
            entry.time.isoformat(timespec="milliseconds"),
            entry.operation,
            entry.caller,
            entry.outcome,
            entry.request_id,
            entry.detail,
        ],
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode()).hexdigest()
