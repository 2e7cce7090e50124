"""The Open-E client: one method per SOAP operation, typed in and out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import HTTPError

from domain.errors import BackendRefused
from domain.web_messages import OepInstance, WebMessage
from open_e.connections import Call, DeadlineAdapter, deadline
from open_e.envelopes import AddMessageEnvelope, Answer, File, read_answer
from open_e.faults import failure, message_id

_LONGEST_ANSWER = 2**20
"""Bytes. A true answer has a few hundred; more is not read."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where one Open-E instance takes calls, and as whom. `url` is the full address of its callback.

    An empty username means that no credentials are sent. `ca` is a PEM file with the CA of its certificate, None for
    those that everyone trusts.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str | None = None


class OpenEClient:
    """Publishes messages on cases in Open-E.

    `accounts` may leave an instance out. Both timeouts are in seconds: connecting (name, TCP and TLS together) ends
    after the first, a wait for the peer after the second, and the whole call after their sum, whatever the peer
    does. Safe to use from `threads` threads at once; more work too, but their connections are not kept.
    """

    def __init__(
        self, accounts: Mapping[OepInstance, Account], *, connect_timeout: float, read_timeout: float, threads: int
    ) -> None:
        self._accounts = dict(accounts)
        self._prepared: dict[OepInstance, requests.PreparedRequest] = {}
        self._adapters = {
            instance: DeadlineAdapter(pool_connections=1, pool_maxsize=threads, max_retries=0) for instance in accounts
        }
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def add_message(
        self, message: WebMessage, *, added: datetime, request_id: str, trace_parent: str | None = None
    ) -> int:
        """Open-E's messageID of the message, which is then on its case. Blocks until then.

        `added` must be aware: it becomes the time of the message. The message must name a case and its attachments
        hold their data (else ValueError). Nothing is ever sent a second time.

        Raises NotFound (no such case), BackendRefused and BackendUnavailable when the message is certainly not
        published, OutcomeUnknown when it may be. Source: the design, "Publishing on Open-E".
        """
        instance = message.oep_instance
        if instance not in self._accounts:
            raise BackendRefused(f"There is no address for the {instance} Open-E")
        envelope = _envelope(message, added)
        call = Call(connect_timeout=self._connect_timeout, read_timeout=self._read_timeout)
        with deadline(call):
            try:
                response = self._adapters[instance].send(
                    self._request(instance, envelope, request_id, trace_parent),
                    stream=True,
                    # The deadline above holds for connecting too; one value is set on the socket fewer times.
                    timeout=self._read_timeout,
                    verify=self._accounts[instance].ca or True,
                )
            # requests lets some of urllib3's errors through; its own are OSErrors.
            except (OSError, HTTPError) as error:
                raise failure(error, sent=call.sent) from error
            with response:
                answer = _answer(response)
        return message_id(response.status_code, answer)

    def close(self) -> None:
        """Closes the connections that are kept. Calls that still run are not ended."""
        for adapter in self._adapters.values():
            adapter.close()

    def _request(
        self, instance: OepInstance, envelope: AddMessageEnvelope, request_id: str, trace_parent: str | None
    ) -> requests.PreparedRequest:
        if instance not in self._prepared:
            self._prepared[instance] = _prepare(self._accounts[instance])
        request = self._prepared[instance].copy()
        request.body = envelope  # type: ignore[assignment]  # requests sends anything that can be iterated.
        request.headers["Content-Length"] = str(len(envelope))
        request.headers["x-request-id"] = request_id
        if trace_parent is not None:
            request.headers["traceparent"] = trace_parent
        return request


def _prepare(account: Account) -> requests.PreparedRequest:
    """What is the same in every call. A session would put it together anew each time, which takes as long as the rest.

    Sent by the adapter itself, it follows no redirect, keeps no cookie and asks no environment.
    """
    # As bytes, because requests would write text as Latin-1 and fail on the rest.
    auth = HTTPBasicAuth(account.username.encode(), account.password.encode()) if account.username else None
    headers = {
        "Content-Type": "text/xml; charset=UTF-8",
        "Accept": "text/xml; charset=UTF-8",
        "Accept-Encoding": "identity",
    }
    return requests.Request("POST", account.url, headers=headers, auth=auth).prepare()


def _envelope(message: WebMessage, added: datetime) -> AddMessageEnvelope:
    case = message.flow_instance_id
    if case is None:
        raise ValueError("the message names no case")
    files = []
    for attachment in message.attachments:
        if attachment.data is None:
            raise ValueError("an attachment without data cannot be published")
        files.append(File(attachment.file_name, attachment.data))
    return AddMessageEnvelope(
        flow_instance_id=case, text=message.message, added=added, files=files, user_id=message.sender_user_id
    )


def _answer(response: requests.Response) -> Answer:
    """The answer, or None where it could not be read: the status alone then says what is known."""
    try:
        # Compressed answers are not asked for; urllib3 unpacks no more of one than is asked for here.
        body = response.raw.read(_LONGEST_ANSWER + 1, decode_content=True)
    except (OSError, HTTPError):
        return None
    return read_answer(body) if len(body) <= _LONGEST_ANSWER else None
