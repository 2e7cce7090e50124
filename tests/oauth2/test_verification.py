"""Good tokens are accepted."""

import pytest

from oauth2.issuers import ALGORITHMS
from tests.oauth2.conftest import Verify
from tests.tokens import AUDIENCE, CLIENT, ISSUER, WRITE, create_claims, create_token, create_token_key


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verify_accepts_each_algorithm(verify: Verify, algorithm: str) -> None:
    key = create_token_key(algorithm)
    verified = verify(create_token(key), key)
    assert (verified.caller, verified.scopes, verified.systems) == (f"{ISSUER}#{CLIENT}", WRITE, frozenset())
    assert verified.certificate is None


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]])
def test_verify_accepts_the_audience_among_others(verify: Verify, audience: object) -> None:
    verify(create_token(claims=create_claims(aud=audience)))
