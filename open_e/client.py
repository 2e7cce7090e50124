"""The Open-E client: one method per SOAP operation, typed in and out."""

import re
from collections.abc import Mapping
from datetime import datetime

import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import HTTPError

from domain.errors import BackendRefused
from domain.web_messages import OpenEName, WebMessage
from open_e.accounts import Account
from open_e.connections import CallDeadline, DeadlineAdapter, apply_deadline
from open_e.envelopes import AddMessageEnvelope, SoapFault, SoapFile, SoapResponse, get_operation, parse_response
from open_e.faults import get_message_id, map_call_error

_MAX_RESPONSE_BYTES = 2**20
"""Maximum bytes of a response that are read. Genuine responses have a few hundred."""


class OpenEClient:
    """Publishes messages on cases in Open-E.

    `accounts` may omit an Open-E. Both timeouts are in seconds. `connect_timeout` covers name look-up, TCP and TLS
    together; `read_timeout` limits each wait for the peer; their sum limits the whole call, regardless of the peer's
    behaviour. The client is thread-safe and pools connections for `threads` threads; additional threads work too, but
    their connections are closed after use.
    """

    def __init__(
        self, accounts: Mapping[OpenEName, Account], *, connect_timeout: float, read_timeout: float, threads: int
    ) -> None:
        self._accounts = dict(accounts)
        self._prepared: dict[OpenEName, requests.PreparedRequest] = {}
        self._adapters = {
            instance: DeadlineAdapter(pool_connections=1, pool_maxsize=threads, max_retries=0) for instance in accounts
        }
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def add_message(
        self, message: WebMessage, *, added: datetime, request_id: str, trace_parent: str | None = None
    ) -> int:
        """Publish a message on its case and return the messageID of Open-E. Blocks.

        `added` becomes the time of the message and must be aware. The message must have a case and its attachments must
        have data (otherwise ValueError). A request is never retried.

        Raises NotFound if the case does not exist; BackendRefused and BackendUnavailable if the message is certainly
        not published; OutcomeUnknown if it may be published. Source: decision 0007.
        """
        instance = message.open_e
        if instance not in self._accounts:
            raise BackendRefused(f"The {instance} Open-E is not configured")
        envelope = _build_envelope(message, added)
        call = CallDeadline(connect_timeout=self._connect_timeout, read_timeout=self._read_timeout)
        with apply_deadline(call):
            try:
                response = self._adapters[instance].send(
                    self._build_request(instance, envelope, request_id, trace_parent),
                    stream=True,
                    # `apply_deadline` also limits connecting. A single timeout sets the socket's timeout fewer times.
                    timeout=self._read_timeout,
                    verify=self._accounts[instance].ca or True,
                )
            # requests does not convert all errors of urllib3. Its own errors are OSErrors.
            except (OSError, HTTPError) as error:
                raise map_call_error(error, sent=call.sent) from error
            with response:
                answer = _read_response(response)
        if isinstance(answer, SoapFault) and message.citizen_id is not None:
            # The text of a fault is passed on, and Open-E may repeat the person in it.
            answer = answer._replace(text=_remove_citizen(answer.text, message.citizen_id))
        return get_message_id(response.status_code, answer)

    def close(self) -> None:
        """Close idle connections. Running calls continue."""
        for adapter in self._adapters.values():
            adapter.close()

    def _build_request(
        self, instance: OpenEName, envelope: AddMessageEnvelope, request_id: str, trace_parent: str | None
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
    """Return the part of the request that all calls share. A session would rebuild it for each call.

    The adapter sends it directly, so redirects are not followed, and cookies and proxy variables are not used.
    """
    # Encode as UTF-8 here: requests would encode text as Latin-1 and fail on other characters.
    auth = HTTPBasicAuth(account.username.encode(), account.password.encode()) if account.username else None
    headers = {
        "Content-Type": "text/xml; charset=UTF-8",
        "Accept": "text/xml; charset=UTF-8",
        "Accept-Encoding": "identity",
    }
    return requests.Request("POST", account.url, headers=headers, auth=auth).prepare()


def _remove_citizen(text: str, citizen_id: str) -> str:
    """Return a text without a personal number, which may be written with or without century and hyphen."""
    digits = re.sub(r"[-+]", "", citizen_id)
    return re.sub(rf"([0-9]{{2}})?{digits[-10:-4]}[-+ ]?{digits[-4:]}", "…", text)


def _build_envelope(message: WebMessage, added: datetime) -> AddMessageEnvelope:
    case = message.flow_instance_id
    if case is None:
        raise ValueError("the message names no case")
    files = []
    for attachment in message.attachments:
        if attachment.data is None:
            raise ValueError("an attachment without data cannot be published")
        files.append(SoapFile(attachment.file_name, attachment.data))
    return AddMessageEnvelope(
        flow_instance_id=case,
        text=message.message,
        added=added,
        files=files,
        user_id=message.sender_user_id,
        citizen_id=message.citizen_id,
        operation=get_operation(message),
    )


def _read_response(response: requests.Response) -> SoapResponse:
    """Return the parsed response, or None if it could not be read; then only the status is known."""
    try:
        # Compressed responses are not requested. urllib3 decompresses at most the bytes requested here.
        body = response.raw.read(_MAX_RESPONSE_BYTES + 1, decode_content=True)
    except (OSError, HTTPError):
        return None
    return parse_response(body) if len(body) <= _MAX_RESPONSE_BYTES else None
