"""Authenticate callers with the security schemes of the contracts, through Connexion."""

import asyncio
import hmac
import time
from typing import Any

from connexion.security import AbstractSecurityHandler
from starlette.types import Scope

from domain.api_keys import ApiKey, hash_key
from domain.errors import KeyNeeded, RefusalReason, Unauthenticated
from handlers.requests import Services
from handlers.security.client_certificates import HEADER, read_certificate
from openapi.observation.peers import PEER
from openapi.observation.source_limits import FailureLimit
from openapi.requests import CALL
from openapi.security import SecuredRequest
from persistence import api_keys
from persistence.database import Database
from persistence.subscriptions import find_systems

CACHE_SECONDS = 1.0
"""Seconds that a key is cached: a revoked key loses access within this time."""

MAX_CACHED = 10_000


class ApiKeys:
    """Finds API keys by their hash, with a cache of one second."""

    def __init__(self, database: Database, extra_keys: tuple[ApiKey, ...] = ()) -> None:
        self._database = database
        self._extra = {key.key_hash: key for key in extra_keys}
        self._cache: dict[str, tuple[float, ApiKey | None]] = {}
        self._looking_up: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def find(self, key: bytes) -> ApiKey | None:
        """Return the stored key, or None if it is unknown or revoked."""
        key_hash = hash_key(key)
        if key_hash in self._extra:
            return self._extra[key_hash]
        cached = self._cache.get(key_hash)
        if cached is not None and time.monotonic() < cached[0]:
            return cached[1]
        looking_up = self._looking_up.get(key_hash)
        if looking_up is None:
            looking_up = self._looking_up[key_hash] = asyncio.create_task(self._look_up(key_hash))
        # Concurrent callers share one look-up; a caller that is cancelled does not cancel it.
        return await asyncio.shield(looking_up)

    async def _look_up(self, key_hash: str) -> ApiKey | None:
        begun = time.monotonic()
        try:
            found = await api_keys.find(self._database, key_hash)
        finally:
            del self._looking_up[key_hash]
        if found is not None and not hmac.compare_digest(found.key_hash, key_hash):
            found = None
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[key_hash] = (begun + CACHE_SECONDS, found)
        return found


def build_security_map(
    keys: ApiKeys, services: Services, failures: FailureLimit
) -> dict[str, type[AbstractSecurityHandler]]:
    """Return the security handlers for Connexion, which creates one per operation and scheme."""

    class HeaderHandler(AbstractSecurityHandler):  # type: ignore[misc]  # Connexion has no types.
        def get_fn(self, security_scheme: dict[str, Any], required_scopes: list[str]) -> Any:  # noqa: ARG002  # OpenAPI 3.0 gives apiKey schemes no scopes.
            header = security_scheme["name"].lower().encode()

            async def verify(request: SecuredRequest) -> dict[str, Any]:
                scope = request.scope
                try:
                    if header == HEADER:
                        return await _verify_certificate(services, scope)
                    return await _verify(keys, header, security_scheme["x-scope"], scope["headers"])
                except Unauthenticated as exc:
                    failures.count(exc, scope[PEER])
                    raise

            return verify

    return {"apiKey": HeaderHandler}


async def _verify_certificate(services: Services, scope: Scope) -> dict[str, Any]:
    # The header is trustworthy here: `ClientCertificateMiddleware` has replaced it.
    given = [value for name, value in scope["headers"] if name == HEADER]
    if len(given) != 1:
        raise Unauthenticated(RefusalReason.NO_CERTIFICATE, "A client certificate is required")
    fingerprint = read_certificate(given[0], services.now())
    caller = f"sha256:{fingerprint}"
    if CALL in scope:
        scope[CALL].caller = caller
    systems = await find_systems(services.database, fingerprint)
    if not systems:
        raise Unauthenticated(RefusalReason.UNKNOWN_CERTIFICATE, "The client certificate is not registered")
    if CALL in scope:
        scope[CALL].is_authenticated = True
    return {"sub": caller, "systems": systems}


async def _verify(keys: ApiKeys, header: bytes, scope: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    # Reject two different keys: one of them may belong to another party than the caller.
    given = {value for name, value in headers if name == header}
    needed = f"A valid key in the header {header.decode()} is needed"
    if len(given) != 1:
        raise KeyNeeded(RefusalReason.SEVERAL_KEYS if given else RefusalReason.NO_KEY, needed)
    found = await keys.find(given.pop())
    if found is None:
        raise KeyNeeded(RefusalReason.UNKNOWN_KEY, needed)
    # A key without the scope is rejected later, after the checks of media type and size.
    return {"sub": found.name, "lacks": None if scope in found.scopes else scope}
