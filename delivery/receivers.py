"""Receivers as they are called: a session with its connections, and the keys that sign.

Files and variables are read in the event loop. They are small and local, and each receiver's are read once a minute:
well under a millisecond, or 20 for a receiver with a client certificate whose files have changed.
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

from delivery.addresses import checked_socket
from delivery.names import CheckedNames, Names
from delivery.references import SetupWrong, path_of, read_file, secret_of
from delivery.response_heads import LenientConnector
from domain.deliveries import Receiver

MAX_LINES = 512
"""Receivers that are kept. One more takes the place of the one that was called longest ago."""

READ_AGAIN = timedelta(seconds=60)
READ_AGAIN_AFTER_FAILURE = timedelta(seconds=5)

KEEP_ALIVE = 4.0
"""Seconds that an idle connection is kept: less than the 5 of uvicorn, Node and Apache, so that we are the ones who end
it. A call on a connection that the other side ends at that moment is lost and must be made again."""

log = structlog.get_logger("budkavle.delivery")


class Line:
    """An open line to a receiver; calls are made inside `with line:`, and one that is given up ends after the last."""

    def __init__(self, session: ClientSession, keys: tuple[bytes, ...]) -> None:
        self.session = session
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

    def give_up(self, closing: set[asyncio.Task[None]]) -> None:
        """Lets no new call begin; the line closes with its last call, in a task of the set."""
        self._closing = closing
        self._close_if_over()

    def _close_if_over(self) -> None:
        if self._calls == 0 and self._closing is not None:
            task = asyncio.get_running_loop().create_task(self.session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


@dataclass(slots=True)
class _Entry:
    """What is known of a receiver. `files` are those that its TLS was made of; `wrong` is why there is no line."""

    read: datetime
    files: tuple[bytes, ...] = ()
    line: Line | None = None
    wrong: str | None = None

    def is_fresh(self, now: datetime) -> bool:
        longest = READ_AGAIN if self.wrong is None else READ_AGAIN_AFTER_FAILURE
        # A clock that was set back must not keep an entry for longer.
        return timedelta(0) <= now - self.read < longest


class Receivers:
    """Lines to receivers, kept while they are used. `names` resolves their names instead of this machine."""

    def __init__(self, timeout: ClientTimeout, names: AbstractResolver | None = None) -> None:
        self._timeout = timeout
        self._names = names or Names()
        self._entries: OrderedDict[Receiver, _Entry] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def line(self, receiver: Receiver, now: datetime) -> Line:
        """The line to a receiver, by files and secrets not older than a minute.

        Raises `SetupWrong` if one of them cannot be read, which is logged once per reading.
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
        if entry.line is None:
            raise SetupWrong(entry.wrong)
        return entry.line

    async def close(self) -> None:
        """Closes all lines; those of calls that are still being made close with them."""
        for entry in self._entries.values():
            self._give_up(entry)
        self._entries.clear()
        await asyncio.gather(*self._closing)

    def _make_room(self) -> None:
        while len(self._entries) > MAX_LINES:
            _, oldest = self._entries.popitem(last=False)
            self._give_up(oldest)

    def _give_up(self, entry: _Entry) -> None:
        if entry.line is not None:
            entry.line.give_up(self._closing)
            entry.line = None

    def _read(self, receiver: Receiver, entry: _Entry) -> None:
        try:
            keys = tuple(secret_of(reference) for reference in receiver.webhook_secrets)
            references = [each for each in (receiver.ca, receiver.certificate, receiver.key) if each is not None]
            files = tuple(read_file(reference) for reference in references)
            if entry.line is None or files != entry.files:
                line = Line(self._session(receiver, _tls(receiver)), keys)
                self._give_up(entry)
                entry.line, entry.files = line, files
        except SetupWrong as exc:
            # Also a line that was good: what its certificate or secret was may have been withdrawn.
            self._give_up(entry)
            entry.wrong = str(exc)
        else:
            entry.line.keys = keys
            entry.wrong = None
        if entry.wrong is not None:
            log.error("receiver_setup_failed", system=receiver.system_id, reason=entry.wrong)

    def _session(self, receiver: Receiver, context: ssl.SSLContext | bool) -> ClientSession:  # noqa: FBT001  # aiohttp takes it so.
        connector = LenientConnector(
            ssl=context,
            limit=0,
            keepalive_timeout=KEEP_ALIVE,
            resolver=CheckedNames(self._names, allow_private=receiver.allow_private_addresses),
            socket_factory=checked_socket(allow_private=receiver.allow_private_addresses),
        )
        return ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
        )


def _tls(receiver: Receiver) -> ssl.SSLContext | bool:
    """How to speak TLS to a receiver. Its own CA, if it has one, is the only one that is trusted."""
    if receiver.base_url.startswith("http:"):
        return True
    if receiver.ca is None and receiver.certificate is None:
        return _public()
    context = trust_ca(receiver.ca)
    if receiver.certificate is not None:
        load_pair(context, receiver.certificate, receiver.key or receiver.certificate)
    return context


def trust_ca(reference: str | None) -> ssl.SSLContext:
    """Return a context that trusts this CA alone, or the public ones. Raises `SetupWrong`."""
    try:
        return _context(None if reference is None else path_of(reference))
    except (OSError, ValueError) as exc:
        raise SetupWrong(f"{reference} holds no certificate in PEM form that can be read") from exc


def load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Give a context the client certificate and its key. Raises `SetupWrong`."""
    try:
        # OpenSSL would ask at the console for the password of a key that has one.
        context.load_cert_chain(path_of(certificate), path_of(key), password="")
    except (OSError, ValueError) as exc:
        raise SetupWrong(f"{certificate} and {key} are no certificate with its key in PEM form") from exc


@cache
def _public() -> ssl.SSLContext:
    """For all receivers with certificates of public CAs: reading those takes 20 ms."""
    return _context(None)


def _context(ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context
