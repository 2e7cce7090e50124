"""Headers: keys, request ids, media types, and excessive numbers of headers."""

import gzip

import pytest

from contract_tests.attacks import (
    FORM,
    NOTHING,
    accepted_reference,
    assert_no_http,
    assert_problem,
    assert_refused,
    assert_silent,
    assert_violations,
    chunks,
    form,
    message_part,
    post,
    request,
    text,
)
from contract_tests.target import API_KEY, CUT_API_KEY, PUBLISH_KEY, SWAPPED_API_KEY, CheckTarget

pytestmark = pytest.mark.needs("api_key")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
MESSAGE = f"/webmessages/{ID}"

WRONG_KEYS: dict[str, list[str | bytes]] = {
    "none": [],
    "empty": ["apikey: "],
    "unknown": ["apikey: x"],
    "one character short": [f"apikey: {CUT_API_KEY}"],
    "one character more": [f"apikey: {API_KEY}x"],
    "other case": [f"apikey: {SWAPPED_API_KEY}"],
    "quoted": [f'apikey: "{API_KEY}"'],
    "with a scheme": [f"apikey: Bearer {API_KEY}"],
    "two in one": [f"apikey: {API_KEY}, x"],
    "wrong one first": ["apikey: x", f"apikey: {API_KEY}"],
    "wrong one last": [f"apikey: {API_KEY}", "apikey: x"],
    "60,000 characters": ["apikey: " + "k" * 60_000],
    "no ASCII": [b"apikey: \xff\xfe\xc3\xa5"],
    "percent-encoded": ["apikey: %00"],
    "in another header": [f"Authorization: {API_KEY}"],
    "in a header of similar name": [
        f"api_key: {API_KEY}",
        f"api-key: {API_KEY}",
        f"x-apikey: {API_KEY}",
    ],
    "in a cookie": [f"Cookie: apikey={API_KEY}"],
}


@pytest.mark.parametrize("headers", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_requests_without_the_key_are_rejected(headers: list[str | bytes], target: CheckTarget) -> None:
    for answer in (
        target.send(request(target=MESSAGE, headers=headers, key=None)),
        target.send(post(text(), headers=headers, key=None)),
    ):
        assert_problem(answer, 401)
        assert not answer.is_direct or "apikey" in answer.headers["www-authenticate"]


def test_key_in_the_query_gives_no_access(target: CheckTarget) -> None:
    assert_problem(target.send(request(target=f"{MESSAGE}?apikey={API_KEY}", key=None)), 401)


PATHS = pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", MESSAGE),
        ("DELETE", MESSAGE),
        ("GET", f"/webmessages/recipients/{ID}"),
        ("GET", "/webmessages/external-references/abc/def"),
        ("GET", f"{MESSAGE}/attachments/{ID}"),
        ("GET", "/webmessages/x?unknown=1"),
    ],
)


@PATHS
def test_key_is_checked_before_anything_else(method: str, path: str, target: CheckTarget) -> None:
    assert_problem(target.send(request(method, path, key=None)), 401)


@PATHS
@pytest.mark.needs("other_key")
def test_key_of_the_wrong_scope_reads_and_deletes_nothing(method: str, path: str, target: CheckTarget) -> None:
    assert_problem(target.send(request(method, path, key=PUBLISH_KEY)), 403)


@pytest.mark.needs("other_key")
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [(text(), "text/plain", 415), (b"{", "application/json", 403), (text(), "application/json", 403), (b"", FORM, 403)],
)
def test_key_of_the_wrong_scope_sends_nothing(body: bytes, content_type: str, status: int, target: CheckTarget) -> None:
    assert_problem(target.send(post(body, content_type, key=PUBLISH_KEY)), status)


@pytest.mark.parametrize("header", ["APIKEY: {}", "ApiKey:{}", "apikey: \t {}", "apikey: {} ", "apikey: {}\t "])
def test_key_is_found_in_any_spelling_of_its_header(header: str, target: CheckTarget) -> None:
    """White space around the value of a header is not part of it (RFC 9110, section 5.5)."""
    headers = [header.format(API_KEY)]
    assert target.send(request(headers=headers, key=None)).status == 200


@pytest.mark.parametrize("given", ["a", "A-z.0:9_", "x" * 46])
def test_request_id_is_returned(given: str, target: CheckTarget) -> None:
    for path in (NOTHING, *((MESSAGE, "/health/live", "/nothing") if target.is_direct else ())):
        answer = target.send(request(target=path, headers=[f"x-request-id: {given}"]))
        assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", [b"", b"x" * 47, b"a b", b"a,b", b"\xc3\xa5", b"\xff", b"a/b", b"<script>", b'a"b', b"%0d%0aSet-Cookie:x"]
)
def test_invalid_request_id_is_replaced(given: bytes, target: CheckTarget) -> None:
    answer = target.send(request(target=MESSAGE, headers=[b"x-request-id: " + given]))
    assert_problem(answer, 404)
    assert not answer.is_direct or answer.headers["x-request-id"].encode() != given


@pytest.mark.parametrize(
    "header",
    [b"bad name: x", b"no colon", b": no name", b" folded: x", b"a: b\r\n c", b"x: \0", b"x: \x7f", b"x: a\rb"],
)
def test_invalid_header_ends_the_connection(header: bytes, target: CheckTarget) -> None:
    assert_no_http(target.send(request(headers=[header])), may_be_mended=True)


def test_header_may_contain_any_bytes(target: CheckTarget) -> None:
    answer = target.send(request(headers=[b"x: \x80\xff\xfe", b"cookie: \xc3"]))
    assert_refused(answer, may_be_mended=True)
    assert not answer.is_direct or answer.status == 200


@pytest.mark.parametrize(
    "headers",
    [["x: " + "a" * 1024 * 1024], [f"x-{number}: v" for number in range(50_000)], ["x" * 1024 * 1024 + ": v"]],
    ids=["1 MiB in one", "50,000 of them", "a name of 1 MiB"],
)
def test_excessive_headers_are_refused(headers: list[str], target: CheckTarget) -> None:
    """Headers are kept in memory before the caller is authenticated."""
    assert_no_http(target.send(request(headers=headers, key=None)), 431)


def test_excessive_trailers_are_refused(target: CheckTarget) -> None:
    body = text(externalReferences=[accepted_reference()])
    trailers = b"".join(b"x-%d: v\r\n" % number for number in range(50_000))
    framed = chunks(body).removesuffix(b"\r\n") + trailers + b"\r\n"
    answer = target.send(post(framed, headers=["Transfer-Encoding: chunked"]))
    assert_no_http(answer, 431, may_be_mended=True)


NO_MEDIA_TYPE = [pytest.param(value, marks=pytest.mark.own) for value in (None, " ")]
"""No media type: our service accepts JSON without one, but the contract does not require that."""


@pytest.mark.parametrize(
    "content_type",
    [
        "Application/JSON",
        "APPLICATION/JSON;charset=utf-8",
        "application/json ; x=y",
        "\tapplication/json",
        *NO_MEDIA_TYPE,
    ],
)
def test_json_is_validated_with_any_spelling_of_its_media_type(content_type: str | None, target: CheckTarget) -> None:
    assert_violations(target.send(post(text(message=""), content_type)), "message")
    taken = text(externalReferences=[accepted_reference()])
    assert target.send(post(taken, content_type)).status == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/json+x",
        "application/jsonx",
        "application",
        "json",
        "application/json, text/plain",
        "application/ json",
        "multipart/mixed; boundary=XX",
        "multipart/form-data-x; boundary=XX",
        "*/*",
        b"application/json\xff",
        "x" * 10_000,
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_media_types_are_refused(content_type: str | bytes, target: CheckTarget) -> None:
    assert_problem(target.send(post(text(), content_type)), 415)


@pytest.mark.parametrize("content_type", ["Multipart/Form-Data; Boundary=XX", 'multipart/form-data;boundary="XX"'])
def test_form_is_validated_with_any_spelling_of_its_media_type(content_type: str, target: CheckTarget) -> None:
    answer = target.send(post(form(message_part(text(message=""))), content_type))
    assert_violations(answer, "message")


def test_charset_parameter_of_json_is_ignored(target: CheckTarget) -> None:
    body = text(message="")
    assert_violations(target.send(post(body, "application/json; charset=utf-16")), "message")
    assert_violations(target.send(post(body.decode().encode("utf-16"), "application/json; charset=utf-16")), "body")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "nonsense"])
def test_compressed_body_is_refused_with_415(coding: str, target: CheckTarget) -> None:
    answer = target.send(post(gzip.compress(text()), headers=[f"Content-Encoding: {coding}"]))
    assert_problem(answer, 415)


def test_error_responses_do_not_contain_the_request(target: CheckTarget) -> None:
    for secret in ("topsecretkey", "x" * 1000):
        answer = target.send(request(target=MESSAGE, headers=[f"x-request-id: {secret}!"], key=secret))
        assert_silent(answer, secret)
