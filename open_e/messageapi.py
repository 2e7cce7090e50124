"""Read messages and files of cases from Open-E's REST messageapi: to settle those in doubt, and for callers.

Its source is closed (decision 0026). The format is that of responses which clients of it have recorded, so parsing is
tolerant: elements may be unknown, absent or in any order. It is strict where a mistake would make a message look
absent: then the whole response counts as unreadable.
"""

import codecs
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import quote
from xml.parsers import expat

import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import HTTPError

from domain.case_messages import ShownFile, ShownMessage
from domain.errors import BackendUnavailable, NotFound
from domain.log_texts import redact_for_log
from domain.publications import Case, CaseMessage, fingerprint_shown
from domain.web_messages import OpenEName
from open_e.accounts import Account
from open_e.connections import CallDeadline, DeadlineAdapter, apply_deadline
from open_e.shown_messages import Values, build_shown_message, is_of_staff

MAX_RESPONSE_BYTES = 64 * 2**20
"""Maximum bytes of a response. One message can have 16 MiB, and each character outside Latin-1 takes 9 bytes."""

MAX_DEPTH = 32
"""Maximum depth of elements. Recorded responses have 5."""

MAX_ELEMENTS = 1_000_000
"""Maximum number of elements: those of about 30,000 messages."""

T = TypeVar("T")

_BINARY = "application/octet-stream"

_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}( *;[ -~]{0,255})?", re.ASCII)
"""The media types of files that are passed on. Others would break the response, or a browser would guess."""

_CHUNK = 2**16
_EARLIER = timedelta(days=1)
"""Begin reading earlier than the oldest message, because the time zone of the response is not known."""


class ReadBackFailed(BackendUnavailable):
    """The messages of the case could not be read from Open-E."""


class _OpenEResponse(NamedTuple):
    """A response of the messageapi with the status 200."""

    body: bytes
    content_type: str


class MessageApi:
    """Reads the messages of cases. Thread-safe.

    `timeout` in seconds limits a whole call; at most half of it is spent on connecting.
    """

    def __init__(self, accounts: Mapping[OpenEName, Account], *, timeout: float, threads: int) -> None:
        self._accounts = dict(accounts)
        self._timeout = timeout
        self._adapters = {
            instance: DeadlineAdapter(pool_connections=1, pool_maxsize=threads, max_retries=0) for instance in accounts
        }

    def read_case(self, case: Case, since: datetime) -> list[CaseMessage]:
        """Return the messages on a case since a moment, possibly with earlier ones. Blocks.

        Raises `ReadBackFailed` if Open-E does not answer, refuses, or if its response cannot be read completely.
        """
        response = self._get(case.open_e, build_case_path(case.flow_instance_id, since))
        return parse_messages(response.body, response.content_type, case.flow_instance_id)

    def list_messages(self, open_e: OpenEName, path: str) -> list[ShownMessage]:
        """Return the messages at a path of `build_list_path`. Blocks. Raises the errors of `read_case`."""
        response = self._get(open_e, path)
        return parse_shown_messages(response.body, response.content_type)

    def read_file(self, open_e: OpenEName, attachment_id: int) -> ShownFile:
        """Return a file of a message. Blocks. Raises `NotFound`, and the errors of `read_case`."""
        response = self._get(open_e, f"getattachment/{attachment_id}", missing="Open-E has no such attachment")
        is_media_type = _MEDIA_TYPE.fullmatch(response.content_type) is not None
        return ShownFile(response.content_type if is_media_type else _BINARY, response.body)

    def _get(self, open_e: OpenEName, path: str, missing: str | None = None) -> _OpenEResponse:
        """Return the response to a read. With `missing`, a 404 is a `NotFound` with this text."""
        if open_e not in self._accounts:
            raise ReadBackFailed(f"The {open_e} Open-E is not configured")
        account = self._accounts[open_e]
        connect_timeout = self._timeout / 2
        call = CallDeadline(connect_timeout=connect_timeout, read_timeout=self._timeout - connect_timeout)
        try:
            with apply_deadline(call):
                response = self._adapters[open_e].send(
                    _prepare(account, path),
                    stream=True,
                    timeout=self._timeout - connect_timeout,
                    verify=account.ca or True,
                )
                with response:
                    if missing is not None and response.status_code == requests.codes.not_found:
                        raise NotFound(missing)
                    if response.status_code != requests.codes.ok:
                        raise ReadBackFailed(f"Open-E answered {response.status_code}")
                    body = _read_body(response)
        except (OSError, HTTPError) as error:
            raise ReadBackFailed("Open-E did not answer", redact_for_log(f"{type(error).__name__}: {error}")) from error
        return _OpenEResponse(body, response.headers.get("Content-Type", ""))

    def close(self) -> None:
        """Close idle connections. Running calls continue."""
        for adapter in self._adapters.values():
            adapter.close()


def build_case_path(case: int, since: datetime) -> str:
    """Return the path for the messages of a case since a moment, and for some earlier ones."""
    begin = since.astimezone(UTC) - _EARLIER
    return build_list_path("flowinstance", case, f"{begin:%Y-%m-%d %H:%M}")


def build_list_path(by: Literal["flowinstance", "family"], number: int, begin: str = "", end: str = "") -> str:
    """Return the path for the messages of a case or a flow family, of a period in minutes; empty is unlimited."""
    period = (f"{name}={quote(value, safe=':')}" for name, value in (("fromDate", begin), ("toDate", end)))
    return f"getmessages/{by}/{number}?{'&'.join(period)}"


def build_url(callback: str, path: str) -> str:
    """Return the URL of a path of the messageapi, which is next to the callback."""
    return f"{callback.rstrip('/').rpartition('/')[0]}/messageapi/{path}"


def _prepare(account: Account, path: str) -> requests.PreparedRequest:
    auth = HTTPBasicAuth(account.username.encode(), account.password.encode()) if account.username else None
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    return requests.Request("GET", build_url(account.url, path), headers=headers, auth=auth).prepare()


def _read_body(response: requests.Response) -> bytes:
    body = bytearray()
    while chunk := response.raw.read(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise ReadBackFailed(f"Open-E's response exceeds {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)


def parse_messages(body: bytes, content_type: str, case: int) -> list[CaseMessage]:
    """Return the messages in a response that were posted on this case.

    Raises `ReadBackFailed` if the response is not a complete list of messages: a message without id or time could be
    the one in doubt. A document type is rejected, so there are no entities.
    """
    messages: dict[CaseMessage, None] = {}
    for text in _decode(body, content_type):
        found = _parse_with_repair(text, partial(_build_case_message, case=case))
        messages |= dict.fromkeys(message for message in found if message is not None)
    return list(messages)


def parse_shown_messages(body: bytes, content_type: str) -> list[ShownMessage]:
    """Return the messages in a response, in its order. Raises the errors of `parse_messages`."""
    return _parse_with_repair(_decode(body, content_type)[0], build_shown_message)


def _parse_with_repair(text: str, build: Callable[[Values, list[Values]], T]) -> list[T]:
    try:
        return _parse(text, build)
    except expat.ExpatError:
        # Some writers emit what XML does not allow, and one such message must not block the case.
        text = _REFERENCE.sub(_repair_reference, _NOT_ALLOWED.sub("\ufffd", text))
    try:
        return _parse(text, build)
    except expat.ExpatError as error:
        raise ReadBackFailed("Open-E's response is not XML", expat.ErrorString(error.code)) from error


def _parse(text: str, build: Callable[[Values, list[Values]], T]) -> list[T]:
    reader = _MessageReader(build)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.add_text
    parser.StartDoctypeDeclHandler = _reject_doctype
    parser.Parse(text.encode(), True)
    return reader.messages


_NOT_ALLOWED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

_REFERENCE = re.compile(r"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,10}));(?:&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,10}));)?")
"""A character reference, or two: some Java versions write one for each half of a surrogate pair."""

_MAX_CHARACTER = 0x10FFFF


def _repair_reference(found: re.Match[str]) -> str:
    """Return valid references for one or two references."""
    numbers = [
        int(hexadecimal, 16) if hexadecimal else int(decimal)
        for hexadecimal, decimal in ((found[1], found[2]), (found[3], found[4]))
        if hexadecimal or decimal
    ]
    match numbers:
        case [high, low] if 0xD800 <= high < 0xDC00 <= low < 0xE000:  # noqa: PLR2004  # The two halves of UTF-16.
            numbers = [0x10000 + (high - 0xD800 << 10) + low - 0xDC00]
    return "".join(f"&#{number};" if _is_allowed(number) else "\ufffd" for number in numbers)


def _is_allowed(number: int) -> bool:
    is_character = number <= _MAX_CHARACTER and not 0xD800 <= number < 0xE000  # noqa: PLR2004  # The range of surrogates.
    return is_character and _NOT_ALLOWED.match(chr(number)) is None


_CHARSET = re.compile(r"charset\s*=\s*\"?'?([\w.:-]+)", re.IGNORECASE)
_ENCODING = re.compile(rb"<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_CHARSETS = {"iso-8859-1", "iso-8859-15", "latin1", "windows-1252", "us-ascii", "utf-8"}


def _decode(body: bytes, content_type: str) -> list[str]:
    """Return the text of a response, or two readings of it.

    Wrong declarations do occur, so a body that is valid UTF-8 is read as UTF-8 too. Texts that another system has
    encoded twice are valid UTF-8 in ISO-8859-1, so the declared character set is not ignored either.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    declared = _CHARSET.search(content_type)
    in_xml = _ENCODING.match(body[:200].lstrip())
    charset = declared[1] if declared else in_xml[1].decode("ascii") if in_xml else "utf-8"
    readings: dict[str, None] = {}
    for each in ("utf-8", charset.lower()):
        if each in _CHARSETS:
            with suppress(UnicodeDecodeError):
                readings[body.decode(each)] = None
    if not readings:
        raise ReadBackFailed("Open-E's response is not in its declared character set", redact_for_log(charset))
    return list(readings)


def _reject_doctype(*_declaration: Any) -> None:
    raise ReadBackFailed("Open-E's response has a document type")


class _MessageReader(Generic[T]):
    """Builds the messages of a response while it is parsed, so that only one text is kept at a time.

    `build` gets the texts of a message by the places of their elements, and those of each file.
    """

    def __init__(self, build: Callable[[Values, list[Values]], T]) -> None:
        self.messages: list[T] = []
        self._build = build
        self._elements = 0
        self._path: list[str] = []
        self._text: list[str] = []
        self._values: Values = {}
        self._files: list[Values] = []

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if not self._path and name != "Messages":
            raise ReadBackFailed("Open-E's response is not a list of messages")
        self._path.append(name)
        self._text = []
        self._elements += 1
        if len(self._path) > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise ReadBackFailed("Open-E's response has too many elements")
        if self._path == _MESSAGE:
            self._values, self._files = {}, []

    def add_text(self, text: str) -> None:
        self._text.append(text)

    def end(self, _name: str) -> None:
        place = "/".join(self._path[2:])
        if self._path == _MESSAGE:
            self.messages.append(self._build(self._values, self._files))
        elif place in _PLACES:
            self._values[place] = "".join(self._text)
        elif place == "attachments/ExternalMessageAttachment":
            self._files.append({name: self._values.pop(f"{_FILE}{name}", "") for name in _FILE_PLACES})
        self._path.pop()
        self._text = []


def _build_case_message(values: Values, files: list[Values], *, case: int) -> CaseMessage | None:
    """Return a message on a case, None for one of another case, or without text, which is never ours."""
    if not values.get("message") or values.get("flowInstanceID", "").strip() not in {"", str(case)}:
        return None
    return CaseMessage(
        id=_to_int(values.get("messageID", "")),
        fingerprint=fingerprint_shown(
            values["message"],
            [(file["filename"], _to_int(file["size"])) for file in files],
            values.get("poster/username") or None,
            is_from_owner=not is_of_staff(values),
        ),
        minute=_to_minute(values.get("added", "")),
    )


_MESSAGE = ["Messages", "ExternalMessage"]
_FILE = "attachments/ExternalMessageAttachment/"
_FILE_PLACES = ("attachmentID", "filename", "size")
_PLACES = frozenset(
    {
        *("postedByManager", "messageID", "message", "added", "flowInstanceID"),
        *(f"poster/{name}" for name in ("userID", "username", "firstname", "lastname", "email")),
        *(f"{_FILE}{name}" for name in _FILE_PLACES),
    }
)


def _to_int(text: str) -> int:
    if re.fullmatch(r"\s*[0-9]{1,18}\s*", text, re.ASCII) is None:
        raise ReadBackFailed("Open-E's response has a message without a valid id or size")
    return int(text)


def _to_minute(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ReadBackFailed("Open-E's response has a message without a valid time") from error
    return moment.replace(second=0, microsecond=0, tzinfo=None)
