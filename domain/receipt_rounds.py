"""Seal receipts in batches in the audit. `docs/reference/audit-hashes.md` specifies their hashes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

KIND = "receipts"
"""The kind of audit entries that seal receipts."""

OPERATION, OUTCOME = "sealReceipts", "sealed"

MARK = 4
"""Hexadecimal digits of each receipt's hash that a batch contains, to name the one that differs."""


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A stored receipt with its hash. `last_attempt` is in UTC, in ISO format with milliseconds."""

    number: int
    id: str
    system_id: str
    last_attempt: str
    hash: str


@dataclass(frozen=True, slots=True)
class ReceiptBatch:
    """What an entry says about the receipts of a system from number `first` to `last`.

    `earliest` is the earliest of their last attempts. `marks` are the first digits of their hashes.
    """

    count: int
    first: int
    last: int
    earliest: str
    hash: str
    marks: str

    @property
    def earliest_attempt(self) -> datetime:
        """Return `earliest` as a moment."""
        return datetime.fromisoformat(self.earliest)


@dataclass(frozen=True, slots=True)
class ReceiptRound:
    """The receipts of all systems with numbers above `after` and up to `until`, in batches by system."""

    after: int
    until: int
    batches: dict[str, list[ReceiptBatch]]

    @property
    def count(self) -> int:
        """Return the number of receipts."""
        return sum(batch.count for batches in self.batches.values() for batch in batches)

    def describe(self) -> dict[str, int]:
        """Return the detail of the entry of the round."""
        number = sum(map(len, self.batches.values()))
        return {"after": self.after, "until": self.until, "count": self.count, "batches": number}


@dataclass(slots=True)
class BatchBuilder:
    """Builds a batch from the receipts of a system, which are added in the order of their numbers."""

    _hashes: list[str] = field(default_factory=list)
    _first: int = 0
    _last: int = 0
    _earliest: str = ""

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, receipt: StoredReceipt) -> None:
        """Add the next receipt."""
        if not self._hashes:
            self._first, self._earliest = receipt.number, receipt.last_attempt
        self._last = receipt.number
        self._earliest = min(self._earliest, receipt.last_attempt)
        self._hashes.append(receipt.hash)

    def build(self) -> ReceiptBatch:
        """Return the batch of the receipts that were added."""
        marks = "".join(hash_[:MARK] for hash_ in self._hashes)
        return ReceiptBatch(len(self._hashes), self._first, self._last, self._earliest, hash_batch(self._hashes), marks)


def hash_receipt(fields: Sequence[int | str], failures: str) -> str:
    """Return the hash of a receipt from the values that are hashed, in their order, and its failed attempts as JSON.

    Texts are quoted as JSON in ASCII, numbers written in decimal. Raises `TypeError` for another value.
    """
    parts = [_quote(value) if type(value) is str else _write_number(value) for value in fields]
    return hashlib.sha256(f"[{','.join(parts)},{failures}]".encode()).hexdigest()


def write_failures(stored: str | None) -> str:
    """Return the failed attempts as JSON as they are hashed, from the stored JSON text."""
    if stored is None:
        return "[]"
    rows = [[number, format_stored_time(time), *rest] for number, time, *rest in json.loads(stored) or ()]
    return json.dumps(rows, separators=(",", ":"))


def format_stored_time(text: str) -> str:
    """Return a time as it is hashed, from the text `YYYY-MM-DD HH:MM:SS.ffffff` in UTC."""
    return f"{text[:10]}T{text[11:23]}+00:00"


def hash_batch(hashes: Sequence[str]) -> str:
    """Return the hash of a batch: that of the hashes of its receipts, each followed by a line feed."""
    return hashlib.sha256("".join(f"{hash_}\n" for hash_ in hashes).encode()).hexdigest()


def parse_batch(detail: dict[str, Any]) -> ReceiptBatch:
    """Return the batch in the detail of an entry. Raises `KeyError`, `TypeError` or `ValueError`."""
    batch = ReceiptBatch(**detail)
    if len(batch.marks) != batch.count * MARK:
        raise ValueError("the marks are not those of the receipts")
    return batch


def find_difference(batch: ReceiptBatch, found: Sequence[StoredReceipt], expired_before: datetime) -> str | None:
    """Return how the stored receipts of a batch differ from it, naming the first one, or None.

    If the earliest of its receipts was accepted before `expired_before`, any of them may have been removed.
    """
    if len(found) == batch.count and hash_batch([each.hash for each in found]) == batch.hash:
        return None
    if len(found) < batch.count and batch.earliest_attempt < expired_before:
        return _find_foreign(batch, found)
    marks = _list_marks(batch)
    for place, mark in enumerate(marks):
        if place == len(found) or found[place].hash[:MARK] != mark:
            return _describe_difference(batch, found, place)
    if len(found) > batch.count:
        return f"receipt {found[batch.count].id} was added"
    return "one of its receipts was changed"


def _describe_difference(batch: ReceiptBatch, found: Sequence[StoredReceipt], place: int) -> str:
    """Return the difference at the first place where a receipt is not the sealed one."""
    if len(found) < batch.count:
        where = f"after receipt {found[place - 1].id}" if place else "at its beginning"
        return f"{batch.count - len(found)} of {batch.count} receipts are missing, the first one {where}"
    what = "was added" if len(found) > batch.count else "was changed or moved"
    return f"receipt {found[place].id} {what}"


def _find_foreign(batch: ReceiptBatch, found: Sequence[StoredReceipt]) -> str | None:
    """Return that a remaining receipt is not one of the batch, or None. `found` is in the order of the batch."""
    marks = iter(_list_marks(batch))
    foreign = next((each for each in found if each.hash[:MARK] not in marks), None)
    return None if foreign is None else f"receipt {foreign.id} was changed or added"


def _list_marks(batch: ReceiptBatch) -> list[str]:
    return [batch.marks[start : start + MARK] for start in range(0, len(batch.marks), MARK)]


def _write_number(value: Any) -> str:
    if type(value) is not int:
        raise TypeError("a value is neither a text nor an integer")
    return str(value)


_quote = json.encoder.encode_basestring_ascii
