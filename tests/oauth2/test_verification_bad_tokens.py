"""Bad tokens are refused, each for its reason."""

import string
from collections.abc import Callable

import pytest

from oauth2.tokens import TokenFault, TokenRefused
from tests.bad_tokens import BAD_TOKENS, EC_KEY, RSA_KEY
from tests.oauth2.conftest import Verify
from tests.tokens import create_token

ALGORITHMS = frozenset({"ES256", "RS256"})
# RFC 6750, section 3: what an error_description may contain.
DESCRIPTION = set(string.printable[:95]) - set('"\\')


@pytest.mark.parametrize(
    ("reason", "create"),
    [pytest.param(reason, create, id=name) for reason, tokens in BAD_TOKENS.items() for name, create in tokens.items()],
)
def test_verify_refuses_bad_token(verify: Verify, reason: TokenFault, create: Callable[[], str]) -> None:
    token = create()
    with pytest.raises(TokenRefused) as caught:
        verify(token, EC_KEY, RSA_KEY, algorithms=ALGORITHMS)
    assert caught.value.reason is reason
    description = str(caught.value)
    assert set(description) <= DESCRIPTION
    assert not any(part in description for part in token.split(".") if len(part) > 5)


def test_bad_tokens_differ_from_good_ones(verify: Verify) -> None:
    """The table would prove nothing with keys or rules that refuse every token."""
    for key in (EC_KEY, RSA_KEY):
        verify(create_token(key), EC_KEY, RSA_KEY, algorithms=ALGORITHMS)
    assert sum(map(len, BAD_TOKENS.values())) >= 60
    assert set(BAD_TOKENS) == set(TokenFault)
