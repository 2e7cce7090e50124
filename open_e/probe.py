"""Check an Open-E instance without changing anything: its WSDL, and the messageapi."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import HTTPError

from domain.log_texts import redact_for_log
from open_e.accounts import Account
from open_e.connections import CallDeadline, DeadlineAdapter, apply_deadline
from open_e.messageapi import ReadBackFailed, build_case_path, build_url, parse_messages

T = TypeVar("T")

MAX_BYTES = 2**20
"""Maximum bytes of a response that are read. A WSDL has a few thousand."""

NO_CASE = 0
"""The number of no case, so that no message of a person is read."""


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """A response. `fault` is the reason why there is none, or None.

    `is_expected` is whether its content is that of Open-E. `date` is the time by the clock of the server.
    `expires` is the end of the validity of its certificate.
    """

    status: int = 0
    is_expected: bool = False
    date: datetime | None = None
    expires: datetime | None = None
    fault: str | None = None

    @property
    def is_refused(self) -> bool:
        """Return whether the credentials were refused."""
        return self.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


def probe_callback(account: Account, timeout: float) -> ProbeResponse:
    """Return the response to a request for the WSDL. Blocks for at most `timeout` seconds."""
    return _probe(account, f"{account.url}?wsdl", timeout, lambda body, _type: b"definitions" in body)


def probe_messageapi(account: Account, now: datetime, timeout: float) -> ProbeResponse:
    """Return the response to a request for the messages of no case. Blocks for at most `timeout` seconds."""

    def is_list(body: bytes, content_type: str) -> bool:
        try:
            parse_messages(body, content_type, NO_CASE)
        except ReadBackFailed:
            return False
        return True

    return _probe(account, build_url(account.url, build_case_path(NO_CASE, now)), timeout, is_list)


def _probe(account: Account, url: str, timeout: float, is_expected: Callable[[bytes, str], bool]) -> ProbeResponse:
    auth = HTTPBasicAuth(account.username.encode(), account.password.encode()) if account.username else None
    headers = {"Accept": "text/xml", "Accept-Encoding": "identity"}
    call = CallDeadline(connect_timeout=timeout / 2, read_timeout=timeout / 2)
    adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    try:
        request = requests.Request("GET", url, headers=headers, auth=auth).prepare()
        with (
            apply_deadline(call),
            adapter.send(request, stream=True, timeout=timeout / 2, verify=account.ca or True) as response,
        ):
            expires = _read_expiry(response)
            body = response.raw.read(MAX_BYTES, decode_content=True)
    except (OSError, HTTPError, ValueError) as error:
        return ProbeResponse(fault=_describe(error))
    finally:
        adapter.close()
    is_ok = response.status_code == requests.codes.ok
    return ProbeResponse(
        response.status_code,
        is_ok and is_expected(body, response.headers.get("Content-Type", "")),
        _parse_date(response.headers.get("Date")),
        expires,
    )


def _read_expiry(response: requests.Response) -> datetime | None:
    """Return the end of the validity of the server's certificate, None for plain HTTP or if it is not known."""
    connection: Any = getattr(response.raw, "_connection", None)
    sock = getattr(connection, "sock", None)
    certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    if not certificate or "notAfter" not in certificate:
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


def _parse_date(text: str | None) -> datetime | None:
    try:
        moment = None if text is None else parsedate_to_datetime(text)
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is None else moment.astimezone(UTC)


def _describe(error: Exception) -> str:
    """Return the innermost cause of a failed call in one line."""
    cause: BaseException = error
    while True:
        inner = next(
            (
                each
                for each in (cause.__cause__, *cause.args, getattr(cause, "reason", None))
                if isinstance(each, Exception)
            ),
            None,
        )
        if inner is None:
            break
        cause = inner
    return redact_for_log(f"{type(cause).__name__}: {cause}")
