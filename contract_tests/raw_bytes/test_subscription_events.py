"""Invalid events, replays and test messages: never a 500, nothing published, nothing replayed."""

import json
from collections.abc import Callable

import pytest

from contract_tests.attacks import (
    JSON,
    assert_error_list,
    assert_no_http,
    assert_not_allowed,
    assert_refused,
    assert_silent,
    chunks,
    request,
)
from contract_tests.raw_http import RawResponse
from contract_tests.target import API_KEY, CERTIFICATE, PUBLISH_KEY, CheckTarget

CHUNKED = "Transfer-Encoding: chunked"
LARGE = b"\n" * (300 * 1024)
LIST = "/v1/abonnement/beskeder"
EVENT, REPLAY, TEST = "/v1/besked", f"{LIST}/genfremsend", "/v1/abonnement/testbesked"
LIMITS = {EVENT: 262_144, REPLAY: 131_072, TEST: 65_536}

EVENT_NEEDS = pytest.mark.needs("publisher", "attacked")
SYSTEM_NEEDS = pytest.mark.needs("certificate", "queued_system", "attacked")
OF_SYSTEM = [pytest.param(path, marks=SYSTEM_NEEDS) for path in (REPLAY, TEST)]
PATHS = [pytest.param(EVENT, marks=EVENT_NEEDS), *OF_SYSTEM]

ANY_DELIVERY = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
"""An unknown delivery id, used if the target has no parked delivery."""


def good(target: CheckTarget, path: str) -> bytes:
    """Return a valid body for a request that must not take effect."""
    assert target.attacked is not None
    identity = target.attacked.json()
    system = {"systemIdentifier": target.queued_system}
    bodies = {
        EVENT: {**identity, "aendringstype": 1, "body": {"a": "b"}},
        REPLAY: {**system, "leveringIds": [target.attacked_delivery or ANY_DELIVERY]},
        TEST: {**system, **identity},
    }
    return json.dumps(bodies[path]).encode()


def send(
    target: CheckTarget,
    path: str,
    body: bytes,
    content_type: str | bytes | None = JSON,
    headers: tuple[str, ...] = (),
    *,
    is_unfinished: bool = False,
) -> RawResponse:
    """Return the response to a request of an authorised caller."""
    credentials = f"apikey: {PUBLISH_KEY}" if path == EVENT else f"Client-Cert: {CERTIFICATE}"
    sent = request("POST", path, body=body, content_type=content_type, headers=[credentials, *headers], key=None)
    return target.send(sent, is_unfinished=is_unfinished)


NO_JSON: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut": lambda body: body[:-1],
    "two values": lambda body: body + body,
    "NaN": lambda body: body[:-1] + b',"x":NaN}',
    "1e999": lambda body: body[:-1] + b',"x":1e999}',
    "5,000 digits": lambda body: body[:-1] + b',"x":' + b"9" * 5000 + b"}",
    "property twice": lambda body: body[:-1] + b"," + body[1:],
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "no UTF-8": lambda body: body[:-1] + b',"x":"\xff"}',
    "half of a pair": lambda body: body[:-1] + rb',"x":"\ud800"}',
    "half of a pair as a name": lambda body: body[:-1] + rb',"\udfff":1}',
    "100,000 brackets": lambda _: b"[" * 60_000,
    "65 brackets": lambda body: body[:-1] + b',"body":' + b"[" * 65 + b"]" * 65 + b"}",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("broken", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("in_chunks", [False, True], ids=["length", "chunks"])
def test_body_that_is_not_strict_json_is_refused(
    path: str, broken: Callable[[bytes], bytes], in_chunks: bool, target: CheckTarget
) -> None:
    body = broken(good(target, path))
    framed = (chunks(body), (CHUNKED,)) if in_chunks else (body, ())
    assert_error_list(send(target, path, framed[0], headers=framed[1]), 400, (None, None, 1014))


@EVENT_NEEDS
@pytest.mark.parametrize(
    "raw",
    [pytest.param(raw, marks=pytest.mark.own) for raw in (b"1.0", b"1e0")]
    + [b"true", b"null", b'"1"', b"-1", b"2147483648", b"9" * 4000, b"1e-999", b"[[]]", b"{}", b"0"],
    ids=lambda raw: raw[:12].decode(),
)
def test_number_that_is_not_a_kind_of_change_is_refused(raw: bytes, target: CheckTarget) -> None:
    body = good(target, EVENT).replace(b'"aendringstype": 1', b'"aendringstype": ' + raw)
    assert_error_list(send(target, EVENT, body), 400, (None, "aendringstype", 1014))


@EVENT_NEEDS
@pytest.mark.parametrize("raw", [rb"\u0000", rb"\\\u0000", rb"\u0061\u0000"])
@pytest.mark.parametrize("place", [b'{"%s":1}', b'{"a":["%s"]}'], ids=["name", "value"])
def test_nul_in_the_content_is_refused(raw: bytes, place: bytes, target: CheckTarget) -> None:
    body = good(target, EVENT).replace(b'{"a": "b"}', place % raw)
    assert_error_list(send(target, EVENT, body), 400, (None, "body", 1014))


@pytest.mark.needs("publisher", "queued")
@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        rb'{"":"\\u0000"}',
        rb'{"\ud83d\ude00":"\ud83d\ude00"}',
        '{"å":"\u2028\uffff\ufeff"}'.encode(),
        b'{"a":%s}' % (b"9" * 4000),
        b'{"a":[-0,-0.0,1e-999,1E5,5e-324,1.7976931348623157e308,0.1]}',
        b'{"a":' * 62 + b"{}" + b"}" * 62,
        b'{"__proto__":{"a":1},"a":"\x7f%s :x {} \' --"}',
    ],
    ids=lambda raw: raw[:20].decode(errors="replace"),
)
def test_any_valid_content_is_accepted(raw: bytes, target: CheckTarget) -> None:
    assert target.queued is not None
    identity = json.dumps({**target.queued.json(), "aendringstype": 1}).encode()
    answer = send(target, EVENT, identity[:-1] + b',"body":' + raw + b"}")
    assert answer.status == 202
    assert answer.json()["abonnementer"] >= 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=XX", "*/*", b"json\xff"])
def test_other_media_type_is_refused(path: str, content_type: str | bytes, target: CheckTarget) -> None:
    assert_error_list(send(target, path, good(target, path), content_type), 415, (None, None, 1014))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json;charset=utf-16", None])
def test_json_is_validated_with_any_spelling_of_its_media_type(
    path: str, content_type: str | None, target: CheckTarget
) -> None:
    body = good(target, path)[:-1] + b',"x":1}'
    assert_error_list(send(target, path, body, content_type), 400, (None, "x", 1014))


@pytest.mark.parametrize("path", PATHS)
def test_compressed_body_is_refused(path: str, target: CheckTarget) -> None:
    answer = send(target, path, good(target, path), headers=("Content-Encoding: gzip",))
    assert_error_list(answer, 415, (None, None, 1014))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("length", [1, 10**12, 2**62])
def test_body_with_an_excessive_length_is_refused_before_it_is_sent(
    path: str, length: int, target: CheckTarget
) -> None:
    answer = send(target, path, b"", headers=(f"Content-Length: {LIMITS[path] + length}",), is_unfinished=True)
    assert_error_list(answer, 413, (None, None, 1014))


@pytest.mark.parametrize("path", PATHS)
def test_body_over_the_limit_is_refused_while_it_is_sent(path: str, target: CheckTarget) -> None:
    body = b"50000\r\n" + b" " * 0x50000 + b"\r\n"
    answer = send(target, path, body, headers=(CHUNKED,), is_unfinished=True)
    assert_error_list(answer, 413, (None, None, 1014))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [("Content-Length: 5", CHUNKED), ("Content-Length: -1",), (CHUNKED, CHUNKED)])
def test_contradicting_frames_end_the_connection(path: str, headers: tuple[str, ...], target: CheckTarget) -> None:
    assert_no_http(send(target, path, chunks(good(target, path)), headers=headers, is_unfinished=True))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("framing", ["Content-Length: 10000", CHUNKED])
def test_body_that_ends_too_early_is_not_accepted(path: str, framing: str, target: CheckTarget) -> None:
    caller = [f"apikey: {PUBLISH_KEY}", f"Client-Cert: {CERTIFICATE}", framing]
    with target.connect() as connection:
        connection.send(request("POST", path, body=good(target, path), content_type=JSON, headers=caller, key=None))
        connection.end_sending()
        answer = connection.read_response()
    assert_refused(answer)
    assert answer is None or not target.is_direct or answer.status == 400


@EVENT_NEEDS
@pytest.mark.parametrize("key", [None, "", "x", f"{PUBLISH_KEY}x", f"{PUBLISH_KEY},{PUBLISH_KEY}", b"\xff"])
def test_event_without_a_key_is_refused_before_its_body(key: str | bytes | None, target: CheckTarget) -> None:
    headers = [f"Client-Cert: {CERTIFICATE}"]
    for body in (good(target, EVENT), b"{", LARGE):
        sent = request("POST", EVENT, body=body, content_type="text/plain", headers=headers, key=key)
        answer = target.send(sent)
        assert_error_list(answer, 401, (None, None, 1012))
        assert not answer.is_direct or "ApiKey " in answer.headers["www-authenticate"]


@EVENT_NEEDS
@pytest.mark.needs("other_key", "api_key")
def test_event_with_two_keys_is_refused(target: CheckTarget) -> None:
    headers = [f"apikey: {PUBLISH_KEY}"]
    sent = request("POST", EVENT, body=good(target, EVENT), content_type=JSON, headers=headers, key=API_KEY)
    assert_error_list(target.send(sent), 401, (None, None, 1012))


@EVENT_NEEDS
@pytest.mark.needs("other_key", "api_key")
def test_event_with_a_key_of_another_scope_is_refused(target: CheckTarget) -> None:
    sent = request("POST", EVENT, body=good(target, EVENT), content_type=JSON, key=API_KEY)
    assert_error_list(target.send(sent), 403, (None, None, 1013))


@pytest.mark.parametrize("path", OF_SYSTEM)
@pytest.mark.parametrize("certificate", [None, "", ":", "::", ":AAAA:", "x", ":é:"])
def test_call_without_a_certificate_is_refused_before_its_body(
    path: str, certificate: str | None, target: CheckTarget
) -> None:
    headers = [] if certificate is None else [f"Client-Cert: {certificate}"]
    for body in (good(target, path), b"{", LARGE):
        sent = request("POST", path, body=body, content_type="text/plain", headers=headers, key=PUBLISH_KEY)
        assert_error_list(target.send(sent), 401, (None, None, 1101))


@pytest.mark.parametrize("path", PATHS)
def test_unknown_query_parameter_is_refused(path: str, target: CheckTarget) -> None:
    caller = [f"apikey: {PUBLISH_KEY}", f"Client-Cert: {CERTIFICATE}"]
    sent = request("POST", f"{path}?verbose=%ff", body=good(target, path), content_type=JSON, headers=caller, key=None)
    assert_error_list(target.send(sent), 400, (None, "verbose", 1014))


@pytest.mark.needs("certificate", "queued_system")
@pytest.mark.parametrize(
    ("query", "fields"),
    [
        *((f"limit={value}", ["limit"]) for value in ("1_0", "+1", "%2B1", "1.0", "0", "1001", "", "%00", "%EF%BC%91")),
        ("limit=" + "9" * 5000, ["limit"]),
        ("limit=1&limit=1", ["limit"]),
        *((f"after={value}", ["after"]) for value in ("", "zz", "%00", "8" + "0" * 15, "0" * 16 + "%0a", "%ff")),
        *((f"status={value}", ["status"]) for value in ("", "VENTER", "venter%00", "venter,parkeret", "%ed%a0%80")),
        ("Status=venter", ["Status"]),
        ("limit=0&after=x&status=x&unknown=1", ["after", "limit", "status", "unknown"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_query_outside_the_contract_is_refused(query: str, fields: list[str], target: CheckTarget) -> None:
    headers = [f"Client-Cert: {CERTIFICATE}"]
    path = f"{LIST}?systemIdentifier={target.queued_system}&{query}"
    answer = target.send(request(target=path, headers=headers, key=None))
    assert_error_list(answer, 400, *((None, field, 1014) for field in fields))


@pytest.mark.needs("certificate", "queued_system")
@pytest.mark.parametrize("query", ["limit=1", "after=" + "0" * 16, "after=7" + "f" * 15, "status=venter", "&&"])
def test_query_of_the_contract_is_accepted(query: str, target: CheckTarget) -> None:
    headers = [f"Client-Cert: {CERTIFICATE}"]
    path = f"{LIST}?systemIdentifier={target.queued_system}&{query}"
    assert target.send(request(target=path, headers=headers, key=None)).status == 200


@pytest.mark.parametrize(("path", "allowed"), [(LIST, "GET"), (EVENT, "POST"), (REPLAY, "POST"), (TEST, "POST")])
@pytest.mark.parametrize(
    "method",
    [
        *("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "PROPFIND"),
        # Gateways respond to it themselves.
        pytest.param("OPTIONS", marks=pytest.mark.own),
    ],
)
def test_method_outside_the_contract_is_refused(path: str, allowed: str, method: str, target: CheckTarget) -> None:
    answer = target.send(request(method, path, key=None))
    if method == allowed:
        assert_refused(answer)
        assert not answer.is_direct or answer.status == 401
        return
    assert_not_allowed(answer, allowed)
    assert not answer.is_direct or answer.headers["x-requestid"]


@pytest.mark.parametrize("path", PATHS)
def test_error_responses_do_not_contain_the_request(path: str, target: CheckTarget) -> None:
    for body in (
        b'{"secret": s3cr3t}',
        good(target, path).replace(b"a", b"s3cr3t", 1) + b"s3cr3t",
        good(target, path)[:-1] + b"s3cr3t",
    ):
        assert_silent(send(target, path, body), "s3cr3t")
