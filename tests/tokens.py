"""Make access tokens as an issuer would, and wrong ones as no issuer would."""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

from oauth2.issuers import ALGORITHMS, Issuer

ISSUER = "https://issuer.example"
AUDIENCE = "https://budkavle.example"
CLIENT = "case-system"
WRITE = frozenset({"messages.read", "messages.write"})
"""The scopes that the claim value `wms:write` grants."""

_CURVES = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
_JWKS = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}
_HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


@dataclass(frozen=True)
class TokenKey:
    """A private key of an issuer."""

    key_id: str
    algorithm: str

    @cached_property
    def private(self) -> Any:
        """Return the key of cryptography, generated at the first use: an RSA key takes a tenth of a second."""
        if self.algorithm.startswith("Ed"):
            return ed25519.Ed25519PrivateKey.generate()
        if self.algorithm in _CURVES:
            return ec.generate_private_key(_CURVES[self.algorithm]())
        return rsa.generate_private_key(65537, 2048)

    @property
    def jwk(self) -> dict[str, Any]:
        """Return the public key as a JWK."""
        public = _JWKS[self.algorithm[:2]].import_key(self.private.public_key()).as_dict(private=False)
        return {**public, "kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    def sign(self, message: bytes) -> bytes:
        hash_ = None if self.algorithm.startswith("Ed") else _HASHES[self.algorithm[2:]]()
        match self.algorithm[:2]:
            case "RS":
                return self.private.sign(message, padding.PKCS1v15(), hash_)
            case "PS":
                return self.private.sign(message, padding.PSS(padding.MGF1(hash_), hash_.digest_size), hash_)
            case "ES":
                size = (self.private.key_size + 7) // 8
                numbers = decode_dss_signature(self.private.sign(message, ec.ECDSA(hash_)))
                return b"".join(number.to_bytes(size) for number in numbers)
            case _:
                return self.private.sign(message)


@cache
def create_token_key(algorithm: str = "ES256", key_id: str = "key-1") -> TokenKey:
    """Return the key of these properties, the same one within a process."""
    return TokenKey(key_id, algorithm)


def create_claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token. A change of `...` removes a claim."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": CLIENT,
        "client_id": CLIENT,
        "iat": now,
        "exp": now + 300,
        "jti": f"token-{time.monotonic_ns()}",
        "scope": "wms:write",
    }
    return _change(claims, changes)


def create_token(key: TokenKey | None = None, claims: Any = None, **header: Any) -> str:
    """Return a token that the key signs. `header` changes its header as `create_claims` does the claims."""
    key = key or create_token_key()
    full = _change({"alg": key.algorithm, "typ": "at+jwt", "kid": key.key_id}, header)
    return sign_parts(key, encode_json(full), encode_json(create_claims() if claims is None else claims))


def sign_parts(key: TokenKey, header: bytes | str, claims: bytes | str) -> str:
    """Return a token of these JSON texts, which may be wrong."""
    message = f"{encode(header)}.{encode(claims)}"
    return f"{message}.{encode(key.sign(message.encode()))}"


def encode(data: bytes | str) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def encode_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def create_key_set(*keys: TokenKey) -> dict[str, Any]:
    """Return the JWK Set of public keys."""
    return {"keys": [key.jwk for key in keys or (create_token_key(),)]}


def create_issuer(jwks: str, **changes: Any) -> Issuer:
    """Return an issuer that may use every algorithm."""
    return replace(
        Issuer(
            issuer=ISSUER,
            audiences=(AUDIENCE,),
            algorithms=frozenset(ALGORITHMS),
            jwks=jwks,
            scope_map={"wms:write": WRITE, "wms:read": frozenset({"messages.read"})},
        ),
        **changes,
    )


def write_key_set(path: Path, *keys: TokenKey) -> Path:
    path.write_text(json.dumps(create_key_set(*keys)))
    return path


def _change(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changes}.items() if value is not ...}
