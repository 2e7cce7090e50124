"""Plan the import of a message of WebMessageSender: the values to store, or why to reject it (decision 0043).

The rules need only the metadata of a message, so that a dry run reads neither texts nor files.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from domain.attachments import MAX_ATTACHMENT_BYTES, MAX_ATTACHMENTS
from domain.java_uuids import parse_java_uuid
from domain.media_types import detect_media_type
from domain.municipalities import ALL_MUNICIPALITIES, VALID_IDS, ServedMunicipalities
from domain.web_messages import (
    FLOW_INSTANCE_ID,
    MAX_MESSAGE_BYTES,
    Attachment,
    ExternalReference,
    OepInstance,
    OpenEName,
    WebMessage,
    normalise_case_numbers,
)

MAX_CASE = 2**31 - 1

MAX_REFERENCE_BYTES = 2500
"""Maximum bytes of UTF-8 of key and value. PostgreSQL indexes no longer ones."""

MIN_TEXT, MAX_TEXT = 3, 128
"""Characters of keys and values with which callers can look up messages, as those of the old service can."""

_NAMESPACE = UUID("68f262f3-b0bf-5b7f-bdfb-cb4c7086ffa7")
"""The namespace of ids of attachments, which the old service does not publish."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_JAVA_UUID = re.compile(r"[0-9a-f]{1,16}(-[0-9a-f]{1,16}){4}", re.IGNORECASE | re.ASCII)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}(; ?[\w.+-]+=[\w.+-]+)*", re.ASCII)
_UNSTORABLE = frozenset({datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)})
"""PostgreSQL's driver reads them as infinite, and without an offset."""

_CASE = re.compile(r"[0-9]{1,20}", re.ASCII)


class RemarkKind(StrEnum):
    """The consequence of a remark for its message."""

    REJECTED = "rejected"
    """The message is not imported."""

    OMITTED = "omitted"
    """The message is imported without a file."""

    CHANGED = "changed"
    """The message is imported with another value, or with one that callers find in another way."""

    DELETED = "deleted"
    """The message was deleted there after it was imported, and is deleted here."""

    KEPT = "kept"
    """The message was deleted there after it was imported, and is still here."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark about a field of a message, without its value. `field` has the name of its column there."""

    message_id: str
    field: str
    kind: RemarkKind
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A row of `attachment` without the content. `size` is None if there is no content."""

    id: str
    file_name: str | None
    mime_type: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """A row of `web_message` without the text, with its references and files in the order of their ids.

    `text_bytes` is None without a text; `has_nul` is whether the text contains U+0000.
    """

    id: str
    municipality_id: str | None
    oep_instance: str | None
    party_id: str | None
    sender_user_id: str | None
    created: str | None
    oep_message_id: int | None
    text_bytes: int | None
    has_nul: bool
    references: tuple[tuple[str | None, str | None], ...] = ()
    files: tuple[SourceFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportRules:
    """The decisions of the operator: the zone of `created`, and values for rows that have none.

    `municipalities` says which have their own Open-E. With `omits_files`, messages are imported without the files that
    the contract cannot return.
    """

    zone: ZoneInfo
    municipalities: ServedMunicipalities = ALL_MUNICIPALITIES
    municipality_id: str | None = None
    oep_instance: OepInstance | None = None
    omits_files: bool = False


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A message to import, except for its text and the contents of `files`, which have the ids of their rows.

    `source_id` is the id of its row, as it is written there.
    """

    source_id: str
    message: WebMessage
    open_e_message_id: int | None
    files: tuple[SourceFile, ...]
    size: int


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """A complete message to store. `open_e_message_id` is None without a case, or if the id is not known."""

    message: WebMessage
    open_e_message_id: int | None


def plan_import(source: SourceMessage, rules: ImportRules) -> tuple[PlannedMessage | None, list[Remark]]:
    """Return the message as it is stored, or None if it is rejected, and all remarks about it."""
    return _Planner(source, rules).plan()


def complete(planned: PlannedMessage, text: str, contents: Mapping[str, bytes]) -> ImportedMessage:
    """Return a planned message with its text and the contents of its files by the id of their row."""
    attachments = tuple(_build_attachment(planned.message.id, file, contents[file.id]) for file in planned.files)
    return ImportedMessage(replace(planned.message, message=text, attachments=attachments), planned.open_e_message_id)


def read_id(text: str) -> str | None:
    """Return an id of a message in lower case, None if it is not a UUID in 8-4-4-4-12 form."""
    return text.lower() if _UUID.fullmatch(text) else None


def _build_attachment(message_id: str, file: SourceFile, data: bytes) -> Attachment:
    name = file.file_name or ""
    return Attachment(
        # The same id in every attempt to import the message.
        id=str(uuid5(_NAMESPACE, f"{message_id}/{file.id}")),
        file_name=name,
        mime_type=file.mime_type or detect_media_type(data, name),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        data=data,
    )


class _Planner:
    """Plans one message, and collects remarks."""

    def __init__(self, source: SourceMessage, rules: ImportRules) -> None:
        self._source = source
        self._rules = rules
        self._remarks: list[Remark] = []

    def plan(self) -> tuple[PlannedMessage | None, list[Remark]]:
        source = self._source
        message_id = read_id(source.id)
        if message_id is None:
            self._reject("id", "is not a UUID in 8-4-4-4-12 form")
        self._check_text()
        oep_instance, municipality_id = self._choose_instance(), self._choose_municipality()
        message = WebMessage(
            id=message_id or source.id,
            message="",
            external_references=self._read_references(),
            party_id=self._read_party(),
            sender_user_id=self._check_nul("sender_user_id", source.sender_user_id),
            oep_instance=oep_instance or OepInstance.EXTERNAL,
            created=self._read_created(),
            municipality_id=municipality_id,
            # Callers of the API of that service get the spelling of the row, and nothing for null.
            oep_instance_as_sent=None if source.oep_instance == oep_instance else source.oep_instance or "",
            own_open_e=self._find_own_open_e(municipality_id, oep_instance),
        )
        files = tuple(self._plan_files())
        if any(remark.kind is RemarkKind.REJECTED for remark in self._remarks):
            return None, self._remarks
        open_e_message_id = source.oep_message_id if message.flow_instance_id is not None else None
        size = (source.text_bytes or 0) + sum(file.size or 0 for file in files)
        return PlannedMessage(source.id, message, open_e_message_id, files, size), self._remarks

    def _check_text(self) -> None:
        if self._source.text_bytes is None:
            self._change("message", "is null: stored as an empty text")
        elif self._source.text_bytes > MAX_MESSAGE_BYTES:
            self._reject("message", f"has more than {MAX_MESSAGE_BYTES} bytes of UTF-8")
        elif self._source.has_nul:
            self._reject("message", "contains U+0000")

    def _choose_municipality(self) -> str | None:
        given = self._check_nul("municipality_id", self._source.municipality_id)
        if given and given.strip():
            if given not in VALID_IDS:
                self._change("municipality_id", "is not the id of a municipality or county: kept, but no path has it")
            return given
        if self._rules.municipality_id is None:
            self._reject("municipality_id", "is null: name the municipality with --municipality")
        else:
            self._change("municipality_id", "is null: stored as --municipality says")
        return self._rules.municipality_id

    def _choose_instance(self) -> OepInstance | None:
        given = self._source.oep_instance
        if given is None or not given.strip():
            if self._rules.oep_instance is None:
                self._reject("oep_instance", "is null: name the Open-E with --instance")
            else:
                self._change("oep_instance", "is null: stored as --instance says")
            return self._rules.oep_instance
        try:
            return OepInstance(given.lower())
        except ValueError:
            self._reject("oep_instance", "is neither internal nor external")
            return None

    def _find_own_open_e(self, municipality_id: str | None, oep_instance: OepInstance | None) -> OpenEName | None:
        if municipality_id is None or oep_instance is None:
            return None
        return self._rules.municipalities.find_own_open_e(municipality_id, oep_instance)

    def _read_party(self) -> str | None:
        given = self._source.party_id
        if given is None:
            return None
        if _UUID.fullmatch(given):
            return given.lower()
        if not given.strip():
            self._change("party_id", "is blank: stored without a party")
            return None
        if not _JAVA_UUID.fullmatch(given):
            self._reject("party_id", "is not a UUID")
            return None
        self._change("party_id", "is not in 8-4-4-4-12 form: stored in it, as Java reads the text")
        return parse_java_uuid(given)

    def _read_created(self) -> datetime | None:
        given = self._source.created
        if given is None:
            self._reject("created", "is null")
            return None
        try:
            local = datetime.fromisoformat(given)
            moment = local.replace(tzinfo=self._rules.zone).astimezone(UTC)
        except (ValueError, OverflowError):
            self._reject("created", "is not a time of the years 1 to 9999")
            return None
        if moment in _UNSTORABLE:
            self._reject("created", "is the first or the last possible time")
            return None
        zone = self._rules.zone
        if moment.astimezone(zone).replace(tzinfo=None) != local:
            self._change("created", f"does not exist in {zone.key}, where clocks were put forward: stored as after it")
        elif local.replace(tzinfo=zone, fold=1).astimezone(UTC) != moment:
            self._change("created", f"occurred twice in {zone.key}, when clocks were put back: stored as the first")
        return moment

    def _read_references(self) -> tuple[ExternalReference, ...]:
        given = self._source.references
        if not given:
            self._reject("external_reference", "is empty: a message needs a reference")
        references: list[ExternalReference] = []
        for place, (key, value) in enumerate(given):
            if key is None or value is None:
                self._reject(_name("external_reference", place), "has a null key or value")
                continue
            self._check_reference(_name("external_reference", place), key, value)
            references.append(ExternalReference(key, value))
        normalised = normalise_case_numbers(references)
        if sum(each.key == FLOW_INSTANCE_ID for each in normalised) > 1:
            self._change("external_reference", f"names several {FLOW_INSTANCE_ID}: the first is the case")
        return normalised

    def _check_reference(self, field: str, key: str, value: str) -> None:
        self._check_nul(f"{field}.ref_key", key)
        self._check_nul(f"{field}.ref_value", value)
        if len(key.encode()) + len(value.encode()) > MAX_REFERENCE_BYTES:
            self._reject(field, f"has more than {MAX_REFERENCE_BYTES} bytes")
        if key.lower() == FLOW_INSTANCE_ID.lower():
            if not _CASE.fullmatch(value) or not 1 <= int(value) <= MAX_CASE:
                self._reject(f"{field}.ref_value", f"is no case: a number from 1 to {MAX_CASE}")
            elif value.startswith("0"):
                self._change(f"{field}.ref_value", "has leading zeros: stored without them")
        elif not MIN_TEXT <= len(key) <= MAX_TEXT:
            self._change(f"{field}.ref_key", _describe_unfound(len(key)))
        if not 1 <= len(value) <= MAX_TEXT:
            self._change(f"{field}.ref_value", _describe_unfound(len(value)))

    def _plan_files(self) -> Iterator[SourceFile]:
        taken = 0
        for place, file in enumerate(self._source.files):
            field = _name("attachment", place)
            self._check_nul(f"{field}.file_name", file.file_name)
            fault = _find_fault(file)
            if fault is None and taken == MAX_ATTACHMENTS:
                fault = f"is beyond the first {MAX_ATTACHMENTS} files"
            if fault is None:
                taken += 1
                yield self._complete_file(field, file)
            elif self._rules.omits_files:
                self._add(field, RemarkKind.OMITTED, fault)
            else:
                self._reject(field, f"{fault}: --omit-files imports the message without it")

    def _complete_file(self, field: str, file: SourceFile) -> SourceFile:
        name = file.file_name
        if name is None:
            name = ""
            self._change(f"{field}.file_name", "is null: stored as an empty name")
        media_type = file.mime_type
        if media_type is None or not _MEDIA_TYPE.fullmatch(media_type):
            media_type = None
            self._change(f"{field}.mime_type", "is not a media type: detected from the content and the name")
        return SourceFile(file.id, name, media_type, file.size)

    def _check_nul(self, field: str, text: str | None) -> str | None:
        if text is not None and "\0" in text:
            self._reject(field, "contains U+0000")
        return text

    def _reject(self, field: str, reason: str) -> None:
        self._add(field, RemarkKind.REJECTED, reason)

    def _change(self, field: str, reason: str) -> None:
        self._add(field, RemarkKind.CHANGED, reason)

    def _add(self, field: str, kind: RemarkKind, reason: str) -> None:
        self._remarks.append(Remark(self._source.id, field, kind, reason))


def _name(table: str, place: int) -> str:
    return f"{table}[{place}]"


def _describe_unfound(number: int) -> str:
    return f"has {number} characters: stored unchanged; look-ups take {MIN_TEXT} to {MAX_TEXT}"


def _find_fault(file: SourceFile) -> str | None:
    """Return the reason why the contract cannot return a file, or None."""
    if not file.size:
        return "is empty"
    if file.size > MAX_ATTACHMENT_BYTES:
        return f"has more than {MAX_ATTACHMENT_BYTES} bytes"
    return None
