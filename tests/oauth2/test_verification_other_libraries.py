"""Tokens and keys that other libraries make are accepted.

authlib makes the claims and the header of RFC 9068. Its signatures are those of joserfc, so jwcrypto makes others.
"""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from jwcrypto.jwk import JWK, JWKSet
from jwcrypto.jwt import JWT

from oauth2.tokens import VerifiedToken
from oauth2.verification import TokenVerifier
from tests.tokens import AUDIENCE, CLIENT, ISSUER, WRITE, create_claims, create_issuer

PARAMETERS: dict[str, dict[str, Any]] = {
    "RS256": {"kty": "RSA", "size": 2048},
    "PS384": {"kty": "RSA", "size": 3072},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "ES384": {"kty": "EC", "crv": "P-384"},
    "ES512": {"kty": "EC", "crv": "P-521"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}


def verify(folder: Path, key: JWK, token: str) -> VerifiedToken:
    """Verify a token with the public key in the file that jwcrypto writes."""
    keys = JWKSet()
    keys.add(key)
    path = folder / "jwks.json"
    path.write_text(keys.export(private_keys=False))
    verifier = TokenVerifier([create_issuer(f"file:{path}")], now=lambda: datetime.now(UTC))
    return asyncio.run(verifier.verify(token.encode()))


class Client:
    """A client as authlib expects it."""

    def get_client_id(self) -> str:
        return CLIENT

    def get_allowed_scope(self, scope: str) -> str:
        return scope


class Generator(JWTBearerTokenGenerator):
    """The generator of authlib with one key."""

    def __init__(self, key: JWK, algorithm: str) -> None:
        super().__init__(issuer=ISSUER, alg=algorithm)
        self._key = key

    def get_jwks(self) -> dict[str, Any]:
        return json.loads(self._key.export_private())

    def get_audiences(self, client: Client, user: object, scope: str) -> list[str]:
        return [AUDIENCE]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_token_of_authlib_is_accepted(tmp_path: Path, algorithm: str) -> None:
    key = JWK.generate(kid="key-1", alg=algorithm, use="sig", **PARAMETERS[algorithm])
    answer = Generator(key, algorithm)("client_credentials", Client(), scope="wms:write openid")
    assert answer["token_type"] == "Bearer"
    found = verify(tmp_path, key, answer["access_token"])
    assert (found.caller, found.scopes) == (f"{ISSUER}#{CLIENT}", WRITE)


@pytest.mark.parametrize("algorithm", PARAMETERS)
def test_token_of_jwcrypto_is_accepted(tmp_path: Path, algorithm: str) -> None:
    key = JWK.generate(kid="key-1", alg=algorithm, use="sig", **PARAMETERS[algorithm])
    token = JWT(header={"alg": algorithm, "typ": "at+jwt", "kid": "key-1"}, claims=create_claims())
    token.make_signed_token(key)
    found = verify(tmp_path, key, token.serialize())
    assert (found.caller, found.scopes) == (f"{ISSUER}#{CLIENT}", WRITE)
