"""How long data is kept. What is in doubt, under way or waiting is kept in any case (decision 0036)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.audit import NO_CALLER, RETENTION, AuditEntry
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


@dataclass(frozen=True, slots=True)
class RemovalRun:
    """A run that removes old data, as its entries in the audit name it. By default it is a regular one."""

    time: datetime
    operator: str = NO_CALLER
    request_id: str = "-"


@dataclass(frozen=True, slots=True)
class Removal:
    """What one run removes by one rule."""

    run: RemovalRun
    rule: RetentionRule


def build_purge_entry(run: RemovalRun, rule: dict[str, Any], number: int) -> AuditEntry:
    """Return the entry about what a run has removed by a rule, which is described as by `RetentionRule.describe`."""
    detail = rule | {"removed": number}
    return AuditEntry(RETENTION, "change", run.time, OPERATION, run.operator, "removed", run.request_id, detail)
