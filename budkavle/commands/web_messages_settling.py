"""Settle messages in doubt for an operator: by decision, by asking Open-E, or by sending them again (decision 0026).

The service settles the same messages at the same time. Each outcome is recorded in one transaction that locks the case
and changes only a message in doubt, so the first one counts, and the other reports what it was.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from budkavle.commands.console import print_line, write_moment
from budkavle.commands.progress import show_progress
from budkavle.ids import create_id
from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import BackendFailed, BudkavleError, NotFound
from domain.web_messages import MessageState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from budkavle.commands.progress import Report
    from budkavle.settings import Settings
    from domain.publications import PublicationStatus
    from domain.web_messages import OpenEName, WebMessage
    from open_e.read_backs import ReadBacks
    from persistence.database import Database
    from persistence.publications import DueCase, Resend, SettledCase

CONCURRENT_CASES = 4
"""Cases of one instance that are read back concurrently."""

SILENT_AFTER = 8
"""Slow failures of an instance in a row after which its other cases are not read."""

SLOW_SECONDS = 1
"""Seconds after which a failed read-back counts as slow."""

RESEND_SECONDS = 1
"""Seconds between two read-backs of the case of a message that is sent again, less than any lease."""


@dataclass(frozen=True, slots=True)
class SettlingContext:
    """The context of a command of an operator: the database, settings, the clock, and the name for the audit log."""

    database: Database
    settings: Settings
    now: Callable[[], datetime]
    operator: str

    def compute_before(self) -> datetime:
        """Return the time before which the call of a message that is still `sending` was sent, so that it has ended."""
        return self.now() - self.settings.build_call_times().longest_call

    def create_entry(self, outcome: str, **detail: Any) -> AuditEntry:
        """Return an entry for the audit log."""
        return AuditEntry(
            chain=WEB_MESSAGES,
            kind="change",
            time=self.now(),
            operation="messages settle",
            caller=self.operator,
            outcome=outcome,
            request_id=create_id(),
            detail=detail,
        )


async def find_status(database: Database, message_id: str, before: datetime) -> PublicationStatus:
    """Return the status of a message. Raises `NotFound`."""
    from persistence import publication_statuses as stored

    status = await stored.find(database, message_id, before)
    if status is not None:
        return status
    if await stored.has_trace(database, message_id):
        raise NotFound(f"message '{message_id}' was deleted")
    raise NotFound(
        f"message '{message_id}' does not exist; if it was not published, "
        f"`budkavle audit list --system {WEB_MESSAGES}` has an entry about it"
    )


async def mark_published(context: SettlingContext, message_id: str, open_e_id: int | None) -> None:
    """Make a message in doubt readable. Raises `BudkavleError` if it is not in doubt, or if another one has the id."""
    from persistence import publication_decisions as decisions

    before = context.compute_before()
    await _check_in_doubt(context, message_id)
    detail = {} if open_e_id is None else {"openEMessageId": open_e_id}
    entry = context.create_entry("published", **detail)
    if not await decisions.mark_found(context.database, message_id, open_e_id, context.now(), before, entry):
        raise await _explain_settled(context, message_id)
    context.database.notify_workers(is_certain=False)
    print_line(f"{message_id}: published; callers can read it now")


async def mark_not_published(context: SettlingContext, message_id: str) -> None:
    """Delete a message in doubt and free its key. Raises `BudkavleError` if it is not in doubt."""
    from persistence import publication_decisions as decisions

    before = context.compute_before()
    await _check_in_doubt(context, message_id)
    entry = context.create_entry("not_published")
    if not await decisions.mark_not_published(context.database, message_id, before, entry):
        raise await _explain_settled(context, message_id)
    print_line(f"{message_id}: not published; it is deleted here, and its Idempotency-Key is free")


async def settle_all(context: SettlingContext) -> bool:
    """Ask Open-E now about all cases with messages in doubt. Return whether all were read and none is in doubt now."""
    from persistence import audit, web_messages
    from persistence.publications import list_cases_in_doubt

    cases = await list_cases_in_doubt(context.database, context.compute_before())
    if not cases:
        print_line("no message is in doubt")
        return True
    run = _Run(context)
    try:
        with show_progress("Cases read:") as report:
            async with _open_read_backs(context) as read_backs:
                await run.settle(cases, read_backs, report)
    finally:
        if run.found:
            context.database.notify_workers(is_certain=False)
        counts = {"cases": run.read, "found": run.found, "notPublished": run.not_published}
        await audit.record(context.database, context.create_entry("asked", **counts))
    in_doubt = sum((await web_messages.count_in_doubt(context.database, context.compute_before())).values())
    for (instance, reason), number in run.errors.items():
        click.echo(f"{number} of {len(cases)} cases could not be read ({instance}): {reason}", err=True)
    print_line(f"{run.found} published, {run.not_published} not published, {_count(in_doubt)} still in doubt")
    if in_doubt and not run.errors:
        click.echo(
            "A message in doubt that is not on its case may still arrive there; the service settles it", err=True
        )
    # The case of a message that was deleted in doubt may be unread, although no message is in doubt.
    return in_doubt == 0 and not run.errors


async def resend(context: SettlingContext, message_id: str) -> None:
    """Send a message in doubt again once it is certain that it is not on its case and can no longer arrive there.

    Nothing is sent if Open-E has it: it becomes readable. Raises `BudkavleError` if it is not published afterwards.
    """
    from persistence import audit, web_messages
    from persistence.publications import Resend

    status = await _check_in_doubt(context, message_id)
    _check_configured(context, status.open_e)
    message = await web_messages.find_unsettled(context.database, message_id)
    if message is None:
        raise await _explain_settled(context, message_id)
    if message.is_from_owner and message.sender_user_id is None:
        raise BudkavleError(f"message '{message_id}' cannot be sent again: the partyId of its sender is not stored")
    message = await _load_files(context.database, message)
    order = Resend(message_id, context.create_entry("resent"))
    sent = await _wait_until_absent(context, order)
    if isinstance(sent, int):
        await audit.record(context.database, context.create_entry("found", messageId=message_id, openEMessageId=sent))
        context.database.notify_workers(is_certain=False)
        print_line(f"{message_id}: not sent; Open-E has it as message {sent}, and callers can read it now")
        return
    open_e_id = await _send(context, message, sent, order.entry.request_id)
    context.database.notify_workers(is_certain=False)
    print_line(f"{message_id}: sent again; Open-E has it as message {open_e_id}, and callers can read it now")


class _Run:
    """One run about all cases: its results, and the number of cases that could not be read, by instance and reason."""

    def __init__(self, context: SettlingContext) -> None:
        self.found = self.not_published = self.read = 0
        self.errors = Counter[tuple[str, str]]()
        self._context = context
        self._done = 0
        self._failures = Counter[str]()

    async def settle(self, cases: list[DueCase], read_backs: ReadBacks, report: Report) -> None:
        """Settle cases, some of them concurrently."""
        capacity = asyncio.Semaphore(CONCURRENT_CASES)

        async def settle_one(due: DueCase) -> None:
            async with capacity:
                await self._settle_one(due, read_backs)
                self._done += 1
                report(self._done, len(cases))

        try:
            async with asyncio.TaskGroup() as group:
                for due in cases:
                    group.create_task(settle_one(due))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _settle_one(self, due: DueCase, read_backs: ReadBacks) -> None:
        instance = str(due.case.open_e)
        if self._failures[instance] >= SILENT_AFTER:
            self.errors[instance, "not asked, because this Open-E did not answer about others"] += 1
            return
        began = time.monotonic()
        try:
            settled = await _read_and_settle(self._context, due, read_backs, None)
        except BackendFailed as exc:
            self._failures[instance] += time.monotonic() - began >= SLOW_SECONDS
            self.errors[instance, str(exc)] += 1
            return
        self._failures[instance] = 0
        self.read += 1
        if settled is not None:
            self.found += len(settled.found)
            self.not_published += len(settled.not_published)


async def _wait_until_absent(context: SettlingContext, order: Resend) -> datetime | int:
    """Read the case of a message until it is found, or certainly absent and marked as sent again.

    Return Open-E's id, or the time of `sent`. The claim on the case is renewed, so that the service does not delete the
    message meanwhile. Raises `BudkavleError` if Open-E cannot be asked, or if the message was settled meanwhile.
    """
    from persistence.publications import find_case

    began, has_reported = context.now(), False
    times = context.settings.build_call_times()
    async with _open_read_backs(context) as read_backs:
        while True:
            due = await find_case(context.database, order.message_id, context.compute_before())
            if due is None:
                raise await _explain_settled(context, order.message_id)
            try:
                settled = await _read_and_settle(context, due, read_backs, order)
            except BackendFailed as exc:
                raise BudkavleError(f"{exc}; message '{order.message_id}' was not sent and is still in doubt") from exc
            if settled is not None and order.message_id in settled.found:
                return settled.found[order.message_id]
            if settled is not None and settled.resent is not None:
                return settled.resent
            if not has_reported:
                has_reported = True
                until = max(began + times.margin, due.since + times.until_absent)
                click.echo(
                    f"not on its case; it could still arrive until about {write_moment(until)}, waiting", err=True
                )
            await asyncio.sleep(RESEND_SECONDS)


async def _read_and_settle(
    context: SettlingContext, due: DueCase, read_backs: ReadBacks, order: Resend | None
) -> SettledCase | None:
    """Read a case and record the outcomes of its messages. Raises `BackendFailed`."""
    from persistence import publications as stored

    await stored.take_over(context.database, due.case, context.now(), timedelta(seconds=context.settings.settle_lease))
    begun = context.now()
    try:
        messages = await read_backs.read_case(due.case, due.since)
    except BackendFailed:
        wait = timedelta(seconds=context.settings.settle_interval)
        await stored.record_failure(context.database, due.case, context.now() + wait)
        raise
    read_back = stored.ReadBack(begun, due.since, messages)
    rules = context.settings.build_settling_rules()
    return await stored.settle_case(context.database, due.case, read_back, context.now(), rules, order)


async def _send(context: SettlingContext, message: WebMessage, sent: datetime, request_id: str) -> int:
    """Send a message that is marked as sent now, and record the outcome. Return Open-E's id.

    Raises `BudkavleError` if it is not certainly published: it is in doubt again.
    """
    from budkavle.open_e import build_accounts, create_calls
    from domain.publications import PublicationOutcome
    from handlers.publications.outcomes import PublicationOutcomes
    from persistence import audit

    calls = create_calls(context.settings, build_accounts(context.settings), context.now, threads=1)
    outcomes = PublicationOutcomes(context.database, now=context.now, timeout=context.settings.record_timeout)
    try:
        async with calls.slot(message.open_e):
            open_e_id = await calls.add_message(message, added=sent, request_id=request_id, trace_parent=None)
    except BudkavleError as exc:
        # Even if it is certainly not published, keep it: the operator wants it to be sent.
        await outcomes.record(PublicationOutcome(message, sent, MessageState.UNKNOWN))
        await audit.record(context.database, context.create_entry("unknown", messageId=message.id))
        raise BudkavleError(f"{exc}; message '{message.id}' is in doubt again") from exc
    else:
        is_recorded = await outcomes.record(PublicationOutcome(message, sent, MessageState.PUBLISHED, open_e_id))
        if not is_recorded:
            raise BudkavleError(
                f"Open-E has published message '{message.id}' as {open_e_id}, but the database has not recorded it; "
                "the service finds it there"
            )
        entry = context.create_entry("published", messageId=message.id, openEMessageId=open_e_id)
        await audit.record(context.database, entry)
        return open_e_id
    finally:
        await outcomes.close()
        calls.close()


async def _load_files(database: Database, message: WebMessage) -> WebMessage:
    """Return a message with the contents of its files. Raises `NotFound` if it was deleted meanwhile."""
    from persistence.web_messages import read_attachment

    files = [
        replace(each, data=b"".join([piece async for piece in read_attachment(database, each)]))
        for each in message.attachments
    ]
    return replace(message, attachments=tuple(files))


@asynccontextmanager
async def _open_read_backs(context: SettlingContext) -> AsyncIterator[ReadBacks]:
    from budkavle.open_e import build_accounts, create_read_backs

    accounts = build_accounts(context.settings)
    read_backs = create_read_backs(context.settings, accounts, concurrent_cases=CONCURRENT_CASES)
    try:
        yield read_backs
    finally:
        read_backs.close()


async def _check_in_doubt(context: SettlingContext, message_id: str) -> PublicationStatus:
    """Return the status of a message in doubt. Raises `BudkavleError` for any other."""
    status = await find_status(context.database, message_id, context.compute_before())
    if not status.is_in_doubt:
        raise BudkavleError(f"message '{message_id}' is not in doubt: {_describe_outcome(context, status)}")
    return status


async def _explain_settled(context: SettlingContext, message_id: str) -> BudkavleError:
    """Return the error for a message that was in doubt a moment ago."""
    try:
        status = await find_status(context.database, message_id, context.compute_before())
    except NotFound:
        outcome = "it was not published, or its caller deleted it"
    else:
        outcome = _describe_outcome(context, status)
    return BudkavleError(f"message '{message_id}' is no longer in doubt: {outcome}")


def _describe_outcome(context: SettlingContext, status: PublicationStatus) -> str:
    match status.state:
        case MessageState.STORED:
            return "it has no case, so it was not sent to Open-E"
        case MessageState.PUBLISHED if status.open_e_message_id is not None:
            return f"it is published, in Open-E as message {status.open_e_message_id}"
        case MessageState.PUBLISHED:
            return "it is published"
    assert status.sent is not None  # noqa: S101  # An unsettled message was sent.
    until = status.sent + context.settings.build_call_times().longest_call
    return f"it is being sent, until {write_moment(until)} at the latest"


def _check_configured(context: SettlingContext, open_e: OpenEName) -> None:
    if open_e not in context.settings.build_accounts():
        name = "BUDKAVLE_OPEN_E_MUNICIPALITIES" if "/" in open_e else f"BUDKAVLE_OPEN_E_{open_e.upper()}_URL"
        raise BudkavleError(f"the {open_e} Open-E is not configured here: set {name} as for the service")


def _count(number: int) -> str:
    from persistence.web_messages import MAX_COUNTED

    return f"at least {number}" if number >= MAX_COUNTED else str(number)
