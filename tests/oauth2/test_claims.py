"""Claims become the rights of a caller."""

from typing import Any

import pytest

from oauth2.claims import check_claims
from oauth2.issuers import Issuer
from oauth2.tokens import TokenFault, TokenRefused, VerifiedToken
from tests.tokens import AUDIENCE, ISSUER, WRITE, create_claims, create_issuer, encode

NOW = 1_800_000_000.0
READ = frozenset({"messages.read"})
HASH = bytes(range(32))


def check(claims: dict[str, Any] | None = None, issuer: Issuer | None = None, **changes: Any) -> VerifiedToken:
    """Return the token of claims that were issued a minute ago and end in four minutes."""
    given = create_claims(iat=NOW - 60, exp=NOW + 240, **changes) if claims is None else claims
    return check_claims(given, issuer or create_issuer("https://issuer.example/jwks.json"), NOW)


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE], [AUDIENCE, AUDIENCE]])
def test_audience_may_be_one_of_several(audience: object) -> None:
    check(aud=audience)


def test_issuer_may_have_several_audiences() -> None:
    issuer = create_issuer("https://issuer.example/jwks.json", audiences=("client-1", "client-2"))
    check(issuer=issuer, aud="client-2")
    with pytest.raises(TokenRefused):
        check(issuer=issuer, aud=AUDIENCE)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exp": NOW - 9.5}, None),
        ({"exp": NOW - 10}, TokenFault.EXPIRED),
        ({"exp": NOW - 10.5}, TokenFault.EXPIRED),
        ({"nbf": NOW + 10}, None),
        ({"nbf": NOW + 10.5}, TokenFault.NOT_YET_VALID),
        ({"iat": NOW + 10}, None),
        ({"iat": NOW + 11}, TokenFault.NOT_YET_VALID),
        ({"iat": ...}, None),
        ({"exp": NOW + 1e9}, None),
    ],
)
def test_times_have_the_tolerance_of_the_issuer(changes: dict[str, Any], expected: TokenFault | None) -> None:
    claims = create_claims(**{"iat": NOW - 60, "exp": NOW + 240, **changes})
    if expected is None:
        assert check(claims).expires == claims["exp"] + 10
    else:
        with pytest.raises(TokenRefused) as caught:
            check(claims)
        assert caught.value.reason is expected


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("wms:write", WRITE),
        ("wms:read", READ),
        ("openid wms:read profile", READ),
        ("wms:read wms:write", WRITE),
        (["wms:read", "profile"], READ),
        (["wms:read profile"], frozenset()),
        ("WMS:READ", frozenset()),
        ("wms:rea", frozenset()),
        ("messages", frozenset()),
        ("", frozenset()),
        ([], frozenset()),
        (..., frozenset()),
    ],
)
def test_only_mapped_values_grant_scopes(scope: object, granted: frozenset[str]) -> None:
    assert check(scope=scope).scopes == granted


def test_values_with_spaces_are_those_of_lists() -> None:
    issuer = create_issuer("https://issuer.example/jwks.json", scope_claim="groups", scope_map={"Case workers": READ})
    assert check(issuer=issuer, groups=["Case workers"]).scopes == READ
    assert check(issuer=issuer, groups="Case workers").scopes == frozenset()
    assert check(issuer=issuer, scope="Case workers").scopes == frozenset()


@pytest.mark.parametrize(
    ("system", "expected"),
    [("ABC-1", {"abc-1"}), (["abc-1", "Abc-2"], {"abc-1", "abc-2"}), ("a b", {"a", "b"}), ([], set()), (..., set())],
)
def test_systems_are_those_of_the_claim(system: object, expected: set[str]) -> None:
    issuer = create_issuer("https://issuer.example/jwks.json", system_claim="system")
    assert check(issuer=issuer, system=system).systems == expected
    assert check(system=system).systems == frozenset()


@pytest.mark.parametrize(
    ("changes", "client"),
    [
        ({"client_id": "a", "azp": "b", "sub": "c"}, "a"),
        ({"client_id": ..., "azp": "b", "sub": "c"}, "b"),
        ({"client_id": ..., "azp": ..., "sub": "c"}, "c"),
        ({"client_id": "a#b"}, "a#b"),
        ({"client_id": "c" * 255}, "c" * 255),
    ],
)
def test_client_is_the_first_claim_that_names_it(changes: dict[str, Any], client: str) -> None:
    found = check(**changes)
    assert (found.client, found.caller) == (client, f"{ISSUER}#{client}")


def test_binding_to_a_certificate_is_returned_in_hex() -> None:
    assert check(cnf={"x5t#S256": encode(HASH)}).certificate == HASH.hex()
    assert check().certificate is None
