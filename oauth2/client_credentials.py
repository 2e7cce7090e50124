"""Request an access token with client credentials (RFC 6749, section 4.4), and read the response.

Messages contain no part of a response except its status and the error codes of the standards: an endpoint may repeat
the secret in its response.
"""

import math
import re
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlencode

from domain.catalogue import ClientAuthentication, TokenClient
from domain.errors import BudkavleError
from oauth2.strict_json import parse_object

MAX_BYTES = 64 * 1024
"""Maximum bytes of a response."""
MAX_TOKEN = 8 * 1024
"""Maximum characters of a token: servers reject longer header lines."""

DEFAULT_SECONDS = 300.0
"""The lifetime of a token whose response does not have it."""
SHORTEST_SECONDS = 10.0
LONGEST_SECONDS = 86_400.0
"""Limits of the lifetime in a response."""

_TOKEN = re.compile(rf"(?=.{{1,{MAX_TOKEN}}}$)[A-Za-z0-9._~+/-]+=*", re.ASCII)
"""The form of a token in a header (RFC 6750, section 2.1)."""
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)

_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "invalid_scope",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""Error codes of RFC 6749 and RFC 8707."""


class TokenResponseWrong(BudkavleError):
    """The response of the endpoint contains no usable token."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """An access token, and the seconds for which it is valid."""

    text: str = field(repr=False)
    seconds: float


def build_token_request(client: TokenClient, secret: str) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request for a token."""
    optional = {"scope": client.scope, "audience": client.audience, "resource": client.resource}
    form = {"grant_type": "client_credentials"} | {name: value for name, value in optional.items() if value is not None}
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "Budkavle",
    }
    if client.authentication is ClientAuthentication.POST:
        form |= {"client_id": client.client_id, "client_secret": secret}
    else:
        # The separator may occur in both parts, so they are encoded (RFC 6749, section 2.3.1).
        pair = f"{quote_plus(client.client_id)}:{quote_plus(secret)}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return headers, urlencode(form).encode()


def parse_token_response(status: int, body: bytes) -> IssuedToken:
    """Return the token in a response. `body` has at most one byte more than allowed. Raises `TokenResponseWrong`."""
    try:
        values = parse_object(body) if len(body) <= MAX_BYTES else {}
    except ValueError:
        values = None
    if status != HTTPStatus.OK:
        error = values.get("error") if values else None
        known = f" {error}" if isinstance(error, str) and error in _ERRORS else ""
        hint = "; redirects are not followed" if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST else ""
        raise TokenResponseWrong(f"answered {status}{known}{hint}")
    if len(body) > MAX_BYTES:
        raise TokenResponseWrong(f"answered with more than {MAX_BYTES} bytes")
    if values is None:
        raise TokenResponseWrong("answered with something other than a JSON object")
    token, kind = values.get("access_token"), values.get("token_type")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TokenResponseWrong("answered without an access_token that a header may contain")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenResponseWrong("answered with another token_type than Bearer")
    return IssuedToken(token, _read_seconds(values.get("expires_in")))


def _read_seconds(value: Any) -> float:
    """Return the lifetime of a token within the limits. Some endpoints write it as text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return DEFAULT_SECONDS
    return min(max(float(value), SHORTEST_SECONDS), LONGEST_SECONDS)
