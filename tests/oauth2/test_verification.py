"""Good tokens are accepted, and remembered as long as they are good."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oauth2.issuers import ALGORITHMS
from oauth2.key_sets import KeySetUnusable
from oauth2.tokens import TokenFault, TokenRefused, VerifiedToken
from oauth2.verification import MAX_REMEMBERED_SYSTEMS, TokenVerifier
from tests.oauth2.conftest import Verify
from tests.processes import REPOSITORY, python, run_program
from tests.tokens import (
    CLIENT,
    ISSUER,
    WRITE,
    create_claims,
    create_issuer,
    create_token,
    create_token_key,
    write_key_set,
)

OLD, NEW = create_token_key("ES256", "old"), create_token_key("ES256", "new")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verify_accepts_each_algorithm(verify: Verify, algorithm: str) -> None:
    key = create_token_key(algorithm)
    verified = verify(create_token(key), key)
    assert (verified.caller, verified.scopes, verified.systems) == (f"{ISSUER}#{CLIENT}", WRITE, frozenset())
    assert verified.certificate is None


def test_key_for_one_algorithm_verifies_no_other(verify: Verify) -> None:
    key = create_token_key("RS256")
    other = replace(key, algorithm="PS256")
    vars(other)["private"] = key.private
    with pytest.raises(TokenRefused) as caught:
        verify(create_token(other), key)
    assert caught.value.reason is TokenFault.UNKNOWN_KEY


def test_token_without_key_id_is_verified_with_each_key_that_fits(verify: Verify) -> None:
    verify(create_token(NEW, kid=...), create_token_key("RS256"), OLD, NEW)


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "x5t", "x5t#S256", "cty", "unknown"])
def test_other_parameters_of_the_header_are_ignored(verify: Verify, name: str) -> None:
    values = {
        "jku": "https://attacker.example",
        "x5u": "https://attacker.example",
        "jwk": OLD.jwk,
        "x5c": ["MIIB" * 300],
    }
    verify(create_token(**{name: values.get(name, "x" * 600)}))


@pytest.mark.parametrize("given", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"])
def test_type_is_compared_without_case_and_tree(verify: Verify, given: str) -> None:
    verify(create_token(typ=given))


@pytest.mark.parametrize(
    ("given", "is_accepted"), [(..., True), ("JWT", True), ("at+jwt", True), ("logout+jwt", False)]
)
def test_any_type_accepts_tokens_of_gateways(verify: Verify, given: Any, is_accepted: bool) -> None:
    token = create_token(typ=given)
    if is_accepted:
        verify(token, type="any")
    else:
        with pytest.raises(TokenRefused, match="type"):
            verify(token, type="any")


def test_type_of_the_issuer_replaces_the_default(verify: Verify) -> None:
    verify(create_token(typ="JWT"), type="jwt")
    with pytest.raises(TokenRefused, match="type"):
        verify(create_token(typ="at+jwt"), type="jwt")


def test_assertion_of_a_gateway_is_accepted_only_in_its_header(verify: Verify) -> None:
    verify(create_token(), header="x-jwt-assertion", issuer_header="x-jwt-assertion")
    for used, configured in ((None, "x-jwt-assertion"), ("x-jwt-assertion", None), ("x-other", "x-jwt-assertion")):
        with pytest.raises(TokenRefused) as caught:
            verify(create_token(), header=used, issuer_header=configured)
        assert caught.value.reason is TokenFault.UNKNOWN_ISSUER


class Issuance:
    """A verifier with a clock that the test sets, and the issuer's file of keys."""

    def __init__(self, folder: Path) -> None:
        self.time = datetime.now(UTC)
        self.path = write_key_set(folder / "jwks.json", OLD)
        self.issuer = create_issuer(f"file:{self.path}")
        self.verifier = TokenVerifier([self.issuer], now=lambda: self.time, max_remembered=2)

    def verify(self, token: str, header: str | None = None) -> VerifiedToken:
        return asyncio.run(self.verifier.verify(token.encode(), header=header))

    async def rotate(self, *keys: Any) -> None:
        new = write_key_set(self.path.with_suffix(".new"), *keys)
        new.replace(self.path)
        (source,) = self.verifier._sources.values()
        await source.look_for_new_keys()


@pytest.fixture
def issuance(tmp_path: Path) -> Issuance:
    return Issuance(tmp_path)


def test_verified_token_is_remembered(issuance: Issuance) -> None:
    token = create_token(OLD)
    assert issuance.verify(token) is issuance.verify(token)


def test_remembered_token_is_refused_when_it_expires(issuance: Issuance) -> None:
    token = create_token(OLD, create_claims(exp=int(issuance.time.timestamp()) + 60))
    issuance.verify(token)
    issuance.time += timedelta(seconds=69)
    issuance.verify(token)
    issuance.time += timedelta(seconds=1)
    with pytest.raises(TokenRefused) as caught:
        issuance.verify(token)
    assert caught.value.reason is TokenFault.EXPIRED


def test_remembered_token_is_refused_when_its_key_is_withdrawn(issuance: Issuance) -> None:
    token = create_token(OLD)
    issuance.verify(token)
    asyncio.run(issuance.rotate(OLD, NEW))
    issuance.verify(token)
    asyncio.run(issuance.rotate(NEW))
    with pytest.raises(TokenRefused) as caught:
        issuance.verify(token)
    assert caught.value.reason is TokenFault.UNKNOWN_KEY


def test_remembered_token_is_refused_when_its_key_id_has_another_key(issuance: Issuance) -> None:
    token = create_token(OLD)
    issuance.verify(token)
    impostor = replace(NEW, key_id="old")
    asyncio.run(issuance.rotate(impostor))
    with pytest.raises(TokenRefused) as caught:
        issuance.verify(token)
    assert caught.value.reason is TokenFault.WRONG_SIGNATURE


def test_remembered_token_is_checked_again_after_a_change_of_issuers(issuance: Issuance) -> None:
    token = create_token(OLD)
    issuance.verify(token)
    issuance.verifier.replace_issuers([replace(issuance.issuer, audiences=("https://other.example",))])
    with pytest.raises(TokenRefused) as caught:
        issuance.verify(token)
    assert caught.value.reason is TokenFault.WRONG_AUDIENCE


def test_token_is_not_remembered_for_another_header(issuance: Issuance) -> None:
    token = create_token(OLD)
    issuance.verify(token)
    with pytest.raises(TokenRefused):
        issuance.verify(token, "x-jwt-assertion")


def test_least_recently_used_token_is_forgotten_at_the_limit(issuance: Issuance) -> None:
    """The verifier of `Issuance` remembers two tokens."""
    used, unused, other = (create_token(OLD) for _ in range(3))
    first, second = issuance.verify(used), issuance.verify(unused)
    assert issuance.verify(used) is first
    issuance.verify(other)
    assert issuance.verify(used) is first
    assert issuance.verify(unused) is not second


def test_token_with_many_systems_is_not_remembered(issuance: Issuance) -> None:
    """10,000 of them would need 2 GB."""
    issuance.verifier.replace_issuers([replace(issuance.issuer, system_claim="system")])
    systems = [f"{number:x}" for number in range(MAX_REMEMBERED_SYSTEMS + 1)]
    few = create_token(OLD, create_claims(system=systems[1:]))
    many = create_token(OLD, create_claims(system=systems))
    assert issuance.verify(few) is issuance.verify(few)
    assert issuance.verify(many) is not issuance.verify(many)


def test_faulty_file_of_keys_leaves_the_issuers_as_they_are(issuance: Issuance, tmp_path: Path) -> None:
    with pytest.raises(KeySetUnusable):
        issuance.verifier.replace_issuers([replace(issuance.issuer, jwks=f"file:{tmp_path}/none.json")])
    issuance.verify(create_token(OLD))


def test_headers_are_those_of_gateways(tmp_path: Path) -> None:
    path = write_key_set(tmp_path / "jwks.json")
    issuers = [create_issuer(f"file:{path}"), create_issuer(f"file:{path}", header="x-jwt-assertion")]
    verifier = TokenVerifier(issuers, now=lambda: datetime.now(UTC))
    assert verifier.headers == {"x-jwt-assertion"}
    (state,) = verifier.list_key_sets()
    assert (state.location, state.failures) == (f"file:{path}", 0)


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [("budkavle.service", "joserfc"), ("oauth2.tokens", "joserfc"), ("oauth2.verification", "aiohttp")],
)
def test_libraries_are_loaded_only_if_they_are_needed(module: str, unneeded: str) -> None:
    """A service without issuers starts without joserfc, and one with keys in files without the client for HTTP."""
    code = f"import warnings; warnings.simplefilter('ignore'); import sys, {module}; print('{unneeded}' in sys.modules)"
    result = run_program(*python(code), folder=REPOSITORY)
    assert result.stdout == "False\n", result.stderr
