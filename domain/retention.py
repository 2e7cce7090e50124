"""How long data is kept, and who removed how much. What is in doubt, under way or waiting is kept (decision 0036)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from domain.audit import NO_CALLER, RETENTION, WEB_MESSAGES, AuditEntry
from domain.web_messages import MessageState, OepInstance


@dataclass(frozen=True, slots=True)
class RemovalOperation:
    """An operation that removes data, as its entries in the audit name it. `total` is the property of the number."""

    name: str
    chain: str
    outcome: str
    total: str


PURGE = RemovalOperation("purge", RETENTION, "removed", "removed")
MESSAGES_DELETE = RemovalOperation("messages delete", WEB_MESSAGES, "deleted", "messages")

OPERATIONS = {operation.name: operation for operation in (PURGE, MESSAGES_DELETE)}
"""The operations by their names."""


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
class MessageSelection:
    """Readable messages from before a time. None matches any state or instance."""

    before: datetime
    state: MessageState | None = None
    oep_instance: OepInstance | None = None

    def describe(self) -> dict[str, Any]:
        """Return the selection as the audit writes it."""
        group = {"state": self.state, "oepInstance": self.oep_instance}
        before = self.before.isoformat(timespec="milliseconds")
        return {"before": before} | {name: str(value) for name, value in group.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RemovalRun:
    """A run that removes data, as its entries in the audit name it. By default it is a regular removal by age."""

    time: datetime
    operator: str = NO_CALLER
    request_id: str = "-"
    operation: RemovalOperation = PURGE

    def build_entry(self, outcome: str, detail: dict[str, Any]) -> AuditEntry:
        """Return an entry of the run."""
        name, chain = self.operation.name, self.operation.chain
        return AuditEntry(chain, "change", self.time, name, self.operator, outcome, self.request_id, detail)


@dataclass(frozen=True, slots=True)
class Removal:
    """What one run removes by one rule, or by the selection of an operator."""

    run: RemovalRun
    rule: RetentionRule | MessageSelection


def build_removal_entry(run: RemovalRun, rule: dict[str, Any], number: int) -> AuditEntry:
    """Return the entry about what a run has removed by a rule, which is described as by its method `describe`."""
    return run.build_entry(run.operation.outcome, rule | {run.operation.total: number})
