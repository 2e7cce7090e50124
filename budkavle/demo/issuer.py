"""The issuer of `budkavle dev`: access tokens for client credentials (RFC 6749, section 4.4; RFC 9068)."""

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus

import yaml
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp

CLIENT = "demo"
SECRET = "demo"  # noqa: S105  # Everybody may know it: the issuer listens on this machine only.
"""The credentials of the only client."""

ISSUER = "https://issuer.example"
"""The claim `iss`. Nothing is fetched from it: the keys are in a file."""

AUDIENCE = "https://budkavle.example"
"""The claim `aud`, and the identifier of the demo as a protected resource, as in the examples of the contract."""

SCOPES = ("messages", "publish")
"""The values of the claim `scope`. Each grants the scope of the same name."""

PATH = "/issuer/token"
"""The path of the token endpoint."""

ALGORITHM = "ES256"
LARGEST_BODY = 16_384
"""Maximum bytes of a request."""


class DemoIssuer:
    """Signs tokens with a key that it generates when it is created."""

    def __init__(self, now: Callable[[], datetime], *, lifetime: int = 3600) -> None:
        """`lifetime` is the number of seconds until a token expires."""
        self._now = now
        self._lifetime = lifetime
        self._key = ECKey.generate_key("P-256", {"alg": ALGORITHM, "use": "sig"}, auto_kid=True)

    def write_files(self, folder: Path) -> Path:
        """Write the public key and the file of issuers, and return the latter."""
        key_set = {"keys": [self._key.as_dict(private=False)]}
        (folder / "jwks.json").write_text(json.dumps(key_set), encoding="utf-8")
        issuer = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "algorithms": [ALGORITHM],
            "jwks": "file:jwks.json",
            "scopes": {"claim": "scope", "map": {scope: scope for scope in SCOPES}},
        }
        file = folder / "issuers.yaml"
        file.write_text(yaml.safe_dump({"issuers": [issuer]}), encoding="utf-8")
        return file

    def create_token(self, *scopes: str, **more: object) -> str:
        """Return a token that grants these scopes to the client. `more` are further claims."""
        now = int(self._now().timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": CLIENT,
            "client_id": CLIENT,
            "iat": now,
            "exp": now + self._lifetime,
            "jti": secrets.token_urlsafe(16),
            "scope": " ".join(scopes),
            **more,
        }
        return jwt.encode({"alg": ALGORITHM, "typ": "at+jwt", "kid": self._key.kid}, claims, self._key)

    def create_application(self, rest: ASGIApp) -> ASGIApp:
        """Return an application with the token endpoint at `PATH`, and `rest` at all other paths."""
        return Router([Route(PATH, self._issue, methods=["POST"]), Mount("/", rest)], redirect_slashes=False)

    async def _issue(self, request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                return Response(status_code=413, headers={"Connection": "close"})
        form = parse_qsl(body.decode("latin-1"), keep_blank_values=True)
        values = dict(form)
        if len(values) < len(form) or "grant_type" not in values:
            return _refuse("invalid_request", "send grant_type, and each parameter once")
        if not _is_client(request, values):
            return _refuse("invalid_client", f"the client is {CLIENT} with the secret {SECRET}", status=401)
        if values["grant_type"] != "client_credentials":
            return _refuse("unsupported_grant_type", "use client_credentials")
        scopes = values.get("scope", " ".join(SCOPES)).split(" ")
        if not set(scopes) <= set(SCOPES):
            return _refuse("invalid_scope", f"the scopes are {' and '.join(SCOPES)}")
        answer = {
            "access_token": self.create_token(*scopes),
            "token_type": "Bearer",
            "expires_in": self._lifetime,
            "scope": " ".join(scopes),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _is_client(request: Request, values: dict[str, str]) -> bool:
    """Return whether the header or the body contains the credentials of the client."""
    scheme, _, coded = request.headers.get("Authorization", "").partition(" ")
    name, secret = values.get("client_id", ""), values.get("client_secret", "")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(coded, validate=True).decode("latin-1").partition(":")
        except (binascii.Error, ValueError):
            return False
        # The separator may occur in both parts, so they are encoded (RFC 6749, section 2.3.1).
        name, secret = unquote_plus(name), unquote_plus(secret)
    is_known = hmac.compare_digest(name.encode(), CLIENT.encode())
    return hmac.compare_digest(secret.encode(), SECRET.encode()) and is_known


def _refuse(error: str, description: str, *, status: int = 400) -> Response:
    """Return an error in the form of RFC 6749, section 5.2."""
    # All methods of the client's authentication that a 401 may name.
    headers = {"Cache-Control": "no-store", "WWW-Authenticate": f'Basic realm="{CLIENT}"'}
    return JSONResponse({"error": error, "error_description": description}, status, headers)


def build_token_command(endpoint: str, service: str) -> str:
    """Return the command that gets a token and reads messages with it."""
    credentials = f"-u {CLIENT}:{SECRET} -d grant_type=client_credentials"
    take = r"""sed 's/.*"access_token": *"\([^"]*\)".*/\1/'"""
    read = f"{service}/webmessages/external-references/flowInstanceId/1068"
    return (
        f"""TOKEN=$(curl -sS {endpoint} {credentials} | {take}) && curl -sS {read} -H "Authorization: Bearer $TOKEN\""""
    )
