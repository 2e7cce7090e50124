"""Paths that no generated client sends."""

import pytest

from contract_tests.attacks import NOTHING, assert_no_http, assert_problem, assert_violations, request
from contract_tests.target import BASE_PATH, HOST, CheckTarget

pytestmark = pytest.mark.needs("sender")

ID = "81471222-5798-11e9-ae24-57fa13b361e1"
PARTY = f"/webmessages/recipients/{ID}"
REFERENCES = "/webmessages/external-references"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/webmessages/",
        "//webmessages",
        "/webmessages//",
        f"/webmessages/{ID}/",
        f"//webmessages/{ID}",
        f"/webmessages//{ID}",
        f"{PARTY}/",
        "/webmessages/recipients/",
        f"{REFERENCES}/abc/",
        f"{REFERENCES}//abc",
        f"{REFERENCES}/abc/def/",
        f"{REFERENCES}/abc/def/ghi",
        f"/webmessages/{ID}/attachments",
        f"/webmessages/{ID}/attachments/",
        f"/webmessages/{ID}/attachments/{ID}/",
        "/webmessages/recipients/%2e%2e/recipients",
        "*",
    ],
)
def test_path_of_no_contract_is_not_found(path: str, target: CheckTarget) -> None:
    assert_problem(target.send(request(target=path)), 404)


@pytest.mark.own
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/webmessages/../health/live",
        "/./health/live",
        "/health/./live",
        "/webmessages/%2e%2e/health/live",
        "/health%2Flive",
        "/health/live/",
        "/health//live",
        "/health/live%00",
        "/health/%ff",
        "/HEALTH/live",
        "/docs/",
        "/docs/static/..%2f..%2fspec",
        "/docs/static/../../spec",
        "/docs/static/%00",
        "/docs/static/%ff",
        pytest.param(f"/docs/static/{'a' * 5000}", id="a long name"),
    ],
)
def test_path_outside_the_contracts_is_not_found(path: str, target: CheckTarget) -> None:
    assert_problem(target.send(request(target=path)), 404)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"nothing",
        b"webmessages/x",
        b"http://budkavle.test",
        b"http://[::1/webmessages/x",
        b"http://budkavle.test:99999/webmessages/x",
        b"/webmessages/\x00",
        b"/webmessages/\x01",
        b"/webmessages/\x7f",
        b"/webmessages/\xff",
        "/webmessages/å".encode(),
        b"/webmessages/x?\xff",
        b"/webmessages/x?a\tb",
        b"/webmessages/x HTTP/1.1 x",
    ],
)
def test_invalid_request_target_ends_the_connection(path: bytes, target: CheckTarget) -> None:
    assert_no_http(target.send(request(target=path)))


def test_request_target_that_is_too_long_ends_the_connection(target: CheckTarget) -> None:
    assert_no_http(target.send(request(target=b"/" + b"a" * 70_000)), 414)


@pytest.mark.parametrize(
    "path",
    [
        f"http://{HOST}{BASE_PATH}{NOTHING}",
        # Routers of some frameworks compare paths without decoding.
        pytest.param("/%77ebmessages/external-references/%61ttack/no%74hing", marks=pytest.mark.own),
        f"{NOTHING}?",
        pytest.param("http://elsewhere.test/health/live", marks=pytest.mark.own),
        pytest.param("/%68ealth/li%76e", marks=pytest.mark.own),
        pytest.param("/health/live?", marks=pytest.mark.own),
    ],
)
def test_equivalent_spellings_of_a_path_reach_the_same_operation(path: str, target: CheckTarget) -> None:
    assert target.send(request(target=path)).status == 200


WRONG_IDS = {
    "no UUID": "abc",
    "no dashes": ID.replace("-", ""),
    "too short": ID[:-1],
    "too long": f"{ID}1",
    "in braces": f"{{{ID}}}",
    "wrong character": f"{ID[:-1]}g",
    "line break at the end": f"{ID}%0a",
    "blank at the end": f"{ID}%20",
    "full-width digit": f"%EF%BC%98{ID[1:]}",
    "slash": f"{ID}%2F",
    "NUL": "%00",
    "NUL at the end": f"{ID}%00",
    "not UTF-8": "%ff",
    "half of a surrogate pair": "%ed%a0%80",
    "broken escape": f"{ID}%",
    "broken hexadecimal": f"{ID}%zz",
    "5,000 digits": "9" * 5000,
    "60,000 characters": "a" * 60_000,
}
OPERATIONS_WITH_IDS = {
    "getWebMessageById.id": ("GET", "/webmessages/{}"),
    "deleteWebMessageById.id": ("DELETE", "/webmessages/{}"),
    "getWebMessagesByPartyId.partyId": ("GET", "/webmessages/recipients/{}"),
    "getWebMessageAttachment.id": ("GET", f"/webmessages/{{}}/attachments/{ID}"),
    "getWebMessageAttachment.attachmentId": ("GET", f"/webmessages/{ID}/attachments/{{}}"),
}


@pytest.mark.parametrize("wrong", WRONG_IDS.values(), ids=WRONG_IDS.keys())
@pytest.mark.parametrize("field", OPERATIONS_WITH_IDS)
def test_id_that_is_not_a_uuid_is_refused(field: str, wrong: str, target: CheckTarget) -> None:
    method, path = OPERATIONS_WITH_IDS[field]
    assert_violations(target.send(request(method, path.format(wrong))), field)


def test_every_invalid_id_of_a_path_is_reported(target: CheckTarget) -> None:
    answer = target.send(request(target="/webmessages/x/attachments/%ff?limit=1"))
    fields = [f"getWebMessageAttachment.{name}" for name in ("id", "attachmentId", "limit")]
    assert_violations(answer, *fields)


def test_id_is_accepted_in_any_case(target: CheckTarget) -> None:
    answer = target.send(request(target=f"/webmessages/{ID.upper()}"))
    assert_problem(answer, 404)
    assert not answer.is_direct or ID in answer.json()["detail"]


@pytest.mark.parametrize(
    ("key", "value", "fields"),
    [
        ("ab", "abc", ["key"]),
        ("abc", "ab", ["value"]),
        ("ab", "ab", ["key", "value"]),
        pytest.param("k" * 129, "v" * 129, ["key", "value"], id="129 characters"),
        ("%F0%9F%98%80%F0%9F%98%80", "abc", ["key"]),
        ("a%00c", "abc", ["key"]),
        ("abc", "a%00c", ["value"]),
        ("%ff%ff%ff", "%c3", ["key", "value"]),
        ("abc", "%ed%a0%80abc", ["value"]),
        ("ab", "%00", ["key", "value"]),
    ],
)
def test_reference_that_cannot_be_looked_up_is_refused(
    key: str, value: str, fields: list[str], target: CheckTarget
) -> None:
    answer = target.send(request(target=f"{REFERENCES}/{key}/{value}"))
    assert_violations(answer, *(f"getWebMessagesByExternalReference.{field}" for field in fields))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a%2Fb", "c%2Fd"),
        # Some gateways treat this as an attack.
        pytest.param("%2F%2F%2F", "..%2F..", marks=pytest.mark.own),
        pytest.param("%C3%A5" * 128, "a+b%20c", id="128 characters"),
        ("%2e%2e%2e", "%25%25%25"),
    ],
)
def test_any_other_reference_can_be_looked_up(key: str, value: str, target: CheckTarget) -> None:
    answer = target.send(request(target=f"{REFERENCES}/{key}/{value}"))
    assert (answer.status, answer.json()) == (200, [])
