"""The audit log: caller, operation, outcome and changes. Each entry contains the hash of the previous one."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

NO_SYSTEM = "-"
"""The chain of calls that concern no system: rejected callers and look-ups of message types."""

WEB_MESSAGES = "web-messages"
"""The chain of what happened to messages in doubt, and of messages that callers deleted."""

CATALOGUE = "catalogue"
"""The chain of changes that operators make."""

API_KEYS = "api-keys"
"""The chain of API keys that were created and revoked, or that expired."""

SEALS = "seals"
"""The chain of seals, each recorded after it was stored."""

READS = "reads"
"""The chain of counted reads of web messages."""

RECEIPTS = "receipts"
"""The chain of rounds in which the receipts of all systems were sealed."""

SIGNING = "signing"
"""The chain of statements that entries are signed from now on."""

RETENTION = "retention"
"""The chain of what was removed by age, erased or exported, without personal data."""

OTHER_CHAINS = (CATALOGUE, API_KEYS, WEB_MESSAGES, READS, RECEIPTS, RETENTION, SEALS, SIGNING, NO_SYSTEM)
"""The chains that belong to no system."""

NO_CALLER = "-"
"""The caller of an entry that the service wrote by itself, and of operators in entries of older versions."""

FIRST_HASH = "0" * 64
"""The previous hash of the first entry of a chain."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One audited action. The kind `refusals` summarises several rejected calls of one caller.

    `kind` is `call`, `change`, `refusals`, `reads` or `receipts`. `detail` is JSON: the request, the values before and
    after, the number of calls, or what is sealed of receipts. `time` has millisecond precision.
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
    """An entry with its position in the chain. The first entry has number 1. `detail` is the text that is hashed.

    `signature` is None without a key.
    """

    entry: AuditEntry
    number: int
    hash: str
    detail: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last hash and the number of entries of a chain."""

    hash: str
    length: int


@dataclass(frozen=True, slots=True)
class BrokenChain:
    """The first invalid entry of a chain: its number and the reason."""

    chain: str
    number: int
    reason: str


def write_detail(detail: dict[str, Any]) -> str:
    """Return a detail as the JSON text that is stored and hashed.

    The hash covers this text, not the decoded value. A database or JSON reader that normalises values can therefore not
    break a chain.
    """
    if not any(isinstance(value, list) and len(value) > _PART for value in detail.values()):
        return _dump(detail)
    # Encode long lists in parts: the JSON encoder holds Python's global interpreter lock (GIL) while it runs.
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


def truncate_time(moment: datetime) -> datetime:
    """Return a moment in UTC, truncated to the precision of audit entries (milliseconds)."""
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def format_time(moment: datetime) -> str:
    """Return a moment as the text that is hashed: in UTC, in ISO format with microseconds and offset."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def hash_entry(entry: AuditEntry, detail: str, number: int, previous: str) -> str:
    """Return the hash of an entry. It covers all fields, the detail as text, the number and the previous hash."""
    fields = (
        entry.kind,
        format_time(entry.time),
        entry.operation,
        entry.caller,
        entry.outcome,
        entry.request_id,
        detail,
    )
    return hash_fields(previous, entry.chain, number, *fields)


def hash_fields(
    previous: str,
    chain: str,
    number: int,
    kind: str,
    time: str,
    operation: str,
    caller: str,
    outcome: str,
    request_id: str,
    detail: str,
) -> str:
    """Return the hash of an entry as `hash_entry` does. `time` is in UTC, in ISO format with microseconds and offset.

    `previous` is hexadecimal. Raises `TypeError` for a field that is not text.
    """
    # `json.dumps` of a list returns the same text but takes several times as long, mostly to configure itself.
    head = (
        f'["{previous}",{_quote(chain)},{number},{_quote(kind)},{_quote(time)},{_quote(operation)},'
        f"{_quote(caller)},{_quote(outcome)},{_quote(request_id)}]"
    )
    # The head is JSON on one line, so the line break marks unambiguously where the detail begins.
    return hashlib.sha256(f"{head}\n{detail}".encode()).hexdigest()


_quote = json.encoder.encode_basestring_ascii
