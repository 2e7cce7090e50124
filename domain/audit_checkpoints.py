"""Checkpoints, before which entries of the audit were removed. `docs/reference/audit-hashes.md` specifies them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.audit import FIRST_HASH, RETENTION, AuditEntry, ChainHead

TYPE, VERSION = "budkavle-audit-checkpoint", 1
OPERATION, OUTCOME = "audit prune", "removed"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The last removed entry of each chain, and what the removed entries said that is still needed.

    Receipts up to number `receipts_until` were sealed by removed entries, and their last attempts were before
    `receipts_expired`. `state` has by chain a change that leads to the state after its removed entries. The first
    checkpoint has number 1; `previous` is the hash of the previous one, and `key` the SHA-256 of the public key.
    """

    number: int
    time: datetime
    previous: str
    key: str
    chains: Mapping[str, ChainHead]
    receipts_until: int = 0
    receipts_expired: datetime | None = None
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with its JSON text, which is signed, and the signature in base64."""

    checkpoint: Checkpoint
    text: str
    signature: str

    @property
    def hash(self) -> str:
        """Return the hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def build_entry(self, operator: str, now: datetime, removed: int, request_id: str) -> AuditEntry:
        """Return the entry that stores the checkpoint."""
        detail = {"checkpoint": self.text, "signature": self.signature, "removed": removed}
        return AuditEntry(RETENTION, "change", now, OPERATION, operator, OUTCOME, request_id, detail)


NO_CHECKPOINT_HASH = FIRST_HASH
"""The hash before the first checkpoint."""


def write_checkpoint(checkpoint: Checkpoint) -> str:
    """Return the JSON text of a checkpoint on one line. The signature covers this text."""
    expired = checkpoint.receipts_expired
    expired_text = None if expired is None else expired.isoformat(timespec="milliseconds")
    value = {
        "type": TYPE,
        "version": VERSION,
        "number": checkpoint.number,
        "time": checkpoint.time.isoformat(timespec="milliseconds"),
        "previous": checkpoint.previous,
        "key": checkpoint.key,
        "chains": {name: [head.length, head.hash] for name, head in sorted(checkpoint.chains.items())},
        "receipts": {"until": checkpoint.receipts_until, "expired": expired_text},
        "state": dict(sorted(checkpoint.state.items())),
    }
    return json.dumps(value, separators=(",", ":"))


def parse_checkpoint(detail: Mapping[str, Any]) -> SignedCheckpoint:
    """Return the checkpoint in the detail of an entry. Raises `ValueError`."""
    try:
        text, signature = str(detail["checkpoint"]), str(detail["signature"])
        value = json.loads(text)
        if (value["type"], value["version"]) != (TYPE, VERSION):
            raise ValueError(f"not a checkpoint of version {VERSION}")
        expired = value["receipts"]["expired"]
        checkpoint = Checkpoint(
            number=int(value["number"]),
            time=datetime.fromisoformat(value["time"]),
            previous=str(value["previous"]),
            key=str(value["key"]),
            chains={str(name): ChainHead(str(hash_), int(length)) for name, (length, hash_) in value["chains"].items()},
            receipts_until=int(value["receipts"]["until"]),
            receipts_expired=None if expired is None else datetime.fromisoformat(expired),
            state={str(name): dict(change) for name, change in value["state"].items()},
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError("a property is missing or has another type") from exc
    if write_checkpoint(checkpoint) != text:
        raise ValueError("not in the format of a checkpoint")
    return SignedCheckpoint(checkpoint, text, signature)
