"""Connections to receivers: one HTTP session per receiver, with its TLS context and signing keys.

Files and environment variables are read in the event loop. They are small and local and are read once a minute per
receiver. One read takes well under 1 ms, or 20 ms for a receiver whose client certificate has changed.
"""

import asyncio
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from aiohttp.abc import AbstractResolver

from delivery.addresses import make_socket_factory
from delivery.names import CheckingResolver, ThreadResolver
from delivery.references import ReceiverMisconfigured, read_file, read_signing_key, resolve_path
from delivery.response_heads import LenientConnector
from domain.deliveries import Receiver

MAX_SESSIONS = 512
"""Maximum receivers with open sessions. The least recently used session is closed to make room for a new one."""

READ_AGAIN = timedelta(seconds=60)
READ_AGAIN_AFTER_FAILURE = timedelta(seconds=5)

KEEP_ALIVE = 4.0
"""Seconds that an idle connection stays open.

The value is below the 5 seconds of uvicorn, Node and Apache, so that we close connections first. A call on a connection
that the peer closes at that moment is lost and must be retried.
"""

log = structlog.get_logger("budkavle.delivery")


class ReceiverSession:
    """A session with a receiver. Make calls inside `with session:`; a retired session closes after its last call."""

    def __init__(self, http: ClientSession, keys: tuple[bytes, ...]) -> None:
        self.http = http
        self.keys = keys
        self._calls = 0
        self._closing: set[asyncio.Task[None]] | None = None

    def __enter__(self) -> Self:
        self._calls += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls -= 1
        self._close_if_over()

    def retire(self, closing: set[asyncio.Task[None]]) -> None:
        """Reject new calls. The session is closed after the last running call, in a task that is added to `closing`."""
        self._closing = closing
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._calls == 0 and self._closing is not None:
            task = asyncio.get_running_loop().create_task(self.http.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


@dataclass(slots=True)
class _Entry:
    """The cached state of a receiver. `files` are the contents of its TLS files; `wrong` is the configuration error."""

    read: datetime
    files: tuple[bytes, ...] = ()
    session: ReceiverSession | None = None
    wrong: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        longest = READ_AGAIN if self.wrong is None else READ_AGAIN_AFTER_FAILURE
        # If the clock is set back, the entry must not stay valid for longer.
        return timedelta(0) <= now - self.read < longest


class SessionPool:
    """Sessions per receiver, with a limited number of them. `names` replaces the name resolution of the machine."""

    def __init__(self, timeout: ClientTimeout, names: AbstractResolver | None = None) -> None:
        self._timeout = timeout
        self._names = names or ThreadResolver()
        self._entries: OrderedDict[Receiver, _Entry] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def get_session(self, receiver: Receiver, now: datetime) -> ReceiverSession:
        """Return the session of a receiver, with files and secrets that are at most one minute old.

        Raises `ReceiverMisconfigured` if one of them cannot be read. The error is logged once per read.
        """
        entry = self._entries.get(receiver)
        if entry is None:
            entry = self._entries[receiver] = _Entry(now)
            self._read(receiver, entry)
            self._make_room()
        else:
            self._entries.move_to_end(receiver)
            if not entry.is_fresh(now):
                entry.read = now
                self._read(receiver, entry)
        if entry.session is None:
            raise ReceiverMisconfigured(entry.wrong)
        return entry.session

    async def close(self) -> None:
        """Close all sessions. Sessions with running calls are closed after these calls."""
        for entry in self._entries.values():
            self._retire(entry)
        self._entries.clear()
        await asyncio.gather(*self._closing)

    def _make_room(self) -> None:
        while len(self._entries) > MAX_SESSIONS:
            _, oldest = self._entries.popitem(last=False)
            self._retire(oldest)

    def _retire(self, entry: _Entry) -> None:
        if entry.session is not None:
            entry.session.retire(self._closing)
            entry.session = None

    def _read(self, receiver: Receiver, entry: _Entry) -> None:
        try:
            keys = tuple(read_signing_key(reference) for reference in receiver.webhook_secrets)
            references = [each for each in (receiver.ca, receiver.certificate, receiver.key) if each is not None]
            files = tuple(read_file(reference) for reference in references)
            if entry.session is None or files != entry.files:
                session = ReceiverSession(self._create_session(receiver, _build_tls(receiver)), keys)
                self._retire(entry)
                entry.session, entry.files = session, files
        except ReceiverMisconfigured as exc:
            # Retire a working session too: its certificate or secret may have been revoked.
            self._retire(entry)
            entry.wrong = str(exc)
        else:
            entry.session.keys = keys
            entry.wrong = None
        if entry.wrong is not None:
            log.error("receiver_setup_failed", system=receiver.system_id, reason=entry.wrong)

    def _create_session(self, receiver: Receiver, context: ssl.SSLContext | bool) -> ClientSession:  # noqa: FBT001  # aiohttp takes it so.
        connector = LenientConnector(
            ssl=context,
            limit=0,
            keepalive_timeout=KEEP_ALIVE,
            resolver=CheckingResolver(self._names, allow_private=receiver.allow_private_addresses),
            socket_factory=make_socket_factory(allow_private=receiver.allow_private_addresses),
        )
        return ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
        )


def _build_tls(receiver: Receiver) -> ssl.SSLContext | bool:
    """Return the TLS configuration for a receiver. If the receiver has its own CA, only that CA is trusted."""
    if receiver.base_url.startswith("http:"):
        return True
    if receiver.ca is None and receiver.certificate is None:
        return _get_public_context()
    context = trust_ca(receiver.ca)
    if receiver.certificate is not None:
        load_client_certificate(context, receiver.certificate, receiver.key or receiver.certificate)
    return context


def trust_ca(reference: str | None) -> ssl.SSLContext:
    """Return a context that trusts only this CA, or the public CAs for None. Raises `ReceiverMisconfigured`."""
    try:
        return _build_context(None if reference is None else resolve_path(reference))
    except (OSError, ValueError) as exc:
        raise ReceiverMisconfigured(f"{reference} contains no readable certificate in PEM format") from exc


def load_client_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load the client certificate and its key into a context. Raises `ReceiverMisconfigured`."""
    try:
        # Without a password, OpenSSL would prompt for one on the console if the key is encrypted.
        context.load_cert_chain(resolve_path(certificate), resolve_path(key), password="")
    except (OSError, ValueError) as exc:
        raise ReceiverMisconfigured(f"{certificate} and {key} are not a certificate and its key in PEM format") from exc


@cache
def _get_public_context() -> ssl.SSLContext:
    """Return the shared context for receivers with certificates of public CAs. Loading these CAs takes 20 ms."""
    return _build_context(None)


def _build_context(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context
