"""Tokens that no issuer signed, and assertions about the challenges to callers (RFC 6750, section 3)."""

import base64
import json

import requests

from contract_tests.challenges import Challenge, find_bearer
from contract_tests.rules.answers import describe_response

ERROR = "error"
INVALID_REQUEST, INVALID_TOKEN, INSUFFICIENT_SCOPE = "invalid_request", "invalid_token", "insufficient_scope"


def encode_part(value: object) -> str:
    """Return a part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def build_token(algorithm: str, signature: str) -> str:
    """Return a JWT with claims of an access token that expires in the year 2100."""
    claims = {"iss": "https://issuer.invalid", "aud": "contract-check", "sub": "contract-check", "exp": 4102444800}
    header = {"alg": algorithm, "typ": "at+jwt", "kid": "contract-check"}
    return f"{encode_part(header)}.{encode_part(claims)}.{signature}"


INVALID = {
    "no JWT": "contract-check-token",
    "three parts": "contract.check.token",
    "empty parts": "..",
    "no algorithm": build_token("none", ""),
    "no issuer of this service": build_token("ES256", "c2lnbmF0dXJl" * 7 + "cw"),
    "encrypted": f"{encode_part({'alg': 'dir', 'enc': 'A256GCM'})}..aXZpdml2aXZpdg.Y29udGVudA.dGFndGFndGFndGFndGFndA",
}
"""Tokens that are not valid for any service."""

UNKNOWN = INVALID["no issuer of this service"]


def expect_bearer(response: requests.Response, error: str | None) -> Challenge:
    """Return the challenge Bearer of a response, after asserting its form and its error."""
    header = response.headers.get("WWW-Authenticate", "")
    try:
        challenge = find_bearer(header)
    except ValueError as exc:
        raise AssertionError(f"WWW-Authenticate must be a list of challenges, but {exc}: {header!r}") from None
    assert challenge is not None, (
        f"WWW-Authenticate must have the challenge Bearer, but was {header!r}; {describe_response(response)}"
    )
    found = challenge.parameters.get(ERROR)
    assert found == error, (
        f"the challenge Bearer must have {f'the error {error}' if error else 'no error'}, but WWW-Authenticate was "
        f"{header!r}; {describe_response(response)}"
    )
    names = {"error", "error_description", "error_uri"} & set(challenge.parameters)
    assert error is not None or not names, (
        f"a request without a token must get a challenge without an error, but it had {sorted(names)}: {header!r}"
    )
    return challenge


def expect_no_token(response: requests.Response, token: str) -> None:
    """Assert that neither the headers nor the body of a response repeat the token."""
    for place, text in {"the headers": str(response.headers), "the body": response.text}.items():
        assert token not in text, f"a response must not repeat the token, but {place} did: {text[:2000]}"


def expect_scopes(response: requests.Response) -> None:
    """Assert that a 403 names scopes in the form of RFC 6749, if any scope gives access."""
    scope = expect_bearer(response, INSUFFICIENT_SCOPE).parameters.get("scope")
    if scope is not None:
        parts = scope.split(" ")
        assert all(parts), f"`scope` must list scopes, separated by one space, but was {scope!r}"
