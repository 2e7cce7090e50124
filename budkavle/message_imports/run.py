"""Run an import: read new messages in groups, store each group in one transaction, report what differs (decision 0043).

A run can end anywhere: a group is stored with the ids that prevent a second import, so the next run continues.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from budkavle.ids import create_id
from budkavle.message_imports.web_message_sender import SourceUnusable, WebMessageSender
from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import NotFound
from domain.grouping import split_by_size
from domain.message_imports import (
    ImportedMessage,
    ImportRules,
    PlannedMessage,
    Remark,
    RemarkKind,
    complete,
    plan_import,
    read_id,
)
from persistence import audit
from persistence import message_imports as imports
from persistence import web_messages as stored
from persistence.database import Database

PAGE = 500
"""Messages whose metadata is read at once."""

GROUP_MESSAGES, GROUP_BYTES = 100, 4 * 1024 * 1024
"""Maximum messages, and bytes of texts and files, of a transaction. A larger message has one of its own."""

_OPERATION = "import web-message-sender"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """The options of a run. `place` and `name` are the address and the operator's name of the other service.

    With `is_dry_run` nothing is changed. With `deletes`, messages that were deleted there are deleted here.
    """

    rules: ImportRules
    name: str
    place: str
    is_dry_run: bool = False
    deletes: bool = False


@dataclass(slots=True)
class ImportSummary:
    """The numbers of a run: messages there, imported now and earlier, and remarks by kind, field and reason."""

    found: int = 0
    imported: int = 0
    imported_before: int = 0
    rejected: int = 0
    deleted: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    remarks: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def describe(self) -> dict[str, Any]:
        """Return the summary as JSON, without ids."""
        return {
            "found": self.found,
            "imported": self.imported,
            "importedBefore": self.imported_before,
            "rejected": self.rejected,
            "deletedThere": {"deleted": self.deleted, "kept": self.kept},
            "files": self.files,
            "bytes": self.bytes,
            "remarks": [
                {"kind": kind, "field": name, "reason": reason, "number": number}
                for (kind, name, reason), number in sorted(self.remarks.items())
            ],
        }


class MessageImport:
    """Imports the messages of one snapshot. `report` is called with remarks, before their messages are stored.

    `show_progress` is called with the number of messages that were considered.
    """

    def __init__(
        self,
        database: Database,
        source: WebMessageSender,
        options: ImportOptions,
        report: Callable[[Sequence[Remark]], None],
        show_progress: Callable[[int, int], None],
    ) -> None:
        self._database = database
        self._source = source
        self._options = options
        self._report = report
        self._show_progress = show_progress
        self._summary = ImportSummary()
        self._repeated: dict[str, str] = {}

    async def run(self, operator: str, now: Callable[[], datetime]) -> ImportSummary:
        """Import all messages that are new, and return the summary."""
        summary = self._summary
        if self._options.deletes:
            await self._check_that_messages_exist()
        summary.found = await asyncio.to_thread(self._source.count)
        request_id = create_id()
        await self._record(operator, now(), "begun", request_id, {"found": summary.found})
        self._repeated = await asyncio.to_thread(self._source.find_repeated_ids)
        after: str | None = None
        considered = 0
        while ids := await asyncio.to_thread(self._source.list_ids, after, PAGE):
            after = ids[-1]
            await self._import_page(ids)
            considered += len(ids)
            self._show_progress(considered, summary.found)
        await self._follow_deletions(operator, now, request_id)
        if summary.imported:
            await self._report_spellings()
        numbers = {name: value for name, value in summary.describe().items() if name != "remarks"}
        await self._record(operator, now(), "imported", request_id, numbers)
        return summary

    async def _check_that_messages_exist(self) -> None:
        """Raise `SourceUnusable` if none of many imported messages exists there: all would be deleted here."""
        ids = await imports.list_present(self._database, self._options.name, imports.FIRST_ID, PAGE)
        if ids and len(await asyncio.to_thread(self._source.find_deleted, ids)) == len(ids):
            raise SourceUnusable(
                f"this database has no message that was imported from {self._options.name}, so --delete would delete "
                "all of them: name the right database, or delete them with budkavle messages delete"
            )

    async def _import_page(self, ids: Sequence[str]) -> None:
        known = await imports.find_known(self._database, [id_ for each in ids if (id_ := read_id(each))])
        new = [id_ for id_ in ids if id_.lower() not in known.imported or self._is_repeated(id_)]
        self._summary.imported_before += len(ids) - len(new)
        planned: list[PlannedMessage] = []
        remarks: list[Remark] = []
        for source in await asyncio.to_thread(self._source.read_messages, new):
            plan, found = plan_import(source, self._options.rules)
            if self._is_repeated(source.id):
                plan = None
                found.append(Remark(source.id, "id", RemarkKind.REJECTED, "is the id of another message in other case"))
            elif source.id.lower() in known.others:
                plan = None
                found.append(Remark(source.id, "id", RemarkKind.REJECTED, "is the id of another message here"))
            remarks += found
            if plan is None:
                self._summary.rejected += 1
            else:
                planned.append(plan)
        self._add_remarks(remarks)
        for group in split_by_size(((each, each.size) for each in planned), GROUP_MESSAGES, GROUP_BYTES):
            await self._import_group(group)

    def _is_repeated(self, source_id: str) -> bool:
        """Return whether another message there has the id in another case, and is imported."""
        return self._repeated.get(source_id.lower(), source_id) != source_id

    async def _import_group(self, group: Sequence[PlannedMessage]) -> None:
        ids = {each.message.id for each in group}
        if not self._options.is_dry_run:
            messages = await asyncio.to_thread(self._read_group, group)
            ids = await imports.store(self._database, self._options.name, messages)
        self._summary.imported += len(ids)
        self._summary.imported_before += len(group) - len(ids)
        self._summary.files += sum(len(each.files) for each in group if each.message.id in ids)
        self._summary.bytes += sum(each.size for each in group if each.message.id in ids)

    def _read_group(self, group: Sequence[PlannedMessage]) -> list[ImportedMessage]:
        texts = self._source.read_texts([each.source_id for each in group])
        contents = self._source.read_contents([file.id for each in group for file in each.files])
        return [complete(each, texts[each.source_id], contents) for each in group]

    async def _follow_deletions(self, operator: str, now: Callable[[], datetime], request_id: str) -> None:
        """Delete messages that were deleted there since they were imported, or report them."""
        after = imports.FIRST_ID
        while ids := await imports.list_present(self._database, self._options.name, after, PAGE):
            after = ids[-1]
            for message_id in sorted(await asyncio.to_thread(self._source.find_deleted, ids)):
                await self._follow_deletion(message_id, operator, now(), request_id)

    async def _follow_deletion(self, message_id: str, operator: str, now: datetime, request_id: str) -> None:
        kind = RemarkKind.DELETED if self._options.deletes else RemarkKind.KEPT
        self._add_remarks([Remark(message_id, "id", kind, "was deleted there after it was imported")])
        if not self._options.deletes:
            self._summary.kept += 1
            return
        self._summary.deleted += 1
        if not self._options.is_dry_run:
            entry = self._build_entry(operator, now, "deleted", request_id, {})
            try:
                await stored.delete(self._database, message_id, entry)
            except NotFound:
                # It was deleted here meanwhile.
                return

    async def _report_spellings(self) -> None:
        remarks = [
            Remark(
                "", f"external_reference.{each.field}", RemarkKind.CHANGED, _describe_spellings(each.key, each.number)
            )
            for each in await asyncio.to_thread(self._source.find_spellings)
        ]
        self._add_remarks(remarks)

    def _add_remarks(self, remarks: Sequence[Remark]) -> None:
        if remarks:
            self._report(remarks)
        for remark in remarks:
            self._summary.remarks[remark.kind, _drop_place(remark.field), remark.reason] += 1

    async def _record(
        self, operator: str, now: datetime, outcome: str, request_id: str, numbers: dict[str, Any]
    ) -> None:
        if self._options.is_dry_run:
            return
        rules = self._options.rules
        detail = {
            "service": self._options.name,
            "place": self._options.place,
            "timeZone": rules.zone.key,
            "municipality": rules.municipality_id,
            "instance": rules.oep_instance and str(rules.oep_instance),
            "omitsFiles": rules.omits_files,
            "deletes": self._options.deletes,
            **numbers,
        }
        await audit.record(self._database, self._build_entry(operator, now, outcome, request_id, detail))

    @staticmethod
    def _build_entry(operator: str, now: datetime, outcome: str, request_id: str, detail: dict[str, Any]) -> AuditEntry:
        return AuditEntry(
            chain=WEB_MESSAGES,
            kind="change",
            time=now,
            operation=_OPERATION,
            caller=operator,
            outcome=outcome,
            request_id=request_id,
            detail=detail,
        )


def _describe_spellings(key: str, number: int) -> str:
    return f"{key}: {number} that differ in case or accents were found alike there, and are different here"


def _drop_place(name: str) -> str:
    """Return `attachment.file_name` for `attachment[3].file_name`."""
    before, bracket, rest = name.partition("[")
    return before + rest.partition("]")[2] if bracket else name
