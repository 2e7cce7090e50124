"""Connections to receivers: one HTTP session for all receivers with the same TLS configuration.

Systems at the same host share its connections, and a system costs the worker no session of its own. Signing keys and
headers are those of each receiver.

Files and environment variables are read in the event loop. They are small and local and are read once a minute per
receiver. One read takes well under 1 ms, or 20 ms for a client certificate that has changed.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from aiohttp.abc import AbstractResolver

from delivery.access_tokens import AccessTokens
from delivery.addresses import make_socket_factory
from delivery.names import CheckingResolver, ThreadResolver
from delivery.references import ReceiverMisconfigured, read_file, read_signing_key, read_value, resolve_path
from delivery.response_heads import LenientConnector
from delivery.shared_sessions import SharedSession
from domain.deliveries import Receiver

MAX_RECEIVERS = 10_000
"""Maximum receivers whose keys and files are cached. The least recently used one is dropped for a new one."""

MAX_SESSIONS = 512
"""Maximum open sessions. The least recently used receivers are dropped until there are no more."""

MAX_IDLE_HOSTS = 1024
"""Maximum hosts with idle connections per session. Those that have been idle for longest are closed."""

READ_AGAIN = timedelta(seconds=60)
READ_AGAIN_AFTER_FAILURE = timedelta(seconds=5)

KEEP_ALIVE = 4.0
"""Seconds that an idle connection stays open.

The value is below the 5 seconds of uvicorn, Node and Apache, so that we close connections first. A call on a connection
that the peer closes at that moment is lost and must be retried.
"""

log = structlog.get_logger("budkavle.delivery")


class ReceiverSetup(NamedTuple):
    """The means for calls to a receiver: its session, its signing keys, its headers, and the source of its tokens."""

    session: SharedSession
    keys: tuple[bytes, ...]
    headers: Mapping[str, str]
    tokens: AccessTokens | None


class _Configuration(NamedTuple):
    """The properties of a connection. `files` are the contents of the TLS files that `references` name."""

    is_tls: bool
    allow_private: bool
    references: tuple[str | None, ...]
    files: tuple[bytes | None, ...]


@dataclass(slots=True)
class _Entry:
    """The cached state of a receiver. `wrong` is the configuration error."""

    read: datetime
    keys: tuple[bytes, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    tokens: AccessTokens | None = None
    configuration: _Configuration | None = None
    wrong: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        longest = READ_AGAIN if self.wrong is None else READ_AGAIN_AFTER_FAILURE
        # If the clock is set back, the entry must not stay valid for longer.
        return timedelta(0) <= now - self.read < longest


class SessionPool:
    """Sessions by TLS configuration, with a limited number. `names` replaces the name resolution of the machine."""

    def __init__(self, timeout: ClientTimeout, names: AbstractResolver | None = None) -> None:
        self._timeout = timeout
        self._names = names or ThreadResolver()
        self._entries: OrderedDict[Receiver, _Entry] = OrderedDict()
        self._sessions: dict[_Configuration, SharedSession] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get_setup(self, receiver: Receiver, now: datetime) -> ReceiverSetup:
        """Return the means for a call to a receiver, from files and secrets at most one minute old.

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
        if entry.configuration is None:
            raise ReceiverMisconfigured(entry.wrong)
        return ReceiverSetup(self._sessions[entry.configuration], entry.keys, entry.headers, entry.tokens)

    async def close(self) -> None:
        """Close all sessions. Sessions with running calls are closed after these calls."""
        for entry in self._entries.values():
            if entry.tokens is not None:
                await entry.tokens.close()
            self._leave(entry)
        self._entries.clear()
        await asyncio.gather(*self._closing)

    def _make_room(self) -> None:
        while len(self._entries) > MAX_RECEIVERS or len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._entries.popitem(last=False)
            self._leave(oldest)

    def _read(self, receiver: Receiver, entry: _Entry) -> None:
        try:
            entry.keys = tuple(read_signing_key(reference) for reference in receiver.webhook_secrets)
            entry.headers = {header.name: read_value(header.value) for header in receiver.headers}
            entry.tokens = _read_tokens(receiver, entry.tokens)
            references = (receiver.ca, receiver.certificate, receiver.key)
            files = tuple(None if reference is None else read_file(reference) for reference in references)
            self._join(
                entry,
                receiver,
                _Configuration(_uses_tls(receiver), receiver.allow_private_addresses, references, files),
            )
        except ReceiverMisconfigured as exc:
            # Leave a working session too: its certificate or secret may have been revoked.
            self._leave(entry)
            entry.wrong = str(exc)
            log.error("receiver_setup_failed", system=receiver.system_id, reason=entry.wrong)  # noqa: TRY400  # A trace adds nothing to the reason.
        else:
            entry.wrong = None

    def _join(self, entry: _Entry, receiver: Receiver, configuration: _Configuration) -> None:
        """Make a receiver use the session of its configuration. Raises `ReceiverMisconfigured`."""
        if entry.configuration == configuration:
            return
        session = self._sessions.get(configuration)
        if session is None:
            session = self._sessions[configuration] = SharedSession(
                self._create_session(receiver, _build_tls(receiver))
            )
        session.receivers += 1
        self._leave(entry)
        entry.configuration = configuration

    def _leave(self, entry: _Entry) -> None:
        """Retire the session of a receiver unless others use it."""
        if entry.configuration is not None:
            session = self._sessions[entry.configuration]
            session.receivers -= 1
            if not session.receivers:
                del self._sessions[entry.configuration]
                session.retire(self._closing)
            entry.configuration = None

    def _create_session(self, receiver: Receiver, context: ssl.SSLContext | bool) -> ClientSession:  # noqa: FBT001  # aiohttp takes it so.
        connector = _Connector(
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


class _Connector(LenientConnector):
    """A connector with a limited number of hosts with idle connections. aiohttp has no option for this."""

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        while len(self._conns) > MAX_IDLE_HOSTS:
            for idle, _ in self._conns.pop(next(iter(self._conns))):
                idle.close()


def _read_tokens(receiver: Receiver, known: AccessTokens | None) -> AccessTokens | None:
    """Return the source of tokens for a receiver, the known one unless the secret was replaced.

    Raises `ReceiverMisconfigured`.
    """
    if receiver.oauth2 is None:
        return None
    secret = read_value(receiver.oauth2.client_secret)
    if known is not None and known.secret == secret:
        return known
    return AccessTokens(receiver.system_id, receiver.oauth2, secret)


def _uses_tls(receiver: Receiver) -> bool:
    urls = (receiver.base_url, receiver.oauth2.token_url if receiver.oauth2 is not None else "http:")
    return not all(url.startswith("http:") for url in urls)


def _build_tls(receiver: Receiver) -> ssl.SSLContext | bool:
    """Return the TLS configuration for a receiver. If the receiver has its own CA, only that CA is trusted."""
    if not _uses_tls(receiver):
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
