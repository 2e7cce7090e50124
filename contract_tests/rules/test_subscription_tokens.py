"""Access tokens of systems, which also need their client certificate (RFC 8705)."""

import pytest

from contract_tests.api import LIST, REPLAY, SYNC, TEST, Api
from contract_tests.rules.answers import expect, expect_errors
from contract_tests.rules.tokens import INVALID_TOKEN, UNKNOWN, expect_bearer, expect_no_token
from contract_tests.tokens import is_bound

pytestmark = pytest.mark.needs("certificate", "system", "allowed", "accepts_tokens")

NO_KEY, NO_CERTIFICATE = 1012, 1101

OPERATIONS = [
    ("POST", SYNC),
    ("GET", "/v1/abonnement"),
    ("GET", "/v1/beskedtype/tilladte"),
    ("GET", LIST),
    ("POST", REPLAY),
    ("POST", TEST),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_certificate_does_not_replace_an_invalid_token(method: str, path: str, api: Api) -> None:
    """Every credential of a request must be valid."""
    headers = {"Authorization": f"Bearer {UNKNOWN}"}
    response = api.call(method, path, body=b"{" if method == "POST" else None, headers=headers, caller="system")
    expect_errors(response, 401, (None, None, NO_KEY))
    expect_bearer(response, INVALID_TOKEN)
    expect_no_token(response, UNKNOWN)


def test_set_with_an_invalid_token_changes_nothing(own_set: Api) -> None:
    own_set.subscribe(own_set.entry())
    before = own_set.subscriptions()
    expect(own_set.sync([], headers={"Authorization": f"Bearer {UNKNOWN}"}), 401)
    after = own_set.subscriptions()
    assert after == before, f"a sync with an invalid token must not change the set: expected {before}, but got {after}"


@pytest.mark.needs("token_file")
def test_token_does_not_replace_the_certificate(api: Api) -> None:
    query = {"systemIdentifier": api.target.system}
    response = api.call("GET", "/v1/abonnement", query=query, caller="token")
    code = NO_KEY if is_bound(api.target.token or "") else NO_CERTIFICATE
    expect_errors(response, 401, (None, None, code))


@pytest.mark.needs("token_file")
def test_token_of_any_bearer_is_invalid_with_a_certificate(api: Api) -> None:
    """A token that is not bound to the certificate may be stolen."""
    token = api.target.token or ""
    if is_bound(token):
        pytest.skip("needs a --token that is not bound to a certificate")
    query, headers = {"systemIdentifier": api.target.system}, {"Authorization": f"Bearer {token}"}
    response = api.call("GET", "/v1/abonnement", query=query, headers=headers, caller="system")
    expect_errors(response, 401, (None, None, NO_KEY))
    expect_bearer(response, INVALID_TOKEN)
