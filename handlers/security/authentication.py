"""Authenticate callers with the security schemes of the contracts."""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from connexion.security import AbstractSecurityHandler
from starlette.types import Scope

from domain.api_keys import ApiKey, hash_key
from domain.callers import Caller, CallerKind, build_certificate_caller
from domain.errors import KeyNeeded, RefusalReason, Unauthenticated
from handlers.requests import Services
from handlers.security.access_tokens import (
    CERTIFICATE_SCHEME,
    TOKEN_SCHEME,
    AccessTokens,
    BindingFault,
    reject_token,
)
from handlers.security.client_certificates import HEADER, read_certificate
from openapi.requests import CALL
from openapi.security import Verify
from persistence import api_keys
from persistence.database import Database
from persistence.subscriptions import find_systems

if TYPE_CHECKING:
    from oauth2.tokens import VerifiedToken

CACHE_SECONDS = 1.0
"""Seconds that a key is cached: a revoked or expired key loses access within this time."""

MAX_CACHED = 10_000

_KEY_NEEDED = "A valid key in the header apikey is needed"


class ApiKeys:
    """Finds the callers of API keys by the hash of the key, with a cache of one second."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        extra_keys: Sequence[ApiKey] = (),
        note_use: Callable[[str], None] | None = None,
    ) -> None:
        """`note_use` receives the hash of each valid stored key that is looked up: about once a second while in use."""
        self._database = database
        self._note_use = note_use
        self._now = now
        self._extra = {key.key_hash: key.build_caller() for key in extra_keys}
        self._cache: dict[str, tuple[float, Caller | RefusalReason]] = {}
        self._looking_up: dict[str, asyncio.Task[Caller | RefusalReason]] = {}

    async def find(self, key: bytes) -> Caller | RefusalReason:
        """Return the caller with this key, or the reason for rejecting it: it is unknown, revoked or expired."""
        key_hash = hash_key(key)
        return self._find_cached(key_hash) or await self.find_by_hash(key_hash)

    async def find_by_hash(self, key_hash: str) -> Caller | RefusalReason:
        """Return what `find` does for the key with this hash."""
        found = self._find_cached(key_hash)
        if found is not None:
            return found
        looking_up = self._looking_up.get(key_hash)
        if looking_up is None:
            looking_up = self._looking_up[key_hash] = asyncio.create_task(self._look_up(key_hash))
        # Concurrent callers share one look-up; a caller that is cancelled does not cancel it.
        return await asyncio.shield(looking_up)

    def _find_cached(self, key_hash: str) -> Caller | RefusalReason | None:
        """Return what `find_by_hash` does, or None if the key must be looked up."""
        cached = self._cache.get(key_hash)
        if cached is not None and time.monotonic() < cached[0]:
            return cached[1]
        return self._extra.get(key_hash)

    async def _look_up(self, key_hash: str) -> Caller | RefusalReason:
        begun = time.monotonic()
        try:
            stored = await api_keys.find(self._database, key_hash)
        finally:
            del self._looking_up[key_hash]
        found: Caller | RefusalReason
        if stored is None or not hmac.compare_digest(stored.key_hash, key_hash):
            found = RefusalReason.UNKNOWN_KEY
        elif stored.is_expired(self._now()):
            found = RefusalReason.EXPIRED_KEY
        else:
            found = stored.build_caller()
            if self._note_use is not None:
                self._note_use(key_hash)
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[key_hash] = (begun + CACHE_SECONDS, found)
        return found


def build_security_map(
    keys: ApiKeys, tokens: AccessTokens, services: Services
) -> dict[str, type[AbstractSecurityHandler]]:
    """Return the security handlers by type, of which Connexion creates one per operation and scheme."""

    async def verify_certificate(scope: Scope) -> Caller | None:
        return await _verify_certificate(services, scope)

    class HeaderHandler(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion has no types.
        def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Verify:  # noqa: ARG002  # OpenAPI 3.0 gives apiKey schemes no scopes.
            header = security_scheme["name"].lower().encode()
            if header == HEADER:
                return verify_certificate

            return partial(_verify_key, keys, header)

    class BearerHandler(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion has no types.
        def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Verify:  # noqa: ARG002  # All contracts have the same scheme.
            return tokens.verify

    return {"apiKey": HeaderHandler, "bearer": BearerHandler}


def combine(alternatives: Sequence[frozenset[str]], found: Mapping[str, Any]) -> Caller:
    """Return the caller of a request from the results of its security schemes (`openapi.security.Combine`).

    A token decides on the rights. With a certificate, to which it must be bound, they are limited to the systems of
    both.
    """
    if not any(map(found.keys().__ge__, alternatives)):
        if any(CERTIFICATE_SCHEME in alternative for alternative in alternatives):
            raise Unauthenticated(RefusalReason.NO_CERTIFICATE, "A client certificate is required")
        raise KeyNeeded(RefusalReason.NO_KEY, _KEY_NEEDED)
    token: VerifiedToken | None = found.get(TOKEN_SCHEME)
    if token is None:
        caller: Caller
        [caller] = found.values()
        return caller
    if CERTIFICATE_SCHEME not in found:
        return Caller(CallerKind.TOKEN, token.caller, token.scopes)
    if token.certificate is None:
        raise reject_token(BindingFault.NOT_BOUND, "The token must be bound to the client certificate")
    systems = token.systems & found[CERTIFICATE_SCHEME].systems
    return Caller(CallerKind.TOKEN, token.caller, token.scopes, systems, token.certificate)


async def _verify_certificate(services: Services, scope: Scope) -> Caller | None:
    # The header is trustworthy here: `ClientCertificateMiddleware` has replaced it, and leaves at most one.
    given = next((value for name, value in scope["headers"] if name == HEADER), None)
    if given is None:
        return None
    fingerprint = read_certificate(given, services.now())
    caller = build_certificate_caller(fingerprint)
    if CALL in scope:
        scope[CALL].claimed_caller = caller.name
    systems = await find_systems(services.database, fingerprint)
    if not systems:
        raise Unauthenticated(RefusalReason.UNKNOWN_CERTIFICATE, "The client certificate is not registered")
    return replace(caller, systems=systems)


async def _verify_key(keys: ApiKeys, header: bytes, scope: Scope) -> Caller | None:
    given = {value for name, value in scope["headers"] if name == header}
    if not given:
        return None
    if len(given) > 1:
        # One of them may belong to another party than the caller.
        raise KeyNeeded(RefusalReason.SEVERAL_KEYS, _KEY_NEEDED)
    found = await keys.find(given.pop())
    if isinstance(found, RefusalReason):
        raise KeyNeeded(found, _KEY_NEEDED)
    return found
