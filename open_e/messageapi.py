"""Read the messages of a case back from Open-E's REST messageapi (decision 0026).

Its source is closed. The format is that of responses which clients of it have recorded, so parsing is tolerant:
elements may be unknown, absent or in any order. It is strict where a mistake would make a message look absent: then the
whole response counts as unreadable.
"""

import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from xml.parsers import expat

import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import HTTPError

from domain.errors import BackendUnavailable
from domain.log_texts import redact_for_log
from domain.publications import Case, CaseMessage, fingerprint_shown
from domain.web_messages import OpenEName
from open_e.accounts import Account
from open_e.connections import CallDeadline, DeadlineAdapter, apply_deadline

MAX_RESPONSE_BYTES = 64 * 2**20
"""Maximum bytes of a response. One message can have 16 MiB, and each character outside Latin-1 takes 9 bytes."""

MAX_DEPTH = 32
"""Maximum depth of elements. Recorded responses have 5."""

MAX_ELEMENTS = 1_000_000
"""Maximum number of elements: those of about 30,000 messages."""

_CHUNK = 2**16
_EARLIER = timedelta(days=1)
"""Begin reading earlier than the oldest message, because the time zone of the response is not known."""


class ReadBackFailed(BackendUnavailable):
    """The messages of the case could not be read from Open-E."""


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
        instance = case.open_e
        if instance not in self._accounts:
            raise ReadBackFailed(f"The {instance} Open-E is not configured")
        account = self._accounts[instance]
        connect_timeout = self._timeout / 2
        call = CallDeadline(connect_timeout=connect_timeout, read_timeout=self._timeout - connect_timeout)
        try:
            with apply_deadline(call):
                response = self._adapters[instance].send(
                    _prepare(account, case, since),
                    stream=True,
                    timeout=self._timeout - connect_timeout,
                    verify=account.ca or True,
                )
                with response:
                    if response.status_code != requests.codes.ok:
                        raise ReadBackFailed(f"Open-E answered {response.status_code}")
                    body = _read_body(response)
        except (OSError, HTTPError) as error:
            raise ReadBackFailed("Open-E did not answer", redact_for_log(f"{type(error).__name__}: {error}")) from error
        return parse_messages(body, response.headers.get("Content-Type", ""), case.flow_instance_id)

    def close(self) -> None:
        """Close idle connections. Running calls continue."""
        for adapter in self._adapters.values():
            adapter.close()


def build_url(callback: str, case: int, since: datetime) -> str:
    """Return the URL for the messages of a case. The messageapi is next to the callback."""
    begin = since.astimezone(UTC) - _EARLIER
    path = f"{callback.rstrip('/').rpartition('/')[0]}/messageapi/getmessages/flowinstance/{case}"
    return f"{path}?fromDate={quote(f'{begin:%Y-%m-%d %H:%M}', safe=':')}&toDate="


def _prepare(account: Account, case: Case, since: datetime) -> requests.PreparedRequest:
    auth = HTTPBasicAuth(account.username.encode(), account.password.encode()) if account.username else None
    headers = {"Accept": "text/xml", "Accept-Encoding": "identity"}
    url = build_url(account.url, case.flow_instance_id, since)
    return requests.Request("GET", url, headers=headers, auth=auth).prepare()


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
        messages |= dict.fromkeys(_parse_with_repair(text, case))
    return list(messages)


def _parse_with_repair(text: str, case: int) -> list[CaseMessage]:
    try:
        return _parse(text, case)
    except expat.ExpatError:
        # Some writers emit what XML does not allow, and one such message must not block the case.
        text = _REFERENCE.sub(_repair_reference, _NOT_ALLOWED.sub("\ufffd", text))
    try:
        return _parse(text, case)
    except expat.ExpatError as error:
        raise ReadBackFailed("Open-E's response is not XML", expat.ErrorString(error.code)) from error


def _parse(text: str, case: int) -> list[CaseMessage]:
    reader = _MessageReader(case)
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


class _MessageReader:
    """Collects the messages of a response while it is parsed, so that only one text is kept at a time."""

    def __init__(self, case: int) -> None:
        self.messages: list[CaseMessage] = []
        self._case = case
        self._elements = 0
        self._path: list[str] = []
        self._text: list[str] = []
        self._values: dict[str, str] = {}
        self._files: list[tuple[str, int]] = []

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
            self._end_message()
        elif place in _PLACES:
            self._values[place] = "".join(self._text)
        elif place == "attachments/ExternalMessageAttachment":
            self._files.append((self._values.pop(_FILE_NAME, ""), _to_int(self._values.pop(_FILE_SIZE, ""))))
        self._path.pop()
        self._text = []

    def _end_message(self) -> None:
        values = self._values
        if not values.get("message"):
            # Messages without text are never ours.
            return
        is_from_owner = values.get("postedByManager", "true").strip().lower() != "true"
        if values.get("flowInstanceID", "").strip() not in {"", str(self._case)}:
            return
        self.messages.append(
            CaseMessage(
                id=_to_int(values.get("messageID", "")),
                fingerprint=fingerprint_shown(
                    values["message"],
                    self._files,
                    values.get("poster/username") or None,
                    is_from_owner=is_from_owner,
                ),
                minute=_to_minute(values.get("added", "")),
            )
        )


_MESSAGE = ["Messages", "ExternalMessage"]
_FILE_NAME = "attachments/ExternalMessageAttachment/filename"
_FILE_SIZE = "attachments/ExternalMessageAttachment/size"
_PLACES = frozenset(
    {
        "postedByManager",
        "messageID",
        "message",
        "added",
        "flowInstanceID",
        "poster/username",
        _FILE_NAME,
        _FILE_SIZE,
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
