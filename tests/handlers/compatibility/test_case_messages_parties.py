"""Messages of oep-integrator 1.5 whose sender is a party: a party service on a real port finds the legal id."""

import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from conftest import RunningService, running_service
from mock_open_e import MockOpenE, mock_open_e
from tests.handlers.compatibility.test_case_messages import build_request, find, post, send
from tests.handlers.compatibility.test_web_messages import read_problem
from tests.handlers.conftest import OPEN_E_URLS
from tests.open_e.peers import NEVER, Peer, encode_response

LEGAL_ID = "180101300101"
KNOWN, OTHER = str(uuid.uuid4()), str(uuid.uuid4())

FAILURES: dict[str, tuple[bytes, int, str, str]] = {
    "unknown": (
        encode_response(b'{"title":"Not Found","status":404}', "404 Not Found"),
        404,
        "Not Found",
        "The provided partyId doesn't match any person!",
    ),
    "failing": (encode_response(b"oops", "500 Oops"), 502, "Bad Gateway", "The party service answered 500"),
    "rejecting": (encode_response(b"", "401 No"), 502, "Bad Gateway", "The party service answered 401"),
    "moved": (
        encode_response(b"", "302 Found", "Location: /other\r\n"),
        502,
        "Bad Gateway",
        "The party service answered 302",
    ),
    "malformed": (
        encode_response(b"", "500 Oops", "no header\r\n"),
        502,
        "Bad Gateway",
        "The party service answered 500",
    ),
    "empty": (encode_response(b""), 502, "Bad Gateway", "The party service answered without a legal id"),
    "page": (encode_response(b"<html>" * 1000), 502, "Bad Gateway", "The party service answered without a legal id"),
    "gone": (b"", 502, "Bad Gateway", "The party service cannot be reached"),
    "silent": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n1801",
        504,
        "Gateway Timeout",
        "The party service did not answer in time; nothing was published.",
    ),
}
"""The responses of the party service to parties that cannot be found, and the problems that callers get."""

PARTIES = {name: str(uuid.uuid4()) for name in FAILURES}


class PartyService(NamedTuple):
    url: str
    heads: list[str]


@pytest.fixture(scope="module")
def party_service() -> Iterator[PartyService]:
    """Yield the party service, and the requests that it receives."""
    answers = {party: FAILURES[name][0] for name, party in PARTIES.items()}
    answers |= {KNOWN: encode_response(f" {LEGAL_ID}\n".encode()), OTHER: encode_response(b'"191212121212"')}
    heads: list[str] = []

    def serve(connection: socket.socket, _number: int) -> None:
        received = b""
        while piece := connection.recv(65536):
            received += piece
            if not received.endswith(b"\r\n\r\n"):
                continue
            heads.append(received.decode())
            received = b""
            match = re.search(r"/PRIVATE/([0-9a-f-]{36})/legalId ", heads[-1])
            assert match is not None
            if not (answer := answers[match[1]]):
                return
            connection.sendall(answer)
            if match[1] == PARTIES["silent"]:
                NEVER.wait(10)

    peer = Peer(serve)
    yield PartyService(peer.url, heads)
    peer.close()


@pytest.fixture(scope="module")
def open_e(party_service: PartyService) -> Iterator[MockOpenE]:
    """Yield the mock Open-E. It leaves calls to the party service alone."""
    with mock_open_e(passthrough=[party_service.url]) as mock:
        yield mock


@pytest.fixture(scope="module")
def service(sqlite_file: Path, party_service: PartyService, open_e: MockOpenE) -> Iterator[RunningService]:
    """Yield a service that asks the party service."""
    with running_service(
        database_url=f"sqlite:///{sqlite_file}",
        compatibility_apis="web-messages-3.2,oep-integrator-1.5",
        party_url=party_service.url,
        party_timeout=0.5,
        **OPEN_E_URLS,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes) -> Path:
    path = tmp_path_factory.mktemp("parties") / "test.db"
    path.write_bytes(migrated_sqlite)
    return path


def build_party_request(party_id: str, **changes: Any) -> dict[str, Any]:
    return build_request(sender={"partyId": party_id}, **changes)


def test_sender_with_a_party_is_the_owner_with_the_legal_id(
    service: RunningService, party_service: PartyService, open_e: MockOpenE, sqlite_file: Path
) -> None:
    request = build_party_request(KNOWN.upper())
    with structlog.testing.capture_logs() as lines:
        open_e_id = post(service, request, **{"x-request-id": "request-of-a-party"})
    message = find(open_e, request["message"])
    assert (message.message_id, message.kind, message.origin) == (open_e_id, "owner", "addMessageAsOwner")
    assert (message.user_id, message.citizen_id) == (None, LEGAL_ID)
    head = party_service.heads[-1]
    assert head.startswith(f"GET /api/callback/2281/PRIVATE/{KNOWN}/legalId HTTP/1.1\r\n")
    assert "\r\nx-request-id: request-of-a-party\r\n" in head
    listed = service.client.get("/2281/webmessages/external-references/flowInstanceId/1068").json()
    [stored] = [each for each in listed if each["message"] == request["message"]]
    assert "sender" not in stored
    assert "partyId" not in stored
    assert LEGAL_ID not in str(lines)
    for path in sqlite_file.parent.iterdir():
        data = path.read_bytes()
        assert LEGAL_ID.encode() not in data
        assert KNOWN.encode() not in data


@pytest.mark.parametrize("name", FAILURES)
def test_party_that_is_not_found_is_a_problem(
    service: RunningService, open_e: MockOpenE, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    _, status, title, detail = FAILURES[name]
    request = build_party_request(PARTIES[name])
    with structlog.testing.capture_logs() as lines:
        problem = read_problem(send(service, request), status, title)
    assert problem["detail"] == detail
    assert PARTIES[name] not in f"{lines}{caplog.text}"
    assert [each for each in open_e.list_messages() if each.text == request["message"]] == []


def test_idempotency_key_compares_the_party(service: RunningService, party_service: PartyService) -> None:
    """Repetitions do not ask the party service."""
    request, key = build_party_request(KNOWN), {"Idempotency-Key": str(uuid.uuid4())}
    first = post(service, request, **key)
    asked = len(party_service.heads)
    response = send(service, request, **key)
    assert (response.status_code, response.headers["idempotency-replayed"]) == (201, "true")
    assert response.headers["location"].endswith(f"/{first}")
    response = send(service, request | {"sender": {"partyId": OTHER}}, **key)
    read_problem(response, 422, "Unprocessable Content")
    assert len(party_service.heads) == asked


def test_message_of_a_party_whose_answer_was_lost_is_found_on_its_case(
    service: RunningService, open_e: MockOpenE
) -> None:
    request, key = build_party_request(KNOWN), {"Idempotency-Key": str(uuid.uuid4())}
    open_e.fail("AcceptedAnswerLost")
    read_problem(send(service, request, **key), 500, "Internal Server Error")
    assert post(service, request, **key) == find(open_e, request["message"]).message_id
