"""Access tokens of publishers, and the challenges to those without a valid one (RFC 6750)."""

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import expect, expect_errors
from contract_tests.rules.events import new_event_id
from contract_tests.rules.tokens import (
    INVALID,
    INVALID_REQUEST,
    INVALID_TOKEN,
    UNKNOWN,
    expect_bearer,
    expect_no_token,
    expect_scopes,
)

pytestmark = pytest.mark.needs("accepts_tokens", "allowed")

NO_KEY, NO_ACCESS, NOT_VALID = 1012, 1013, 1014


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_publisher_without_credentials_is_asked_for_a_token(api: Api) -> None:
    response = api.publish({}, caller="anonymous")
    expect_errors(response, 401, (None, None, NO_KEY))
    expect_bearer(response, None)


@pytest.mark.parametrize("token", INVALID.values(), ids=INVALID.keys())
def test_event_with_an_invalid_token_is_refused(token: str, api: Api) -> None:
    """The token is checked before any part of the request is read."""
    for body, content_type in ((api.event(api.entry()), "application/json"), (b"x", "text/plain")):
        response = api.publish(body, content_type=content_type, headers=bearer(token), caller="anonymous")
        expect_errors(response, 401, (None, None, NO_KEY))
        expect_bearer(response, INVALID_TOKEN)
        expect_no_token(response, token)


@pytest.mark.needs("publisher")
def test_event_is_stored_only_if_key_and_token_are_valid(api: Api) -> None:
    """Every credential of a request must be valid. A later event with the id is the first one."""
    event = api.event(api.entry(), beskedId=new_event_id(api))
    key = {} if api.target.publish_key is None else {"apikey": api.target.publish_key}
    response = api.publish(event, headers=key | bearer(UNKNOWN), caller="anonymous")
    expect_errors(response, 401, (None, None, NO_KEY))
    expect_bearer(response, INVALID_TOKEN)
    expect(api.publish(event), 202)


@pytest.mark.needs("token_publishes")
def test_token_publishes_an_event(api: Api) -> None:
    expect(api.publish(api.event(api.entry()), caller="token"), 202)


@pytest.mark.needs("token_publishes")
def test_token_does_not_replace_an_unknown_key(api: Api) -> None:
    """The token is valid, so the challenge does not make the caller fetch another one."""
    response = api.publish({}, headers={"apikey": "unknown-key"}, caller="token")
    expect_errors(response, 401, (None, None, NO_KEY))
    expect_bearer(response, None)


def test_bearer_without_a_token_is_an_invalid_request(api: Api) -> None:
    response = api.publish({}, headers={"Authorization": "Bearer"}, caller="anonymous")
    expect_errors(response, 400, (None, "Authorization", NOT_VALID))
    expect_bearer(response, INVALID_REQUEST)


@pytest.mark.needs("token_without_events")
def test_challenge_names_the_scope_that_a_token_lacks(api: Api) -> None:
    for body in (api.event(api.entry()), {}, b"{"):
        response = api.publish(body, caller="token")
        expect_errors(response, 403, (None, None, NO_ACCESS))
        expect_scopes(response)
