"""Access, media types and request ids."""

import gzip
import json
import re
from urllib.parse import urlencode

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import expect, expect_problem

pytestmark = pytest.mark.needs("sender")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
READS = [
    ("GET", f"/webmessages/{ID}"),
    ("DELETE", f"/webmessages/{ID}"),
    ("GET", f"/webmessages/recipients/{ID}"),
    ("GET", "/webmessages/external-references/abc/def"),
    ("GET", f"/webmessages/{ID}/attachments/{ID}"),
    ("GET", "/webmessages/x?unknown=1"),
]


@pytest.mark.parametrize("key", [None, "", "unknown-key"])
def test_access_requires_a_known_key(key: str | None, api: Api) -> None:
    """The key is checked before anything else: the response reveals neither data nor errors of the request."""
    headers = {} if key is None else {"apikey": key}
    for method, path in READS:
        response = api.call(method, path, headers=headers, caller="anonymous")
        expect_problem(response, 401)
        assert "apikey" in response.headers.get("WWW-Authenticate", ""), (
            "WWW-Authenticate must name the header of the API key"
        )


def near_keys(api: Api) -> list[tuple[dict[str, str], str]]:
    """Return headers and queries with variants of the key, or with the key in a wrong place."""
    key = api.target.api_key or ""
    return [
        ({"apikey": key[:-1]}, ""),
        ({"apikey": f"{key}x"}, ""),
        ({"apikey": f"Bearer {key}"}, ""),
        *([({"apikey": key.swapcase()}, "")] if key.swapcase() != key else []),
        ({"Authorization": f"Bearer {key}"}, ""),
        ({"X-API-Key": key}, ""),
        ({"Cookie": f"apikey={key}"}, ""),
        ({}, f"?{urlencode({'apikey': key})}"),
    ]


@pytest.mark.needs("api_key")
def test_only_the_exact_key_in_its_header_gives_access(api: Api) -> None:
    for headers, query in near_keys(api):
        for method, path in (("GET", READS[2][1]), ("POST", "/webmessages")):
            response = api.call(method, path + query, headers=headers, caller="anonymous")
            expect_problem(response, 401)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"{}", "application/json"), (b"{", "application/json"), (b"x", "text/plain"), (b"x" * 1_000_000, "image/png")],
    ids=["faults", "no JSON", "media type", "large"],
)
def test_key_is_checked_before_the_body(body: bytes, content_type: str, api: Api) -> None:
    expect_problem(api.post_message(body, content_type=content_type, caller="anonymous"), 401)


def test_unauthenticated_message_is_not_stored(api: Api) -> None:
    about = api.reference()
    expect_problem(api.post_message(api.message(externalReferences=[about]), caller="anonymous"), 401)
    assert api.read_messages(**about) == []


def test_existing_message_is_neither_returned_nor_deleted_without_a_key(api: Api) -> None:
    id_ = api.create_message(api.message())
    for method in ("GET", "DELETE"):
        expect_problem(api.call(method, f"/webmessages/{id_}", caller="anonymous"), 401)
    assert api.read_message(id_)["id"] == id_


@pytest.mark.needs("other_key")
def test_key_of_another_scope_gives_no_access(api: Api) -> None:
    """A key with the scope `publish` only gives no access to messages."""
    about = api.reference()
    for method, path in READS:
        expect_problem(api.call(method, path, caller="publisher"), 403)
    expect_problem(api.post_message(api.message(externalReferences=[about]), caller="publisher"), 403)
    assert api.read_messages(**about) == []
    expect_problem(api.post_message({}, caller="publisher"), 403)
    expect_problem(api.post_message(b"x", content_type="text/plain", caller="publisher"), 415)


@pytest.mark.parametrize("accept", ["application/json", "text/html", "application/xml"])
def test_error_is_a_problem_for_any_accept_header(accept: str, api: Api) -> None:
    """Generated clients accept only `application/json`, and browsers prefer a page."""
    headers = {"Accept": accept}
    expect_problem(api.post_message({}, headers=headers), 400)
    expect_problem(api.call("GET", "/webmessages/x", headers=headers), 400)
    expect_problem(api.call("GET", f"/webmessages/{api.uuid()}", headers=headers), 404)
    expect_problem(api.call("GET", f"/webmessages/{ID}", headers=headers, caller="anonymous"), 401)
    expect_problem(api.call("PUT", "/webmessages", headers=headers), 405)


def test_response_is_not_compressed_unless_accepted(api: Api) -> None:
    id_ = api.create_message(api.message(message="x" * 10_000))
    response = expect(api.get_message(id_, headers={"Accept-Encoding": "identity"}), 200)
    coding = response.headers.get("Content-Encoding", "identity")
    assert coding == "identity", f"the client accepts only identity, but the response is encoded with {coding}"


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/mixed; boundary=X"],
)
def test_other_media_type_is_refused(content_type: str, api: Api) -> None:
    about = api.reference()
    body = json.dumps(api.message(externalReferences=[about])).encode()
    expect_problem(api.post_message(body, content_type=content_type), 415)
    assert api.read_messages(**about) == []


def test_media_type_is_accepted_in_any_case_and_with_parameters(api: Api) -> None:
    for content_type in ("Application/JSON", "application/json; charset=utf-8"):
        expect(api.post_message(api.message(), content_type=content_type), 201)
        expect_problem(api.post_message(api.message(message=""), content_type=content_type), 400)


def test_compressed_body_is_refused(api: Api) -> None:
    body = gzip.compress(json.dumps(api.message()).encode(), mtime=0)
    expect_problem(api.post_message(body, headers={"Content-Encoding": "gzip"}), 415)


@pytest.mark.parametrize("given", ["a", "A-z.0:9_", "x" * 46])
def test_request_id_is_returned(given: str, api: Api) -> None:
    headers = {"x-request-id": given}
    for response in (
        expect(api.post_message(api.message(), headers=headers), 201),
        expect(api.post_message({}, headers=headers), 400),
        expect(api.call("GET", f"/webmessages/{api.uuid()}", headers=headers), 404),
        expect(api.call("GET", f"/webmessages/{ID}", headers=headers, caller="anonymous"), 401),
    ):
        assert response.headers.get("x-request-id") == given, (
            f"expected x-request-id {given}, but got {response.headers}"
        )


@pytest.mark.parametrize("given", [None, "", "x" * 47, "a b", "a,b", "a/b", "<script>", 'a"b'])
def test_invalid_request_id_is_replaced_and_not_refused(given: str | None, api: Api) -> None:
    headers = {} if given is None else {"x-request-id": given}
    answers = [
        *(expect(api.call("GET", f"/webmessages/recipients/{ID}", headers=headers), 200) for _ in range(2)),
        expect(api.post_message(api.message(), headers=headers), 201),
        expect(api.post_message({}, headers=headers), 400),
        expect(api.call("GET", f"/webmessages/{api.uuid()}", headers=headers), 404),
        expect(api.call("GET", f"/webmessages/{ID}", headers=headers, caller="anonymous"), 401),
    ]
    found = [answer.headers.get("x-request-id", "") for answer in answers]
    for id_ in found:
        assert re.fullmatch("[A-Za-z0-9._:-]{1,46}", id_), f"expected a new x-request-id, but got {id_!r}"
    assert len(set(found)) == len(found), f"each request must have its own id, but got {found}"


@pytest.mark.full
@pytest.mark.one_database
def test_body_of_more_than_150_mib_is_too_large(api: Api) -> None:
    expect_problem(api.post_message(b" " * (150 * 1024 * 1024 + 1)), 413)
