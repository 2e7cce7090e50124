"""Erase a person in steps that can be repeated (decision 0036)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from budkavle.ids import create_id
from budkavle.retention import BYTES_AT_ONCE
from domain.audit import RETENTION, AuditEntry
from domain.grouping import split_by_size
from domain.web_messages import READABLE_STATES
from persistence import persons
from persistence.database import Database

MESSAGES_AT_ONCE = 25
"""Maximum messages that one transaction deletes, each with any number of references and files."""

ROUNDS = 4
"""Maximum rounds, so that a caller who keeps writing messages to the person does not keep the command going."""

ATTEMPTS, INTERVAL_SECONDS = 20, 0.25
"""Attempts to drop deliveries that a worker has locked, and the interval between them."""

STAYS = {
    "audit": "entries about calls, without content, recipient or references; they are evidence, and chained by hashes",
    "recorded reads": "counts of reads whose key was destroyed, so that they can no longer be related to the person",
    "receipts": "proof that deliveries arrived: ids, times and a hash, until BUDKAVLE_RECEIPT_DAYS",
    "idempotency keys": "hashes of the callers' keys without the content, so that a repetition publishes nothing",
    "traces": "ids of deleted messages in Open-E, for 7 days; hashes of messages in doubt, until they are settled",
    "Open-E and receivers": "messages on cases, and deliveries that receivers accepted: erase them there",
    "replaced services": "their messages, and here the ids of those that were imported, so that these do not return; "
    "a later import takes the others: erase them there",
    "backups": "copies from before, until they are replaced: erase again after restoring one",
}
"""The data that an erasure leaves, with the reasons, as in `docs/how-to/personal-data.md`."""

NOT_FREED = "bytes of deleted rows in the files of the database, until they are overwritten"


class PersonErasure:
    """Erases a person, also what callers write meanwhile, in at most `ROUNDS`. `longest_call` is as in `CallTimes`."""

    def __init__(
        self,
        database: Database,
        party_id: str,
        operator: str,
        now: Callable[[], datetime],
        longest_call: timedelta,
    ) -> None:
        self._database = database
        self._party_id = party_id
        self._operator = operator
        self._now = now
        self._longest_call = longest_call
        self._request_id = create_id()
        self._numbers = Counter(dict.fromkeys(("messages", "files", "inDoubt", "events", "deliveries"), 0))

    async def run(self) -> dict[str, Any]:
        """Erase the person, and return a report. Its `repeat` is whether something could not be erased yet."""
        await persons.forget_reads(self._database, self._party_id, self._build_entry("begun"))
        for _ in range(ROUNDS):
            if not await self._run_round():
                break
        await self._database.wake_workers()
        messages = await persons.list_messages(self._database, self._party_id)
        events = await self._find_events(messages)
        # Reads that were recorded meanwhile may have created a new key.
        entry = self._build_entry("interrupted" if messages or events else "completed", dict(self._numbers))
        await persons.forget_reads(self._database, self._party_id, entry)
        is_freed = await self._database.free_deleted_bytes()
        remaining = {"messages": len(messages), "events": len(events)}
        return {
            "erased": dict(self._numbers),
            "remaining": remaining,
            "repeat": any(remaining.values()),
            "stays": STAYS | ({} if is_freed else {"deleted rows": NOT_FREED}),
        }

    async def _run_round(self) -> bool:
        """Erase what is there now. Return whether something was erased, so that there may be more."""
        # A message that becomes readable after the look at events may have one, so only those of this list are erased.
        messages = await persons.list_messages(self._database, self._party_id)
        before = self._numbers.total()
        if await self._erase_events(messages):
            readable = {each.id: each for each in messages if each.state in READABLE_STATES}
            sizes = ((each.id, each.bytes) for each in readable.values())
            for ids in split_by_size(sizes, MESSAGES_AT_ONCE, BYTES_AT_ONCE):
                number = await persons.erase_messages(self._database, ids, self._build_entry("erased"))
                self._numbers["messages"] += number
                self._numbers["files"] += sum(readable[id_].files for id_ in ids) if number else 0
            for each in messages:
                if each.state not in READABLE_STATES:
                    self._numbers["inDoubt"] += await persons.erase_in_doubt(
                        self._database, each.id, self._now() - self._longest_call, self._build_entry("erased")
                    )
        return self._numbers.total() > before

    async def _find_events(self, messages: Collection[persons.PersonMessage]) -> list[str]:
        return await persons.find_events(self._database, {self._party_id, *(each.id for each in messages)})

    async def _erase_events(self, messages: Collection[persons.PersonMessage]) -> bool:
        """Erase the events about the person and these messages. Return False if deliveries of them remain locked."""
        left = await self._find_events(messages)
        for _ in range(ATTEMPTS):
            for start in range(0, len(left), persons.EVENTS_AT_ONCE):
                ids = left[start : start + persons.EVENTS_AT_ONCE]
                erased = await persons.erase_events(self._database, ids, self._build_entry("erased"))
                self._numbers["events"] += erased.events
                self._numbers["deliveries"] += erased.deliveries
            left = await persons.find_remaining_events(self._database, left)
            if not left:
                return True
            await asyncio.sleep(INTERVAL_SECONDS)
        return False

    def _build_entry(self, outcome: str, detail: dict[str, Any] | None = None) -> AuditEntry:
        return build_entry("person erase", outcome, self._operator, self._now(), detail or {}, self._request_id)


async def count_erasable(database: Database, party_id: str) -> dict[str, int]:
    """Return how much there is to erase."""
    messages = await persons.list_messages(database, party_id)
    events = await persons.find_events(database, {party_id, *(each.id for each in messages)})
    return {
        "messages": len(messages),
        "files": sum(each.files for each in messages),
        "events": len(events),
        "deliveries": len(await persons.list_deliveries(database, events)),
    }


def build_entry(
    operation: str, outcome: str, operator: str, now: datetime, detail: dict[str, Any], request_id: str | None = None
) -> AuditEntry:
    """Return an entry about a person, which must not contain personal data."""
    return AuditEntry(RETENTION, "change", now, operation, operator, outcome, request_id or create_id(), detail)
