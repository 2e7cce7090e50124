"""Access tokens of systems, which also need their client certificate (RFC 8705)."""

import pytest

from contract_tests.api import LIST, REPLAY, SYNC, TEST, Api
from contract_tests.rules.answers import expect, expect_errors
from contract_tests.rules.tokens import INVALID_TOKEN, UNKNOWN, expect_bearer, expect_no_token

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
    query, headers = {"systemIdentifier": api.target.system}, {"Authorization": f"Bearer {api.target.token}"}
    response = api.call("GET", "/v1/abonnement", query=query, headers=headers, caller="anonymous")
    expect_errors(response, 401, (None, None, NO_KEY if api.target.has_bound_token else NO_CERTIFICATE))


@pytest.mark.needs("has_unbound_token")
def test_token_of_any_bearer_is_invalid_with_a_certificate(api: Api) -> None:
    """A token that is not bound to the certificate may be stolen."""
    query, headers = {"systemIdentifier": api.target.system}, {"Authorization": f"Bearer {api.target.token}"}
    response = api.call("GET", "/v1/abonnement", query=query, headers=headers, caller="system")
    expect_errors(response, 401, (None, None, NO_KEY))
    expect_bearer(response, INVALID_TOKEN)


@pytest.mark.needs("has_bound_token")
def test_token_of_the_certificate_gives_access_together_with_it(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.target.token}"}
    expect(api.call("GET", "/v1/beskedtype/tilladte", query={"orgType": 1}, headers=headers, caller="system"), 200)
