"""Access tokens for web messages, and the challenges to callers without a valid one (RFC 6750)."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import expect, expect_problem
from contract_tests.rules.tokens import (
    INVALID,
    INVALID_REQUEST,
    INVALID_TOKEN,
    UNKNOWN,
    expect_bearer,
    expect_no_token,
    expect_scopes,
)
from contract_tests.tokens import cut_token, extend_token, unsign_token

pytestmark = pytest.mark.needs("sender", "accepts_tokens")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
MESSAGE = f"/webmessages/{ID}"
OPERATIONS = [
    ("GET", MESSAGE),
    ("DELETE", MESSAGE),
    ("GET", f"/webmessages/recipients/{ID}"),
    ("GET", "/webmessages/external-references/abc/def"),
    ("GET", f"{MESSAGE}/attachments/{ID}"),
    ("GET", "/webmessages/x?unknown=1"),
    ("POST", "/webmessages"),
]


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_request_without_credentials_is_asked_for_a_token(method: str, path: str, api: Api) -> None:
    """The challenge has no error: the caller may have another credential (RFC 6750, section 3.1)."""
    response = api.call(method, path, body={} if method == "POST" else None, caller="anonymous")
    expect_problem(response, 401)
    expect_bearer(response, None)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_invalid_token_is_reported_by_each_operation(method: str, path: str, api: Api) -> None:
    """The libraries of callers fetch another token only after `invalid_token`."""
    response = api.call(
        method, path, body={} if method == "POST" else None, headers=bearer(UNKNOWN), caller="anonymous"
    )
    expect_problem(response, 401)
    expect_bearer(response, INVALID_TOKEN)
    expect_no_token(response, UNKNOWN)


@pytest.mark.parametrize("token", INVALID.values(), ids=INVALID.keys())
def test_token_in_another_form_is_invalid(token: str, api: Api) -> None:
    response = api.call("GET", MESSAGE, headers=bearer(token), caller="anonymous")
    expect_problem(response, 401)
    expect_bearer(response, INVALID_TOKEN)


@pytest.mark.needs("token_file")
@pytest.mark.parametrize("change", [cut_token, extend_token, unsign_token])
def test_changed_token_is_invalid(change: Callable[[str], str], api: Api) -> None:
    token = change(api.target.token or "")
    response = api.call("GET", MESSAGE, headers=bearer(token), caller="anonymous")
    expect_problem(response, 401)
    expect_bearer(response, INVALID_TOKEN)
    expect_no_token(response, token)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"{}", "application/json"), (b"{", "application/json"), (b"x", "text/plain"), (b"x" * 1_000_000, "image/png")],
    ids=["faults", "no JSON", "media type", "large"],
)
def test_token_is_checked_before_the_body(body: bytes, content_type: str, api: Api) -> None:
    response = api.post_message(body, content_type=content_type, headers=bearer(UNKNOWN), caller="anonymous")
    expect_problem(response, 401)
    expect_bearer(response, INVALID_TOKEN)


def test_message_with_an_invalid_token_is_not_stored(api: Api) -> None:
    about = api.reference()
    message = api.message(externalReferences=[about])
    expect_problem(api.post_message(message, headers=bearer(UNKNOWN), caller="anonymous"), 401)
    stored = api.read_messages(**about)
    assert stored == [], f"a message with an invalid token must not be stored, but the list was {stored}"


@pytest.mark.needs("api_key")
def test_key_does_not_replace_an_invalid_token(api: Api) -> None:
    """Every credential of a request must be valid."""
    id_, about = api.create_message(api.message()), api.reference()
    message = api.message(externalReferences=[about])
    for response in (
        api.get_message(id_, headers=bearer(UNKNOWN)),
        api.call("DELETE", f"/webmessages/{id_}", headers=bearer(UNKNOWN)),
        api.post_message(message, headers=bearer(UNKNOWN)),
    ):
        expect_problem(response, 401)
        expect_bearer(response, INVALID_TOKEN)
    assert api.read_messages(**about) == []
    assert api.read_message(id_)["id"] == id_


@pytest.mark.needs("token_reads")
def test_token_does_not_replace_an_unknown_key(api: Api) -> None:
    """The token is valid, so the challenge does not make the caller fetch another one."""
    response = api.call("GET", MESSAGE, headers={"apikey": "unknown-key"}, caller="token")
    expect_problem(response, 401)
    expect_bearer(response, None)


@pytest.mark.needs("token_reads")
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_gives_access_with_any_spelling_of_its_scheme(scheme: str, api: Api) -> None:
    headers = bearer(api.target.token or "", scheme)
    response = expect(api.call("GET", f"/webmessages/recipients/{ID}", headers=headers, caller="token"), 200)
    assert isinstance(response.json(), list), f"messages must be a list, but were {response.text[:500]}"


@pytest.mark.needs("api_key", "token_reads")
def test_key_and_token_together_give_access(api: Api) -> None:
    id_ = api.create_message(api.message())
    headers = {"apikey": api.target.api_key or ""}
    found = expect(api.get_message(id_, headers=headers, caller="token"), 200).json()
    assert found["id"] == id_, f"expected message {id_}, but got {found}"


@pytest.mark.needs("token_reads")
def test_token_outside_its_header_is_no_credential(api: Api) -> None:
    token = api.target.token or ""
    for headers, query in (
        ({}, f"?{urlencode({'access_token': token})}"),
        ({"Cookie": f"access_token={token}"}, ""),
        ({"X-Access-Token": token}, ""),
        ({"apikey": token}, ""),
        ({"Authorization": token}, ""),
    ):
        response = api.call("GET", MESSAGE + query, headers=headers, caller="anonymous")
        expect_problem(response, 401)
        expect_bearer(response, None)


def test_another_scheme_is_no_token(api: Api) -> None:
    """Proxies and browsers may add `Basic`. A request with it has no token, so its challenge has no error."""
    response = api.call("GET", MESSAGE, headers={"Authorization": "Basic YTpi"}, caller="anonymous")
    expect_problem(response, 401)
    expect_bearer(response, None)


@pytest.mark.needs("api_key")
def test_key_gives_access_with_another_scheme_in_authorization(api: Api) -> None:
    response = api.call("GET", f"/webmessages/recipients/{ID}", headers={"Authorization": "Basic YTpi"})
    expect(response, 200)


def test_bearer_without_a_token_is_an_invalid_request(api: Api) -> None:
    response = api.call("GET", MESSAGE, headers={"Authorization": "Bearer"}, caller="anonymous")
    expect_problem(response, 400)
    expect_bearer(response, INVALID_REQUEST)


@pytest.mark.needs("api_key", "token_without_messages")
def test_challenge_names_the_scope_that_a_token_lacks(api: Api) -> None:
    about = api.reference()
    message = api.message(externalReferences=[about])
    for response in (
        api.get_message(ID, caller="token"),
        api.call("DELETE", MESSAGE, caller="token"),
        api.post_message(message, caller="token"),
        # The rights are those of the token, also if the key has more.
        api.get_message(ID, headers={"apikey": api.target.api_key or ""}, caller="token"),
    ):
        expect_problem(response, 403)
        expect_scopes(response)
    assert api.read_messages(**about) == []
