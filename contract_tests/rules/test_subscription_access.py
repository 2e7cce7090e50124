"""Access to the subscriptions of a system, and the form of the errors for other callers."""

import json
from typing import Any

import pytest

from contract_tests.api import LIST, RECEIPTS, REPLAY, SYNC, TEST, Api
from contract_tests.rules.answers import describe_response, expect, expect_errors, expect_other_methods, expect_problem
from contract_tests.rules.subscription_sets import NOT_VALID, counts, entries

pytestmark = pytest.mark.needs("certificate", "system", "allowed")

OPERATIONS = [
    ("POST", SYNC),
    ("GET", "/v1/abonnement"),
    ("GET", "/v1/abonnement?systemIdentifier=x"),
    ("GET", "/v1/beskedtype/tilladte"),
    ("GET", LIST),
    ("GET", RECEIPTS),
    ("POST", REPLAY),
    ("POST", TEST),
]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_access_requires_a_certificate(method: str, path: str, api: Api) -> None:
    """The certificate is checked before the form or the size of the request."""
    for content_type, body in (("application/json", b"{"), ("text/plain", b"x"), ("application/json", b"x" * 500_000)):
        sent = body if method == "POST" else None
        response = api.call(method, path, body=sent, content_type=content_type, caller="anonymous")
        expect_errors(response, 401, (None, None, 1101))
        assert "WWW-Authenticate" in response.headers, "a 401 must name the expected credentials in WWW-Authenticate"


@pytest.mark.parametrize("header", ["x", "::", ":AAAA:", f":{'QUJD' * 300}:"], ids=["x", "none", "short", "long"])
def test_invalid_certificate_gives_no_access(header: str, api: Api) -> None:
    if api.target.is_tls:
        pytest.skip("needs a proxy: an invalid certificate fails in the TLS handshake")
    query = {"systemIdentifier": api.target.system}
    response = api.call("GET", "/v1/abonnement", query=query, headers={"Client-Cert": header}, caller="anonymous")
    expect_errors(response, 401, (None, None, 1101))


@pytest.mark.needs("publisher")
def test_publish_key_gives_no_access_to_subscriptions(api: Api) -> None:
    query = {"systemIdentifier": api.target.system}
    expect_errors(api.call("GET", "/v1/abonnement", query=query, caller="publisher"), 401, (None, None, 1101))


def test_unauthenticated_set_changes_nothing(own_set: Api) -> None:
    own_set.subscribe(own_set.entry())
    before = own_set.subscriptions()
    expect(own_set.sync([], caller="anonymous"), 401)
    assert own_set.subscriptions() == before


def test_system_of_another_caller_is_refused_before_its_body_is_validated(own_set: Api) -> None:
    """The request is rejected as soon as systemIdentifier is known; the response repeats nothing of the request."""
    other = own_set.uuid()
    bad = own_set.entry(webhookUrl="x", orgCode=7654321)
    answers = set()
    for body in (
        {"systemIdentifier": other, "abonnementer": [bad], "more": 1},
        {"systemIdentifier": other.upper(), "abonnementer": [own_set.entry()]},
        {"systemIdentifier": other},
    ):
        for query in ("", "?dryRun=x", "?dryRun=true"):
            response = own_set.call("POST", f"{SYNC}{query}", body=body)
            expect_errors(response, 403, (None, None, 1013))
            assert other not in response.text.lower(), describe_response(response)
            assert "7654321" not in response.text, describe_response(response)
            answers.add(response.content)
    assert len(answers) == 1, f"all rejections must have the same text, but got {answers}"


@pytest.mark.parametrize("path", ["/v1/abonnement", LIST, RECEIPTS])
def test_look_up_of_another_callers_system_is_refused(path: str, api: Api) -> None:
    query = {"systemIdentifier": api.uuid()}
    expect_errors(api.call("GET", path, query=query), 403, (None, None, 1013))
    expect_errors(api.call("GET", path, query=query | {"unknown": 1}), 403, (None, None, 1013))


def test_replays_and_test_messages_of_another_callers_system_are_refused(api: Api) -> None:
    system = {"systemIdentifier": api.uuid()}
    bodies: list[tuple[str, dict[str, Any]]] = [(REPLAY, {"leveringIds": ["x"]}), (TEST, {"orgType": "x"})]
    for path, body in bodies:
        expect_errors(api.call("POST", path, body=system | body), 403, (None, None, 1013))


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x"])
def test_other_media_type_is_refused(content_type: str, own_set: Api) -> None:
    own_set.subscribe(own_set.entry())
    body = json.dumps({"systemIdentifier": own_set.target.system, "abonnementer": []}).encode()
    response = own_set.call("POST", SYNC, body=body, content_type=content_type)
    expect_errors(response, 415, (None, None, NOT_VALID))
    response = own_set.call("POST", SYNC, body=body, headers={"Content-Encoding": "gzip"})
    expect_errors(response, 415, (None, None, NOT_VALID))
    assert len(own_set.subscriptions()) == 1


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_is_accepted_with_any_spelling_of_its_media_type(content_type: str, own_set: Api) -> None:
    """The media type may have a parameter, as many clients send it, and any case."""
    body = {"systemIdentifier": own_set.target.system, "abonnementer": entries(own_set, 1)}
    response = expect(own_set.call("POST", SYNC, body=body, content_type=content_type), 200)
    assert response.json() == counts(oprettet=1), describe_response(response)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(SYNC, "POST"), ("/v1/abonnement", "GET"), ("/v1/beskedtype/tilladte", "GET"), (LIST, "GET"), (REPLAY, "POST")],
)
def test_unsupported_method_is_refused_with_the_supported_ones(path: str, allowed: str, api: Api) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        if method != allowed:
            expect_other_methods(api.call(method, path), allowed)


def test_unknown_path_is_a_problem(api: Api) -> None:
    """The response is not a redirect either."""
    for path in ("/v1/nothing", "/v1", "/v1/abonnement/", "/v1/Abonnement"):
        expect_problem(api.call("GET", path), 404)


def test_request_id_is_returned_or_replaced(api: Api) -> None:
    query = {"systemIdentifier": api.target.system}
    for given, is_valid in (("named-1", True), ("x" * 46, True), ("x" * 47, False), ("a b", False), ("", False)):
        for caller, status in (("system", 200), ("anonymous", 401)):
            headers = {"x-requestId": given}
            response = expect(api.call("GET", "/v1/abonnement", query=query, headers=headers, caller=caller), status)
            found = response.headers.get("x-requestId", "")
            assert (found == given) == is_valid, (
                f"x-requestId {given!r} must be {'returned' if is_valid else 'replaced'}, but got {found!r}"
            )
            assert 1 <= len(found) <= 46, f"every response must have the header x-requestId, but got {found!r}"


@pytest.mark.full
@pytest.mark.one_database
def test_body_is_limited_to_16_mib(own_set: Api) -> None:
    body = json.dumps({"systemIdentifier": own_set.target.system, "abonnementer": entries(own_set, 1)}).encode()
    full = body + b" " * (16 * 1024 * 1024 - len(body))
    response = expect(own_set.call("POST", SYNC, body=full), 200)
    assert response.json() == counts(oprettet=1)
    expect_errors(own_set.call("POST", SYNC, body=full + b" "), 413, (None, None, NOT_VALID))
