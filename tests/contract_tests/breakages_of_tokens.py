"""Servers that break the contract of access tokens and their challenges."""

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

from conftest import MESSAGES_KEY, PUBLISH_KEY
from contract_tests.rules.tokens import INVALID
from tests.contract_tests.breakages import EVENT, MESSAGES, Case
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

CHALLENGE = "www-authenticate"
AUTHORIZATION = "authorization"
OF_MESSAGES, OF_EVENTS, OF_SYSTEMS = (
    "test_web_message_tokens.py",
    "test_event_tokens.py",
    "test_subscription_tokens.py",
)
ALL_SCOPES = ("messages", "publish")


def is_unsigned(request: Request) -> bool:
    """Return whether the token of a request has no valid signature."""
    given = request.header(AUTHORIZATION) or ""
    return given.removeprefix("Bearer ") in INVALID.values() or given.endswith(("x", "."))


def with_challenge(change: Callable[[str, Request], str]) -> Breakage:
    """Return a server that changes its challenges."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        challenge = response.header(CHALLENGE)
        return response if challenge is None else response.with_header(CHALLENGE, change(challenge, request))

    return breakage


def as_if(is_concerned: Callable[[Request], bool], change: Callable[[Request], Request]) -> Breakage:
    """Return a server that treats some requests as if they were others."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        return await forward(change(request) if is_concerned(request) else request)

    return breakage


def with_key(request: Request) -> Request:
    """Return the request of a caller with a key and without a token."""
    key = PUBLISH_KEY if request.path == EVENT else MESSAGES_KEY
    return request.without(AUTHORIZATION).with_header("apikey", key)


def with_status(is_concerned: Callable[[Request], bool], status: int) -> Breakage:
    """Return a server that changes the status of its responses to some requests."""

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        return replace(response, status=status) if is_concerned(request) else response

    return breakage


def has_token(request: Request) -> bool:
    return request.header(AUTHORIZATION) is not None


async def without_tokens(request: Request, forward: Forward) -> ServerResponse:
    """Ignore tokens, as a server whose contract does not have them."""
    response = await forward(request.without(AUTHORIZATION))
    challenge = response.header(CHALLENGE)
    return response if challenge is None else response.with_header(CHALLENGE, remove_bearer(challenge, request))


def remove_bearer(challenge: str, _: Request) -> str:
    return re.sub("Bearer .*(?=ApiKey)", "", challenge)


async def body_before_token(request: Request, forward: Forward) -> ServerResponse:
    """Report errors of the body to callers without a valid token."""
    if not is_unsigned(request) or request.method != "POST":
        return await forward(request)
    response = await forward(with_key(request))
    return await forward(request) if response.status < 300 else response


async def stored_with_an_invalid_token(request: Request, forward: Forward) -> ServerResponse:
    """Check the token after the work is done."""
    if request.method == "POST" and is_unsigned(request):
        is_of_system = request.path.startswith("/v1/abonnement")
        await forward(request.without(AUTHORIZATION) if is_of_system else with_key(request))
    return await forward(request)


async def token_in_any_place(request: Request, forward: Forward) -> ServerResponse:
    """Accept a token in the query."""
    name, _, token = request.query.partition(b"=")
    if name != b"access_token":
        return await forward(request)
    given = request.with_header(AUTHORIZATION, f"Bearer {unquote(token.decode())}")
    return await forward(replace(given, query=b""))


async def token_of_another_name(request: Request, forward: Forward) -> ServerResponse:
    """Accept a token without its scheme."""
    given = request.header(AUTHORIZATION) or ""
    is_bare = given.count(".") == 2 and " " not in given
    return await forward(request.with_header(AUTHORIZATION, f"Bearer {given}") if is_bare else request)


async def token_replaces_key(request: Request, forward: Forward) -> ServerResponse:
    return await forward(request.without("apikey") if has_token(request) and not is_unsigned(request) else request)


def repeats_token(challenge: str, request: Request) -> str:
    token = (request.header(AUTHORIZATION) or "").removeprefix("Bearer ")
    return challenge.replace("The token", f"The token {token}").replace("The issuer", f"{token}: the issuer")


def rejects_known_token(challenge: str, request: Request) -> str:
    return (
        challenge.replace('Bearer realm="budkavle"', 'Bearer realm="budkavle", error="invalid_token"')
        if (has_token(request) and not is_unsigned(request))
        else challenge
    )


def of_messages(breakage: Breakage, check: str, words: str, *token: str) -> Case:
    return Case(breakage, "web-messages", f"{OF_MESSAGES}::{check}", words, token=token)


def of_events(breakage: Breakage, check: str, words: str, *token: str) -> Case:
    return Case(breakage, "subscriptions", f"{OF_EVENTS}::{check}", words, token=token)


def of_systems(breakage: Breakage, check: str, words: str, *token: str) -> Case:
    return Case(breakage, "subscriptions", f"{OF_SYSTEMS}::{check}", words, token=token)


ASKED = "test_request_without_credentials_is_asked_for_a_token"
REPORTED = "test_invalid_token_is_reported_by_each_operation"
OUTSIDE = "test_token_outside_its_header_is_no_credential"
LACKS = "test_challenge_names_the_scope_that_a_token_lacks"

OF_TOKENS = {
    "a server with tokens does not ask for them": of_messages(
        with_challenge(remove_bearer), ASKED, "must have the challenge Bearer", "messages"
    ),
    "a missing token is called invalid": of_messages(
        with_challenge(lambda text, _: text.replace("Bearer ", 'Bearer error="invalid_token", ')),
        ASKED,
        "must have no error",
    ),
    "a missing token has the description of an error": of_messages(
        with_challenge(lambda text, _: text.replace("Bearer ", 'Bearer error_description="missing", ')),
        ASKED,
        "must get a challenge without an error",
    ),
    "a challenge has no quotation marks": of_messages(
        with_challenge(lambda text, _: text.replace('"', "'").replace("'budkavle'", "bud kavle")),
        ASKED,
        "WWW-Authenticate must be a list of challenges",
    ),
    "a challenge occurs twice": of_messages(
        with_challenge(lambda text, _: f"Bearer, {text}"), ASKED, "but it has more than one Bearer challenge"
    ),
    "an invalid token gets the challenge of a missing one": of_messages(
        with_challenge(lambda text, _: text.replace(', error="invalid_token"', "")),
        REPORTED,
        "must have the error invalid_token",
    ),
    "an invalid token gets 403": of_messages(with_status(is_unsigned, 403), REPORTED, "expected 401"),
    "the challenge repeats the token": of_messages(
        with_challenge(repeats_token), REPORTED, "must not repeat the token, but the headers did"
    ),
    "a token in another form is a fault": of_messages(
        with_status(lambda request: request.header(AUTHORIZATION) == f"Bearer {INVALID['three parts']}", 500),
        "test_token_in_another_form_is_invalid",
        "is 500",
    ),
    "a token without an algorithm is accepted": of_messages(
        as_if(lambda request: request.header(AUTHORIZATION) == f"Bearer {INVALID['no algorithm']}", with_key),
        "test_token_in_another_form_is_invalid",
        "is 404",
    ),
    "signatures are not verified": of_messages(
        as_if(is_unsigned, with_key), "test_changed_token_is_invalid", "is 404", "messages"
    ),
    "the body is checked before the token": of_messages(
        body_before_token, "test_token_is_checked_before_the_body", "expected 401"
    ),
    "a message is stored before the token is checked": of_messages(
        stored_with_an_invalid_token, "test_message_with_an_invalid_token_is_not_stored", "must not be stored"
    ),
    "a key replaces an invalid token": of_messages(
        as_if(lambda request: request.header("apikey") is not None, lambda request: request.without(AUTHORIZATION)),
        "test_key_does_not_replace_an_invalid_token",
        "expected 401",
    ),
    "a token replaces an unknown key": of_messages(
        token_replaces_key, "test_token_does_not_replace_an_unknown_key", "expected 401", "messages"
    ),
    "a valid token is called invalid beside an unknown key": of_messages(
        with_challenge(rejects_known_token),
        "test_token_does_not_replace_an_unknown_key",
        "must have no error",
        "messages",
    ),
    "the scheme has one spelling": of_messages(
        with_status(lambda request: (request.header(AUTHORIZATION) or "").startswith("bearer "), 401),
        "test_token_gives_access_with_any_spelling_of_its_scheme",
        "expected 200",
        "messages",
    ),
    "a key and a token are too many": of_messages(
        with_status(lambda request: request.header("apikey") is not None and has_token(request), 400),
        "test_key_and_token_together_give_access",
        "expected 200",
        "messages",
    ),
    "a token in the query gives access": of_messages(token_in_any_place, OUTSIDE, "expected 401", "messages"),
    "a token without a scheme gives access": of_messages(token_of_another_name, OUTSIDE, "expected 401", "messages"),
    "another scheme is an invalid token": of_messages(
        with_challenge(
            lambda text, request: (
                text.replace("Bearer ", 'Bearer error="invalid_token", ') if has_token(request) else text
            )
        ),
        "test_another_scheme_is_no_token",
        "must have no error",
    ),
    "another scheme replaces the key": of_messages(
        as_if(has_token, lambda request: request.without("apikey")),
        "test_key_gives_access_with_another_scheme_in_authorization",
        "expected 200",
    ),
    "a scheme without a token is an invalid token": of_messages(
        with_status(lambda request: request.header(AUTHORIZATION) == "Bearer", 401),
        "test_bearer_without_a_token_is_an_invalid_request",
        "expected 400",
    ),
    "a token that lacks a scope gets no challenge": of_messages(
        with_challenge(lambda text, _: text.partition(", error")[0]),
        LACKS,
        "must have the error insufficient_scope",
        "publish",
    ),
    "the lacking scopes are separated by commas and spaces": of_messages(
        with_challenge(lambda text, _: text.replace('scope="', 'scope="a  ')), LACKS, "`scope` must list", "publish"
    ),
    "the rights of a key are added to those of the token": of_messages(
        as_if(
            lambda request: request.header("apikey") is not None and not is_unsigned(request),
            lambda request: request.without(AUTHORIZATION),
        ),
        LACKS,
        "expected 403",
        "publish",
    ),
    "every token has all scopes": of_messages(
        as_if(lambda request: has_token(request) and request.path == MESSAGES, with_key),
        LACKS,
        "expected 403",
        "publish",
    ),
    "a publisher is not asked for a token": of_events(
        with_challenge(remove_bearer),
        "test_publisher_without_credentials_is_asked_for_a_token",
        "must have the challenge Bearer",
        "publish",
    ),
    "a publisher's invalid token is checked after the body": of_events(
        body_before_token, "test_event_with_an_invalid_token_is_refused", "expected 401"
    ),
    "an event is stored before the token is checked": of_events(
        stored_with_an_invalid_token, "test_event_is_stored_only_if_key_and_token_are_valid", "expected 202"
    ),
    "a token does not publish": of_events(
        with_status(lambda request: has_token(request) and b"body" not in request.body and request.body != b"{}", 403),
        "test_token_publishes_an_event",
        "expected 202",
        "publish",
    ),
    "a publisher's token replaces an unknown key": of_events(
        token_replaces_key, "test_token_does_not_replace_an_unknown_key", "expected 401", "publish"
    ),
    "a publisher's scheme without a token is an invalid token": of_events(
        with_status(lambda request: request.header(AUTHORIZATION) == "Bearer", 401),
        "test_bearer_without_a_token_is_an_invalid_request",
        "expected 400",
    ),
    "a publisher that lacks a scope gets no challenge": of_events(
        with_challenge(lambda text, _: text.partition(", error")[0]),
        LACKS,
        "must have the error insufficient_scope",
        "messages",
    ),
    "a certificate replaces an invalid token": of_systems(
        as_if(has_token, lambda request: request.without(AUTHORIZATION)),
        "test_certificate_does_not_replace_an_invalid_token",
        "expected 401",
    ),
    "a set is stored before the token is checked": of_systems(
        stored_with_an_invalid_token, "test_set_with_an_invalid_token_changes_nothing", "must not change the set"
    ),
    "a token replaces the certificate": of_systems(
        with_status(lambda request: has_token(request) and request.header("client-cert") is None, 200),
        "test_token_does_not_replace_the_certificate",
        "expected 401",
        *ALL_SCOPES,
    ),
    "a token of any bearer is accepted with a certificate": of_systems(
        as_if(
            lambda request: request.header("client-cert") is not None, lambda request: request.without(AUTHORIZATION)
        ),
        "test_token_of_any_bearer_is_invalid_with_a_certificate",
        "expected 401",
        *ALL_SCOPES,
    ),
}
