"""Parse JWK Sets (RFC 7517): the public keys of an issuer, with which its signatures are verified."""

import base64
from dataclasses import dataclass, field
from typing import Any, Protocol

from joserfc import jwk
from joserfc.errors import JoseError

from domain.errors import BudkavleError
from oauth2.issuers import ALGORITHMS, KeyFamily
from oauth2.strict_json import parse_object

MAX_BYTES = 1024 * 1024
"""Maximum bytes of a JWK Set."""

MAX_KEYS = 32
"""Maximum keys of a set that are used. A token without a key id is verified with each of them that fits."""

MAX_TEXT = 2048
"""Maximum characters of a value of a key."""

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
"""Shorter keys are not secure (RFC 7518, section 3.3), and longer ones take milliseconds."""

_PUBLIC_PARAMETERS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_FAMILIES = frozenset(ALGORITHMS.values())


class KeySetUnusable(BudkavleError):
    """The JWK Set cannot be used."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key of an issuer."""

    key_id: str | None
    family: KeyFamily
    algorithm: str | None
    """The only algorithm that the key may be used with, if the issuer names one."""
    thumbprint: str
    """The thumbprint of RFC 7638."""
    key: jwk.Key = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of an issuer, and the reasons why others are ignored."""

    keys: tuple[VerificationKey, ...]
    ignored: tuple[str, ...] = ()

    def find(self, key_id: str | None, algorithm: str) -> list[VerificationKey]:
        """Return the keys that may have signed a token: those with its key id, or without one all that fit."""
        family = ALGORITHMS[algorithm]
        return [
            key
            for key in self.keys
            if key.family == family and key.algorithm in {None, algorithm} and key_id in {None, key.key_id}
        ]


def parse_key_set(data: bytes) -> KeySet:
    """Return the keys in a JWK Set. Raises `KeySetUnusable` unless it contains a usable key.

    Keys of types and uses that are not known here are ignored, as RFC 7517 requires.
    """
    if len(data) > MAX_BYTES:
        raise KeySetUnusable(f"The JWK Set is larger than {MAX_BYTES} bytes")
    try:
        document = parse_object(data)
    except ValueError as exc:
        raise KeySetUnusable(f"The JWK Set is not an unambiguous JSON object: {_describe(exc)}") from None
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise KeySetUnusable("The JWK Set has no list of keys")
    keys: list[VerificationKey] = []
    ignored: list[str] = []
    for number, entry in enumerate(entries, 1):
        if len(keys) == MAX_KEYS:
            ignored.append(f"keys from number {number}: more than {MAX_KEYS}")
            break
        try:
            keys.append(_parse_key(entry))
        except KeySetUnusable as exc:
            ignored.append(f"key {number}: {exc}")
    if not keys:
        raise KeySetUnusable("; ".join(["The JWK Set has no usable key", *ignored[:MAX_KEYS]]))
    return KeySet(tuple(keys), tuple(ignored[: MAX_KEYS + 1]))


def _parse_key(entry: Any) -> VerificationKey:
    """Return a key. Raises `KeySetUnusable` with the reason why it is ignored."""
    if not isinstance(entry, dict):
        raise KeySetUnusable("it is not an object")
    key_type, key_id, algorithm = (_read_text(entry, name) for name in ("kty", "kid", "alg"))
    names = _PUBLIC_PARAMETERS.get(key_type or "")
    if key_type is None or names is None:
        raise KeySetUnusable("only the types RSA, EC and OKP are supported")
    # A private key in a public place belongs to everybody who has read it.
    if "d" in entry:
        raise KeySetUnusable("it is a private key")
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise KeySetUnusable("it is not meant for signatures")
    parameters = {name: _read_text(entry, name) or "" for name in names}
    family = KeyFamily(key_type, parameters.get("crv"))
    if family not in _FAMILIES:
        raise KeySetUnusable("the curve is not supported")
    if algorithm is not None and ALGORITHMS.get(algorithm) != family:
        raise KeySetUnusable("alg does not fit the key")
    if key_type == "RSA" and not MIN_RSA_BITS <= _count_bits(parameters["n"]) <= MAX_RSA_BITS:
        raise KeySetUnusable(f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    try:
        key = jwk.import_key({"kty": key_type, **parameters})
    except (JoseError, ValueError):
        raise KeySetUnusable("its parameters are invalid") from None
    return VerificationKey(key_id, family, algorithm, key.thumbprint(), key)


def _read_text(entry: dict[str, Any], name: str) -> str | None:
    given = entry.get(name)
    if name in entry and (not isinstance(given, str) or not 0 < len(given) <= MAX_TEXT):
        raise KeySetUnusable(f"{name} is not text of 1 to {MAX_TEXT} characters")
    return given


def _count_bits(number: str) -> int:
    try:
        return int.from_bytes(base64.urlsafe_b64decode(number + "==")).bit_length()
    except ValueError:
        raise KeySetUnusable("its parameters are invalid") from None


def _describe(error: ValueError) -> str:
    return "not UTF-8" if isinstance(error, UnicodeError) else str(error)


class KeySource(Protocol):
    """A place from which the keys of an issuer come."""

    failures: int
    """Failed attempts to read the keys since the start."""

    def start(self) -> None:
        """Begin to keep the keys up to date. Call it in an event loop."""

    def stop(self) -> None:
        """End that."""

    def get_current(self) -> KeySet | None:
        """Return the keys, or None if none could be read yet."""

    def get_age(self) -> float | None:
        """Return the seconds since the keys were last confirmed, or None as `get_current`."""

    def get_retry_seconds(self) -> float:
        """Return the seconds until the next attempt to read the keys."""

    async def wait_for_first(self) -> None:
        """Return after the attempt to read the keys that is under way, if there is one."""

    async def look_for_new_keys(self) -> None:
        """Read the keys again because a token names an unknown one, unless that happened a short time ago."""
