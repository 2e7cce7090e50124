"""How long data is kept. What is in doubt, under way or waiting is kept in any case (decision 0036)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.audit import RETENTION, AuditEntry
from domain.web_messages import MessageState, OepInstance

OPERATION = "purge"


class DataKind(StrEnum):
    """A kind of data that is removed after a time."""

    MESSAGES = "messages"
    PARKED_DELIVERIES = "parkedDeliveries"
    EVENTS = "events"
    RECEIPTS = "receipts"
    IDEMPOTENCY_KEYS = "idempotencyKeys"
    AUDIT_ENTRIES = "auditEntries"


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """The period for which data of a kind is kept; for messages, those of a state and an Open-E instance."""

    kind: DataKind
    period: timedelta
    state: MessageState | None = None
    oep_instance: OepInstance | None = None

    def describe(self) -> dict[str, Any]:
        """Return the rule as commands and the audit write it."""
        group = {} if self.state is None else {"state": str(self.state), "oepInstance": str(self.oep_instance)}
        return {"kind": str(self.kind), **group, "days": round(self.period / timedelta(days=1), 3)}


def build_purge_entries(
    removed: Mapping[RetentionRule, int], operator: str, now: datetime, request_id: str
) -> list[AuditEntry]:
    """Return one entry for each rule by which a run has removed something.

    Removed entries of the audit have entries of their own, with checkpoints.
    """
    return [
        AuditEntry(
            RETENTION, "change", now, OPERATION, operator, "removed", request_id, rule.describe() | {"removed": number}
        )
        for rule, number in removed.items()
        if number and rule.kind is not DataKind.AUDIT_ENTRIES
    ]
