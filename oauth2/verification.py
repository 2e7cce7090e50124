"""Verify access tokens (RFC 9068, RFC 8725): the entry point of this package."""

import hashlib
import math
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from joserfc import jws
from joserfc.errors import JoseError

from oauth2.claims import check_claims
from oauth2.compact_serialization import MAX_BYTES, UnverifiedToken, parse_token
from oauth2.file_key_sets import FileKeySet
from oauth2.issuers import ALGORITHMS, ANY_TYPE, AT_JWT, Issuer
from oauth2.key_sets import KeySource, VerificationKey
from oauth2.tokens import KeysUnavailable, TokenFault, TokenRefused, VerifiedToken

if TYPE_CHECKING:
    from oauth2.remote_key_sets import FetchTimes

MAX_REMEMBERED = 10_000
"""Maximum verified tokens that are remembered. The least recently used one is dropped for a new one."""

MAX_REMEMBERED_SYSTEMS = 32
"""Maximum systems of a token that is remembered: a token of 8 KiB may name so many that it needs 200 KB."""

_ANY_TYPES = frozenset({None, "jwt", AT_JWT})


def _create_registry(name: str) -> jws.JWSRegistry:
    """Return the registry of one algorithm, for headers that were checked before.

    Only keys on Ed25519 are kept, so `EdDSA` means `Ed25519`, of which joserfc does not warn.
    """
    registry = jws.JWSRegistry(algorithms=[name], strict_check_header=False)
    registry.max_header_length = registry.max_signature_length = MAX_BYTES
    registry.algorithms = {name: jws.JWSRegistry.algorithms["Ed25519" if name == "EdDSA" else name]}
    return registry


_REGISTRIES = {name: _create_registry(name) for name in ALGORITHMS}


@dataclass(slots=True)
class _Remembered:
    """A verified token, the key that verified it, and where that key comes from."""

    token: VerifiedToken
    key: VerificationKey
    source: KeySource


@dataclass(frozen=True, slots=True)
class KeySetState:
    """The state of a JWK Set, for metrics."""

    location: str
    age: float | None
    """Seconds since the keys were last confirmed; None if there are none yet."""
    failures: int
    """Failed attempts to read it since the start."""


class TokenVerifier:
    """Verifies tokens of trusted issuers, whose keys it keeps up to date between `start` and `stop`."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        now: Callable[[], datetime],
        tls: ssl.SSLContext | None = None,
        fetch_times: "FetchTimes | None" = None,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        """`tls` replaces the certificate authorities of the machine for JWK Sets.

        Raises `KeySetUnusable` for a file without usable keys.
        """
        self._now = now
        self._tls = tls
        self._fetch_times = fetch_times
        self._max_remembered = max_remembered
        self._is_started = False
        self._issuers: dict[tuple[str, str | None], Issuer] = {}
        self._sources: dict[str, KeySource] = {}
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self.replace_issuers(issuers)

    @property
    def headers(self) -> frozenset[str]:
        """Return the headers of gateways' assertions, in lower case."""
        return frozenset(header for _, header in self._issuers if header is not None)

    def start(self) -> None:
        """Begin to fetch keys. Call it in an event loop."""
        self._is_started = True
        for source in self._sources.values():
            source.start()

    def stop(self) -> None:
        """End all fetches."""
        self._is_started = False
        for source in self._sources.values():
            source.stop()

    def replace_issuers(self, issuers: Iterable[Issuer]) -> None:
        """Use these issuers from now on, and forget all verified tokens. Keys of unchanged locations are kept.

        Raises `KeySetUnusable` for a file without usable keys; then nothing has changed.
        """
        new = {(issuer.issuer, issuer.header): issuer for issuer in issuers}
        locations = {issuer.jwks for issuer in new.values()}
        added = {location: self._create_source(location) for location in locations - self._sources.keys()}
        removed = [self._sources[location] for location in self._sources.keys() - locations]
        self._issuers = new
        self._sources = {location: self._sources.get(location) or added[location] for location in locations}
        self._remembered.clear()
        for source in removed:
            source.stop()
        if self._is_started:
            for source in added.values():
                source.start()

    def list_key_sets(self) -> list[KeySetState]:
        """Return the states of all JWK Sets, sorted by location."""
        return [
            KeySetState(location, source.get_age(), source.failures)
            for location, source in sorted(self._sources.items())
        ]

    async def verify(self, token: bytes, *, header: str | None = None) -> VerifiedToken:
        """Return the verified token, with its scopes and systems.

        `header` is the name in lower case of a gateway's header that contained it, None for `Authorization`. Raises
        `TokenRefused`, or `KeysUnavailable` if the keys of the issuer could not be loaded since the start.
        """
        digest = hashlib.sha256(token + b"." + (header or "").encode()).digest()
        remembered = self._recall(digest)
        if remembered is not None:
            return remembered
        issuers = self._issuers
        unverified = parse_token(token)
        issuer = _find_issuer(issuers, unverified, header)
        source = self._sources[issuer.jwks]
        key = await _verify_signature(token, unverified, source)
        verified = check_claims(unverified.claims, issuer, self._now().timestamp())
        if self._issuers is issuers and len(verified.systems) <= MAX_REMEMBERED_SYSTEMS:
            self._remember(digest, _Remembered(verified, key, source))
        return verified

    def _create_source(self, location: str) -> KeySource:
        if location.startswith("file:"):
            return FileKeySet(Path(location.removeprefix("file:")))
        # Only keys at URLs need the client for HTTP, which takes a tenth of a second to load.
        from oauth2.remote_key_sets import RemoteKeySet

        return RemoteKeySet(location, tls=self._tls, times=self._fetch_times)

    def _recall(self, digest: bytes) -> VerifiedToken | None:
        """Return a token that was verified before, unless it has expired or its key has been withdrawn."""
        entry = self._remembered.get(digest)
        if entry is None:
            return None
        keys = entry.source.get_current()
        if keys is None or entry.key not in keys.keys or self._now().timestamp() >= entry.token.expires:
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return entry.token

    def _remember(self, digest: bytes, entry: _Remembered) -> None:
        self._remembered[digest] = entry
        if len(self._remembered) > self._max_remembered:
            self._remembered.popitem(last=False)


def _find_issuer(
    issuers: Mapping[tuple[str, str | None], Issuer], token: UnverifiedToken, header: str | None
) -> Issuer:
    """Return the issuer of a token whose header follows the rules of that issuer."""
    name = token.claims.get("iss")
    issuer = issuers.get((name, header)) if isinstance(name, str) else None
    if issuer is None:
        raise TokenRefused(TokenFault.UNKNOWN_ISSUER, "The issuer of the token is not trusted here")
    if token.algorithm not in issuer.algorithms:
        raise TokenRefused(TokenFault.WRONG_ALGORITHM, "The algorithm of the token is not allowed for its issuer")
    if token.type not in (_ANY_TYPES if issuer.type == ANY_TYPE else {issuer.type}):
        raise TokenRefused(TokenFault.WRONG_TYPE, "The type (typ) of the token is not that of an access token")
    return issuer


async def _verify_signature(token: bytes, unverified: UnverifiedToken, source: KeySource) -> VerificationKey:
    """Return the key that verifies the signature of a token."""
    if source.get_current() is None:
        await source.wait_for_first()
    keys = _find_keys(source, unverified)
    found = _find_signer(token, unverified, keys)
    if found is None:
        # The key may be new, also under a key id that another one had.
        await source.look_for_new_keys()
        # A key that has failed needs no second attempt.
        keys = [key for key in _find_keys(source, unverified) if key not in keys] or keys
        found = _find_signer(token, unverified, keys)
    if found is not None:
        return found
    if not keys:
        raise TokenRefused(TokenFault.UNKNOWN_KEY, "The issuer has no key with the key id and algorithm of the token")
    raise TokenRefused(TokenFault.WRONG_SIGNATURE, "The signature of the token is wrong")


def _find_keys(source: KeySource, token: UnverifiedToken) -> list[VerificationKey]:
    keys = source.get_current()
    if keys is None:
        raise KeysUnavailable(max(1, math.ceil(source.get_retry_seconds())))
    return keys.find(token.key_id, token.algorithm)


def _find_signer(token: bytes, unverified: UnverifiedToken, keys: Iterable[VerificationKey]) -> VerificationKey | None:
    """Return the first key that verifies the signature of a token."""
    registry = _REGISTRIES[unverified.algorithm]
    for each in keys:
        with suppress(JoseError, ValueError):
            jws.deserialize_compact(token, each.key, registry=registry)
            return each
    return None
