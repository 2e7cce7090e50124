"""Repeat a post with its `Idempotency-Key`: one message, and the first answer again."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from conftest import MESSAGES_KEY, RunningService, running_service
from mock_open_e import FaultName, MockOpenE
from tests.budkavle.services import create_plain_client, put_key
from tests.databases import run_with_database
from tests.factories import build_case_body, build_message_body
from tests.handlers.conftest import OPEN_E_URLS
from tests.handlers.messages import create_id, read_problem, read_violations
from tests.persistence.rows import execute
from tests.raw_http import RawConnection

KINDS = {"to a case": build_case_body, "stored only": build_message_body}
kinds = pytest.mark.parametrize("kind", KINDS)
FILES = [
    {"fileName": "a.txt", "base64Data": base64.b64encode(b"a" * 300_000).decode()},
    {"fileName": "b.txt", "base64Data": "Yg=="},
]


@pytest.fixture(autouse=True)
def _healthy_open_e(shared_open_e: MockOpenE) -> Iterator[None]:
    shared_open_e.clear()
    yield
    shared_open_e.clear()


def post(service: RunningService, key: str, body: dict[str, Any]) -> httpx.Response:
    return service.client.post("/webmessages", json=body, headers={"Idempotency-Key": key})


def assert_first(response: httpx.Response) -> str:
    """Return the location in the first answer to a request."""
    assert response.status_code == 201, response.text
    assert "Idempotency-Replayed" not in response.headers
    return response.headers["Location"]


def assert_replayed(response: httpx.Response, location: str) -> None:
    assert response.status_code == 201, response.text
    assert response.headers["Idempotency-Replayed"] == "true"
    assert response.headers["Location"] == location
    assert response.content == b""


def assert_reused(response: httpx.Response) -> None:
    detail = read_problem(response, 422, "Unprocessable Content")["detail"]
    assert detail == "This Idempotency-Key was used for a request with other content; use a new key for new content."


def assert_in_use(response: httpx.Response) -> None:
    detail = read_problem(response, 409, "Conflict")["detail"]
    assert (
        detail
        == "The first request with this Idempotency-Key has no outcome yet; repeat it after the time in Retry-After."
    )
    assert response.headers["Retry-After"] == "2"


def list_messages_of(service: RunningService, party_id: str) -> list[str]:
    """Return the paths of the messages to a party."""
    found = service.client.get(f"/webmessages/recipients/{party_id}").json()
    return [f"/webmessages/{message['id']}" for message in found]


@kinds
@pytest.mark.parametrize("attachments", [None, FILES], ids=["without files", "with files"])
def test_repeated_request_gets_the_first_answer(
    shared: RunningService, shared_open_e: MockOpenE, kind: str, attachments: list[dict[str, str]] | None
) -> None:
    party_id, key = create_id(), create_id()
    body = KINDS[kind](partyId=party_id, attachments=attachments)
    location = assert_first(post(shared, key, body))
    for _ in range(3):
        assert_replayed(post(shared, key, body), location)
    assert list_messages_of(shared, party_id) == [location]
    assert len(shared_open_e.messages) == (kind == "to a case")
    assert assert_first(post(shared, create_id(), body)) != location


@kinds
def test_deleted_message_keeps_its_key(shared: RunningService, shared_open_e: MockOpenE, kind: str) -> None:
    party_id, key = create_id(), create_id()
    body = KINDS[kind](partyId=party_id)
    location = assert_first(post(shared, key, body))
    assert shared.client.delete(location).status_code == 204
    assert_replayed(post(shared, key, body), location)
    assert_reused(post(shared, key, body | {"message": "Other"}))
    assert list_messages_of(shared, party_id) == []
    assert len(shared_open_e.messages) == (kind == "to a case")


OTHER_CONTENT: dict[str, dict[str, Any]] = {
    "text": {"message": "This is a message "},
    "party": {"partyId": "81471222-5798-11e9-ae24-57fa13b361e2"},
    "no party": {"partyId": None},
    "sender": {"sender": {"userId": "joe02doe"}},
    "no sender": {"sender": None},
    "instance": {"oepInstance": "internal"},
    "another reference": {"externalReferences": [{"key": "flowInstanceId", "value": "1068"}]},
    "order of references": {
        "externalReferences": [{"key": "errand", "value": "1"}, {"key": "flowInstanceId", "value": "1068"}]
    },
    "order of files": {"attachments": FILES[::-1]},
    "name of a file": {"attachments": [FILES[0], FILES[1] | {"fileName": "c.txt"}]},
    "content of a file": {"attachments": [FILES[0], FILES[1] | {"base64Data": "Yw=="}]},
    "one file less": {"attachments": FILES[:1]},
    "no files": {"attachments": None},
}
FULL = build_message_body(
    externalReferences=[{"key": "flowInstanceId", "value": "1068"}, {"key": "errand", "value": "1"}],
    sender={"userId": "joe01doe"},
    attachments=FILES,
)


def test_other_content_with_the_same_key_is_refused(shared: RunningService, shared_open_e: MockOpenE) -> None:
    key = create_id()
    location = assert_first(post(shared, key, FULL))
    for name, change in OTHER_CONTENT.items():
        other = {field: value for field, value in (FULL | change).items() if value is not None}
        response = post(shared, key, other)
        assert response.status_code == 422, name
        assert_reused(response)
    assert len(shared_open_e.messages) == 1
    assert_replayed(post(shared, key, FULL), location)


def test_same_content_in_another_form_is_the_same_request(shared: RunningService, shared_open_e: MockOpenE) -> None:
    key = create_id()
    location = assert_first(post(shared, key, FULL))
    spelled = FULL | {
        "partyId": FULL["partyId"].upper(),
        "oepInstance": "external",
        "externalReferences": [{"key": "FLOWINSTANCEID", "value": "1068"}, *FULL["externalReferences"]],
    }
    assert_replayed(post(shared, key, dict(reversed(spelled.items()))), location)
    message = {name: value for name, value in FULL.items() if name != "attachments"}
    for boundary in ("one", "another"):
        response = shared.client.post(
            "/webmessages",
            files=[
                ("message", (None, json.dumps(message), "application/json")),
                *(("attachments", (file["fileName"], base64.b64decode(file["base64Data"]))) for file in FILES),
            ],
            headers={"Idempotency-Key": key, "Content-Type": f"multipart/form-data; boundary={boundary}"},
        )
        assert_replayed(response, location)
    assert len(shared_open_e.messages) == 1


@pytest.mark.parametrize(
    "key", ["a", "!#$%&'()*+-./:<=>?@[]^_`{|}~", "8e03978e-40d5-43dd-bc93-6894a57f9324", "k" * 255]
)
def test_token_and_quoted_string_are_the_same_key(shared: RunningService, key: str) -> None:
    body = build_message_body(message=create_id())
    location = assert_first(post(shared, f"{key}", body))
    assert_replayed(post(shared, f'"{key}"', body), location)
    assert_reused(post(shared, f'"{key}"', build_message_body(message=create_id())))


def test_quoted_strings_are_unescaped_and_compared_exactly(shared: RunningService) -> None:
    keys = [r'"\""', r'"\\"', r'"\\\""', '"a b,;"', '"A b,;"', '" "', '"  "', '"' + r"\"" * 255 + '"']
    locations = [assert_first(post(shared, key, build_message_body(message=key))) for key in keys]
    for key, location in zip(keys, locations, strict=True):
        assert_replayed(post(shared, key, build_message_body(message=key)), location)


INVALID: dict[str, str] = {
    "empty": "",
    "empty string": '""',
    "256 characters": "k" * 256,
    "256 quoted characters": f'"{"k" * 256}"',
    "space within": "a b",
    "not closed": '"a',
    "not opened": 'a"',
    "quote within": '"a"b"',
    "other escape": r'"\n"',
    "escape at the end": '"\\"',
    "backslash": "a\\b",
    "two": "a, b",
    "two strings": '"a", "b"',
    "with a parameter": '"a";b=1',
    "token with a parameter": "a;b=1",
    "tab within": '"a\tb"',
}


@kinds
@pytest.mark.parametrize("key", INVALID.values(), ids=INVALID)
def test_invalid_key_is_a_fault_among_the_others(
    shared: RunningService, shared_open_e: MockOpenE, kind: str, key: str
) -> None:
    fault = (
        "createWebMessage.Idempotency-Key",
        "must be 1 to 255 printable ASCII characters: a quoted string or a token",
    )
    assert read_violations(post(shared, key, KINDS[kind]())) == [fault]
    assert read_violations(post(shared, key, KINDS[kind](message=" "))) == [fault, ("message", "must not be blank")]
    assert shared_open_e.messages == []


@pytest.mark.parametrize("keys", [("a", "a"), ("a", '"b"'), ("", "a"), ("a", "")])
def test_repeated_header_is_a_fault(shared: RunningService, keys: tuple[str, str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    response = shared.client.post("/webmessages", json=build_message_body(), headers=headers)
    assert read_violations(response) == [("createWebMessage.Idempotency-Key", "must be given only once")]


def test_no_byte_in_a_key_is_an_internal_error(shared: RunningService) -> None:
    body = json.dumps(build_message_body()).encode()
    head = b"POST /webmessages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"apikey: %s\r\nContent-Length: %d\r\n" % (MESSAGES_KEY.encode(), len(body))
    for quote in (b"", b'"'):
        for byte in range(256):
            value = quote + create_id().encode() + bytes([byte]) + b"x" + quote
            with RawConnection(shared.port) as connection:
                connection.send(head + b"Idempotency-Key: %s\r\n\r\n%s" % (value, body))
                status = connection.read_response().status
            permitted = 0x20 <= byte <= 0x7E and bytes([byte]) not in (b'"\\' if quote else b' "\\,;')
            assert status == (201 if permitted else 400), value


REFUSALS: list[tuple[FaultName, int]] = [("FlowInstanceNotFound", 404), ("AccessDenied", 500)]


@pytest.mark.parametrize(("fault", "status"), REFUSALS)
def test_message_that_open_e_refused_leaves_its_key_free(
    shared: RunningService, shared_open_e: MockOpenE, fault: FaultName, status: int
) -> None:
    key = create_id()
    shared_open_e.fail(fault)
    assert post(shared, key, build_case_body()).status_code == status
    location = assert_first(post(shared, key, build_case_body(message="Other")))
    assert_replayed(post(shared, key, build_case_body(message="Other")), location)


@kinds
def test_rejected_request_leaves_its_key_free(shared: RunningService, kind: str) -> None:
    key = create_id()
    assert len(read_violations(post(shared, key, KINDS[kind](message="")))) == 1
    for headers in ({"apikey": "wrong"}, {"content-type": "text/plain"}):
        refused = shared.client.post("/webmessages", json=KINDS[kind](), headers={"Idempotency-Key": key, **headers})
        assert refused.status_code in {401, 415}
    assert_first(post(shared, key, KINDS[kind]()))


UNKNOWN: list[tuple[FaultName, bool]] = [
    ("Http500", False),
    ("Reset", False),
    ("Slow", True),
    ("AcceptedAnswerLost", True),
    ("Garbage", True),
]


@pytest.mark.parametrize(("fault", "is_published"), UNKNOWN)
def test_message_in_doubt_is_looked_for_and_not_sent_again(
    service: RunningService, open_e: MockOpenE, fault: FaultName, *, is_published: bool
) -> None:
    """A message that is not found may still arrive: only the settler decides that it will not."""
    party_id, key = create_id(), create_id()
    body = build_case_body(partyId=party_id)
    open_e.fail(fault, seconds=3600)
    assert post(service, key, body).status_code == 500
    assert_reused(post(service, key, body | {"message": "Other"}))
    for _ in range(3):
        repeated = post(service, key, body)
        while is_published and repeated.status_code == 409:
            # The settler of the background is reading the case.
            repeated = post(service, key, body)
        if is_published:
            (path,) = list_messages_of(service, party_id)
            assert_replayed(repeated, path)
        else:
            assert_in_use(repeated)
            assert list_messages_of(service, party_id) == []
    assert len(open_e.messages) == is_published


def test_message_whose_case_cannot_be_read_stays_in_doubt(service: RunningService, open_e: MockOpenE) -> None:
    key = create_id()
    open_e.fail("AcceptedAnswerLost")
    open_e.fail("Http500", operation="messageapi", times=None)
    assert post(service, key, build_case_body()).status_code == 500
    for _ in range(3):
        assert_in_use(post(service, key, build_case_body()))
    assert len(open_e.messages) == 1


@pytest.mark.parametrize("is_linked", [True, False])
def test_keys_of_different_callers_are_independent(database_url: str, open_e: MockOpenE, *, is_linked: bool) -> None:
    with running_service(database_url=database_url, link_operations=is_linked, **OPEN_E_URLS) as service:
        put_key(database_url, "other", "other")
        with create_plain_client(service.url, "other") as client:
            other = RunningService(service.url, client, service.settings)
            locations = [assert_first(post(each, "1", build_case_body())) for each in (service, other)]
            assert locations[0] != locations[1]
            for each, location in zip((service, other), locations, strict=True):
                assert_replayed(post(each, "1", build_case_body()), location)
                assert_reused(post(each, "1", build_case_body(message="Other")))
    assert len(open_e.messages) == 2


@kinds
def test_concurrent_requests_with_one_key_create_one_message(
    shared: RunningService, shared_open_e: MockOpenE, kind: str
) -> None:
    party_id, key = create_id(), create_id()
    with ThreadPoolExecutor(50) as callers:
        body = KINDS[kind](partyId=party_id)
        responses = list(callers.map(lambda _: post(shared, key, body), range(50)))
    first = [each for each in responses if each.status_code == 201 and "Idempotency-Replayed" not in each.headers]
    assert len(first) == 1
    location = first[0].headers["Location"]
    for response in responses:
        if response.status_code == 409:
            assert_in_use(response)
        elif response is not first[0]:
            assert_replayed(response, location)
    assert list_messages_of(shared, party_id) == [location]
    assert len(shared_open_e.messages) == (kind == "to a case")


@kinds
def test_expired_key_is_free_unless_its_message_is_in_doubt(database_url: str, open_e: MockOpenE, kind: str) -> None:
    # The time of a key is in the id of its message.
    old_id = "018bcfe5680070008000000000000000"
    expire = f"update idempotency_keys set message_id = '{old_id}'"
    expire_in_doubt = f"update web_messages set id = '{old_id}' where state = 'unknown'"
    with running_service(database_url=database_url, **OPEN_E_URLS) as service:
        location = assert_first(post(service, "1", KINDS[kind]()))
        run_with_database(database_url, lambda database: execute(database, expire))
        other = assert_first(post(service, "1", KINDS[kind](message="Other")))
        assert other != location
        assert_replayed(post(service, "1", KINDS[kind](message="Other")), other)
        open_e.fail("Reset")
        assert post(service, "2", build_case_body()).status_code == 500
        run_with_database(database_url, lambda database: execute(database, expire_in_doubt))
        run_with_database(database_url, lambda database: execute(database, expire))
        assert_in_use(post(service, "2", build_case_body()))
