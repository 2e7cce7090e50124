"""Access tokens in forms that HTTP clients do not send: several headers, large ones, other bytes."""

import pytest

from contract_tests.attacks import assert_problem, assert_refused, assert_violations, post, request, text
from contract_tests.challenges import find_bearer
from contract_tests.raw_http import RawResponse
from contract_tests.rules.tokens import INVALID_REQUEST, INVALID_TOKEN, UNKNOWN
from contract_tests.target import TOKEN, CheckTarget

pytestmark = pytest.mark.needs("sender", "accepts_tokens")

MESSAGE = "/webmessages/81471222-5798-11e9-ae24-57fa13b361e1"

INVALID: dict[str, str | bytes] = {
    "two spaces": f"Bearer  {UNKNOWN}",
    "spaces around it": f"Bearer {UNKNOWN} ",
    "more than 8 KiB": "Bearer " + "x" * 8_193,
    "60,000 characters": "Bearer " + "x" * 60_000,
    "many parts": "Bearer " + "." * 5_000,
    "no ASCII": b"Bearer \xff\xfe.\xc3\xa5.\x80",
    "quoted": f'Bearer "{UNKNOWN}"',
    "a parameter": f"Bearer token={UNKNOWN}",
    "percent-encoded": "Bearer %65y.%00.",
}


def assert_challenge(answer: RawResponse, error: str) -> None:
    if answer.is_direct:
        challenge = find_bearer(answer.headers["www-authenticate"])
        assert challenge is not None
        assert challenge.parameters["error"] == error


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID.keys())
def test_token_in_another_form_is_invalid(value: str | bytes, target: CheckTarget) -> None:
    header = b"Authorization: " + (value if isinstance(value, bytes) else value.encode())
    for sent in (request(target=MESSAGE, headers=[header], key=None), post(text(), headers=[header], key=None)):
        answer = target.send(sent)
        assert_problem(answer, 401)
        assert_challenge(answer, INVALID_TOKEN)


@pytest.mark.needs("token_file")
@pytest.mark.parametrize(
    "headers",
    [
        [f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {TOKEN}"],
        [f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {UNKNOWN}"],
        [f"Authorization: Bearer {TOKEN}", "authorization: Basic YTpi"],
        ["Authorization: Basic YTpi", f"Authorization: Bearer {TOKEN}"],
        [f"Authorization: Bearer {TOKEN}, Bearer {TOKEN}"],
    ],
    ids=["the same", "another", "another scheme last", "another scheme first", "joined by a proxy"],
)
def test_several_credentials_in_authorization_are_an_invalid_request(headers: list[str], target: CheckTarget) -> None:
    """Gateways and services may read different ones of them."""
    for sent in (request(target=MESSAGE, headers=headers, key=None), post(text(), headers=headers, key=None)):
        answer = target.send(sent)
        assert_violations(answer, "Authorization")
        assert_challenge(answer, INVALID_REQUEST)


@pytest.mark.needs("token_reads")
@pytest.mark.parametrize(
    "header", ["authorization: Bearer {}", "AUTHORIZATION:bearer {}", "Authorization: \t Bearer {} "]
)
def test_token_is_found_in_any_spelling_of_its_header(header: str, target: CheckTarget) -> None:
    assert target.send(request(headers=[header.replace("{}", TOKEN)], key=None)).status == 200


@pytest.mark.needs("token_file")
@pytest.mark.parametrize("header", ["Authorisation: Bearer {}", "Proxy-Authorization: Bearer {}", "Authorization: {}"])
def test_token_elsewhere_gives_no_access(header: str, target: CheckTarget) -> None:
    answer = target.send(request(target=MESSAGE, headers=[header.replace("{}", TOKEN)], key=None))
    assert_refused(answer)
    assert not answer.is_direct or answer.status == 401
