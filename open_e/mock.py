"""A mock of Open-E's integration callback: one behaviour, and the door for Python tests.

    with mock_open_e(cases={1068}) as open_e:
        ...                                   # code under test posts with `requests`
        assert open_e.messages[0]["message"] == "Hej"

The other door is a server (`open_e.mock_server`, or `budkavle mock-open-e` on the command line).

It refuses what Open-E refuses, in Open-E's order and words. It does not imitate:
- operations other than addMessage, which it answers as unknown; WSDL, schema and service pages; the messageapi;
- MTOM and multipart requests (415) and methods other than POST;
- users: any userID is taken, as Open-E does, and none is looked up; access is denied only when ordered;
- the setting of read receipts: every flow takes them; history, notifications, what owners see;
- limits of the database: length of a text or a file name, its character set;
- the data of files: size as declared and SHA-256 of what came are kept, the bytes are not;
- what Open-E's own XML parser says about broken XML: the beginning of the text is the same.

This module and those that it imports need nothing but the standard library, lxml and `responses` (with the
`requests` that it patches), so that it can be used beside any other package.
"""

import base64
import binascii
import hmac
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Any, Literal, get_args

import requests
import responses

from open_e.mock_add_message import AddMessage, access_denied, not_found, read_add_message
from open_e.soap_server import SoapFault, content_type, read_request, write_fault, write_message_id

Instance = Literal["external", "internal"]

FaultName = Literal[
    "FlowInstanceNotFound", "AccessDenied", "NoDetail", "Http500", "Slow", "Reset", "AcceptedAnswerLost", "Garbage"
]
FAULT_NAMES: tuple[FaultName, ...] = get_args(FaultName)

_STORING: frozenset[FaultName] = frozenset({"Slow", "Garbage", "AcceptedAnswerLost"})

_FIRST_IDS: dict[Instance, int] = {"external": 1, "internal": 1_000_001}
"""Each instance counts for itself; far apart, so that a mix-up is seen."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a door has to do: wait `delay` seconds, then answer, reset the connection, or close it without a byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    ending: Literal["answer", "reset", "close"] = "answer"


@dataclass(slots=True)
class _Order:
    fault: FaultName
    times: int
    seconds: float


class MockOpenE:
    """Both Open-E instances: what they know, what they were sent, and how they are to fail next. Thread-safe.

    `cases` are the numbers of the known cases in either instance; None makes every positive number one. With a
    `username`, every call needs it and the password by HTTP Basic.
    """

    def __init__(
        self, *, cases: Collection[int] | None = None, username: str | None = None, password: str | None = None
    ) -> None:
        self._cases = None if cases is None else frozenset(cases)
        self._credentials = None if username is None else f"{username}:{password or ''}".encode()
        self._lock = threading.Lock()
        self._next_ids = dict(_FIRST_IDS)
        self._messages: list[dict[str, Any]] = []
        self._orders: deque[_Order] = deque()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The stored messages, oldest first, as the control API gives them.

        Keys: instance, messageID, flowInstanceID, message, userID (None without one), added (as sent), attachments
        with filename, size (as declared, bytes) and sha256.
        """
        with self._lock:
            return list(self._messages)

    def fail(self, fault: FaultName, *, times: int = 1, seconds: float = 1.0) -> None:
        """Orders a fault for the next `times` messages that would otherwise be accepted, in either instance.

        Orders are carried out one after the other. `Slow` (answers after `seconds`), `Garbage` (answers 200 with no
        XML) and `AcceptedAnswerLost` (closes the connection) store the message first; `Reset`, `NoDetail`,
        `Http500`, `FlowInstanceNotFound` and `AccessDenied` store nothing. Raises ValueError for any other name.
        """
        if fault not in FAULT_NAMES or times < 1 or seconds < 0:
            raise ValueError(f"not a fault to order: {fault!r}, {times} times, {seconds} seconds")
        with self._lock:
            self._orders.append(_Order(fault, times, seconds))

    def clear(self) -> None:
        """Forgets the messages and the ordered faults. messageIDs go on."""
        self.clear_messages()
        self.clear_faults()

    def clear_messages(self) -> None:
        """Forgets the messages only."""
        with self._lock:
            self._messages.clear()

    def clear_faults(self) -> None:
        """Forgets the ordered faults only."""
        with self._lock:
            self._orders.clear()

    def answer(self, instance: Instance, headers: Mapping[str, str], body: bytes | bytearray) -> Answer:
        """What that instance does with a POST to its callback. `headers` has lower-case names."""
        refusal = self._refusal(headers.get("authorization"))
        if refusal is not None:
            return refusal
        kind = Message()
        kind["content-type"] = headers.get("content-type", "text/xml")
        if kind.get_content_type() != "text/xml":
            return Answer(415, {}, b"")
        charset = kind.get_param("charset")
        charset = charset if isinstance(charset, str) else None
        try:
            message = read_add_message(read_request(body, charset), self._cases)
            return self._accept(instance, message, charset)
        except SoapFault as fault:
            return Answer(500, {"Content-Type": content_type(charset)}, write_fault(fault, charset))

    def _refusal(self, authorization: str | None) -> Answer | None:
        """A 401, or None for a caller who may go on."""
        if self._credentials is None:
            return None
        scheme, _, credentials = (authorization or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(credentials.strip(), validate=True)
            except (binascii.Error, ValueError):
                given = b""
            if hmac.compare_digest(given, self._credentials):
                return None
        text = b"Bad credentials" if authorization else b"Unauthorized"
        return Answer(401, {"Content-Type": "text/plain", "WWW-Authenticate": 'Basic realm="Mock Open-E"'}, text)

    def _accept(self, instance: Instance, message: AddMessage, charset: str | None) -> Answer:
        with self._lock:
            order = self._next_order()
            fault = order.fault if order else None
            message_id = self._store(instance, message) if fault is None or fault in _STORING else 0
        match fault:
            case "FlowInstanceNotFound":
                raise not_found(message.case)
            case "AccessDenied":
                raise access_denied()
            case "NoDetail":
                raise SoapFault("java.lang.RuntimeException: Unable to add message")
            case "Http500":
                return Answer(500, {"Content-Type": "text/html;charset=ISO-8859-1"}, b"<html>Internal error</html>")
            case "Garbage":
                return Answer(200, {"Content-Type": "text/html;charset=ISO-8859-1"}, b"This is not XML")
            case "Reset":
                return Answer(0, {}, b"", ending="reset")
            case "AcceptedAnswerLost":
                return Answer(0, {}, b"", ending="close")
        delay = order.seconds if order else 0.0
        return Answer(200, {"Content-Type": content_type(charset)}, write_message_id(message_id, charset), delay=delay)

    def _next_order(self) -> _Order | None:
        if not self._orders:
            return None
        order = self._orders[0]
        order.times -= 1
        if order.times == 0:
            self._orders.popleft()
        return order

    def _store(self, instance: Instance, message: AddMessage) -> int:
        message_id = self._next_ids[instance]
        self._next_ids[instance] += 1
        self._messages.append(
            {
                "instance": instance,
                "messageID": message_id,
                "flowInstanceID": message.case,
                "message": message.text,
                "userID": message.user_id,
                "added": message.added,
                "attachments": [file._asdict() for file in message.files],
            }
        )
        return message_id


@contextmanager
def mock_open_e(
    *,
    url_external: str = "http://open-e.test/external/api/callback",
    url_internal: str = "http://open-e.test/internal/api/callback",
    cases: Collection[int] | None = None,
    username: str | None = None,
    password: str | None = None,
    passthrough: Collection[str] = (),
) -> Iterator[MockOpenE]:
    """A mock Open-E that answers `requests` made anywhere in this process, at the two addresses.

    Any other address fails, but for those that begin with one of `passthrough`, which really are called. Nothing
    waits here: `Slow` is a requests.ReadTimeout when the caller's read timeout is shorter than its seconds, and an
    answer at once when it is not. `Reset` and `AcceptedAnswerLost` are a requests.ConnectionError.
    """
    mock = MockOpenE(cases=cases, username=username, password=password)
    doors: dict[Instance, str] = {"external": url_external, "internal": url_internal}
    with responses.RequestsMock(assert_all_requests_are_fired=False, passthru_prefixes=tuple(passthrough)) as patched:
        for instance, url in doors.items():

            def answer(request: Any, instance: Instance = instance) -> Exception | tuple[int, Mapping[str, str], bytes]:
                return _answer_in_process(mock, instance, request)

            patched.add_callback(responses.POST, url, answer, content_type=None)
        yield mock


def _answer_in_process(
    mock: MockOpenE, instance: Instance, request: Any
) -> Exception | tuple[int, Mapping[str, str], bytes]:
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes | bytearray):
        body = b"".join(body)
    answer = mock.answer(instance, {name.lower(): value for name, value in request.headers.items()}, body)
    if answer.ending != "answer":
        return requests.ConnectionError("The mock Open-E ended the connection, as ordered")
    if answer.delay > _read_timeout(request.req_kwargs.get("timeout")):
        return requests.ReadTimeout("The mock Open-E is slow, as ordered")
    return answer.status, answer.headers, answer.body


def _read_timeout(timeout: Any) -> float:
    """The read timeout in seconds, from any form that requests takes it in; no timeout is for ever."""
    if isinstance(timeout, tuple):
        timeout = timeout[1]
    timeout = getattr(timeout, "read_timeout", timeout)
    return float("inf") if timeout is None else float(timeout)
