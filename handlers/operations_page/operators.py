"""Sign operators in: with an API key and a session, or with a client certificate.

Browsers send cookies and certificates by themselves, so neither is enough for a change: its form also has a token that
only pages of this origin contain (`build_token`).
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.api_keys import hash_key
from domain.callers import OPERATIONS_CHANGE, OPERATIONS_READ, Caller, CallerKind, check_caller_name
from domain.errors import Invalid, KeyNeeded, LacksScope, RefusalReason, StorageFailed, Unauthenticated, Violation
from handlers.security.authentication import ApiKeys
from handlers.security.client_certificates import read_certificate

SESSION_HOURS = 12
"""Hours after which an operator signs in again."""

IDLE_MINUTES = 60
"""Minutes without a request after which an operator signs in again."""

MAX_SESSIONS = 1000
"""Sessions of one process. A new one ends the oldest."""

MAX_SESSIONS_OF_KEY = 20
"""Sessions of one key, so that no operator ends those of others. A new one ends the oldest."""

MAX_NAME = 100
"""Characters of the name of a person."""

LOOK_UP_SECONDS = 5
"""Seconds for the look-up of a key, so that pages soon say that the database is silent. Its reads are repeated."""

_UNKNOWN = "This key is not valid. It may be mistyped or revoked."
_EXPIRED = "This key has expired. Create another one with budkavle api-key create."
_LACKS_SCOPE = "This key does not have the scope operations.read."


@dataclass(frozen=True, slots=True)
class Operator:
    """A signed-in operator. `identity` is the credential that the browser sends by itself, as text."""

    name: str
    may_change: bool
    kind: CallerKind
    identity: str

    def build_caller(self) -> Caller:
        """Return the operator as the caller of a request, for the log."""
        return Caller(self.kind, self.name)


@dataclass(slots=True)
class _Session:
    key_hash: str
    name: str
    begun: datetime
    used: datetime


class Operators:
    """The operators who are signed in at this process, which forgets them when it ends."""

    def __init__(self, keys: ApiKeys, certificates: Mapping[str, str], now: Callable[[], datetime]) -> None:
        """`certificates` has the names of operators by the fingerprint of their certificate."""
        self._keys = keys
        self._certificates = certificates
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, _Session] = {}

    async def sign_in(self, key: str, name: str = "") -> tuple[str, Operator]:
        """Return the cookie of a new session, and its operator.

        `name` is the person who uses the key, for keys of several persons. It is not verified, as that of commands.
        Raises `Unauthenticated`, `LacksScope`, and `Invalid` for a name that no operator may have.
        """
        if name:
            _check_name(name)
        if not key:
            raise KeyNeeded(RefusalReason.NO_KEY, "Enter your key.")
        key_hash = hash_key(key.encode())
        operator = await self._find_operator(key_hash, name, "")
        cookie, now = secrets.token_urlsafe(32), self._now()
        of_key = [id_ for id_, session in self._sessions.items() if session.key_hash == key_hash]
        if len(of_key) >= MAX_SESSIONS_OF_KEY:
            del self._sessions[of_key[0]]
        elif len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[_hash(cookie)] = _Session(key_hash, name, now, now)
        return cookie, operator

    def sign_out(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(_hash(cookie), None)

    async def identify(self, cookie: str | None, certificate: bytes | None) -> Operator | None:
        """Return the operator with a session, or else with a client certificate, or None.

        A key that was revoked meanwhile, or has expired, ends its sessions.
        """
        if cookie is not None:
            operator = await self._identify_by_session(cookie)
            if operator is not None:
                return operator
        return None if certificate is None else self._identify_by_certificate(certificate)

    def build_token(self, operator: Operator) -> str:
        """Return the token that the forms of this operator contain."""
        return hmac.new(self._secret, operator.identity.encode(), hashlib.sha256).hexdigest()

    def is_token(self, operator: Operator, given: str) -> bool:
        """Return whether a form has the token of this operator."""
        return hmac.compare_digest(self.build_token(operator).encode(), given.encode())

    async def _identify_by_session(self, cookie: str) -> Operator | None:
        id_, now = _hash(cookie), self._now()
        session = self._sessions.get(id_)
        if session is None:
            return None
        ends = min(session.begun + timedelta(hours=SESSION_HOURS), session.used + timedelta(minutes=IDLE_MINUTES))
        if now < ends:
            try:
                operator = await self._find_operator(session.key_hash, session.name, id_)
            except (Unauthenticated, LacksScope):
                pass
            else:
                session.used = now
                return operator
        self._sessions.pop(id_, None)
        return None

    async def _find_operator(self, key_hash: str, name: str, identity: str) -> Operator:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self._keys.find_by_hash(key_hash)
        except TimeoutError as exc:
            explanation = f"it has not found the key within {LOOK_UP_SECONDS} seconds"
            raise StorageFailed(type(exc).__name__, explanation) from exc
        if isinstance(found, RefusalReason):
            raise KeyNeeded(found, _EXPIRED if found is RefusalReason.EXPIRED_KEY else _UNKNOWN)
        if not found.may(OPERATIONS_READ):
            raise LacksScope(RefusalReason.KEY_LACKS_SCOPE, _LACKS_SCOPE, OPERATIONS_READ)
        shown = f"{name} ({found.name})" if name else found.name
        return Operator(shown, found.may(OPERATIONS_CHANGE), CallerKind.KEY, identity)

    def _identify_by_certificate(self, certificate: bytes) -> Operator | None:
        try:
            fingerprint = read_certificate(certificate, self._now())
        except Unauthenticated:
            return None
        name = self._certificates.get(fingerprint)
        return None if name is None else Operator(name, True, CallerKind.CERTIFICATE, f"sha256:{fingerprint}")


def _check_name(name: str) -> None:
    try:
        check_caller_name(name)
    except ValueError as exc:
        raise Invalid([Violation("Your name", str(exc))]) from exc
    if len(name) > MAX_NAME:
        raise Invalid([Violation("Your name", f"must have at most {MAX_NAME} characters")])


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
