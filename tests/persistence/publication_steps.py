"""Store messages in doubt on one case and settle them, for the tests of publications."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from domain.audit import WEB_MESSAGES, AuditEntry
from domain.publications import CallTimes, Case, CaseMessage, SettlingRules, fingerprint_shown
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from persistence import audit, tables, web_messages
from persistence import publications as stored
from persistence.database import Database
from persistence.publications import DueCase, ReadBack, SettledCase
from persistence.work import short_read, short_write
from tests.factories import NOW, build_web_message

CASE = Case(OepInstance.EXTERNAL, 1068)
TIMES = CallTimes(timedelta(seconds=35), timedelta(seconds=20))
RULES = SettlingRules(TIMES, ZoneInfo("Europe/Stockholm"), timedelta(seconds=2))
LEASE = timedelta(seconds=10)
CERTAIN = NOW + TIMES.until_absent
SECOND = timedelta(seconds=1)
ENTRY = AuditEntry(WEB_MESSAGES, "change", NOW, "deleteWebMessageById", "tests", "deleted_in_doubt", "r1")


def to_case(text: str = "Hej", case: int = 1068, **changes: Any) -> WebMessage:
    references = (ExternalReference("flowInstanceId", str(case)), ExternalReference("errand", "1"))
    return build_web_message(**{"message": text, "external_references": references, "created": None} | changes)


async def send(database: Database, message: WebMessage, sent: datetime = NOW, *, is_unknown: bool = True) -> WebMessage:
    """Store a message whose response was lost, or that is still being sent."""
    await web_messages.begin_sending(database, message, sent)
    if is_unknown:
        await web_messages.mark_unknown(database, message.id)
    return message


def copy(number: int = 7, text: str = "Hej", files: Any = (), minute: datetime = NOW) -> CaseMessage:
    shown = minute.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None)
    return CaseMessage(number, fingerprint_shown(text, files, None), shown)


async def settle(
    database: Database,
    *copies: CaseMessage,
    begun: datetime = NOW,
    now: datetime | None = None,
    since: datetime = NOW,
    case: Case = CASE,
) -> SettledCase | None:
    await stored.claim(database, case, now or begun, LEASE)
    read_back = ReadBack(begun, since, copies)
    return await stored.settle_case(database, case, read_back, now or begun, RULES)


async def due_cases(database: Database, now: datetime = NOW, **options: Any) -> list[DueCase]:
    return await stored.list_due_cases(database, now, RULES, 10, **options)


async def open_e_id(database: Database, message: WebMessage) -> int | None:
    """Return Open-E's id of a readable message. Raises `NotFound`."""
    await web_messages.get(database, message.id)

    @short_read
    def select(connection: sa.Connection) -> int | None:
        column = tables.web_messages.c.open_e_message_id
        return connection.scalar(sa.select(column).where(tables.web_messages.c.id == message.id))

    return await database.read(select)


async def add_key(database: Database, message: WebMessage) -> None:
    @short_write
    def insert(connection: sa.Connection) -> None:
        values = {"hash": message.id.encode(), "caller": "c", "fingerprint": b"f", "message_id": message.id}
        connection.execute(tables.idempotency_keys.insert(), values)

    await database.write(insert)


async def audit_entries(database: Database) -> list[AuditEntry]:
    return [each.entry for _, each in await audit.list_page(database, after=0, limit=100, chain=WEB_MESSAGES)]
