import hashlib
import http.client
import logging
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import requests

from domain.errors import BackendRefused, NotFound, OutcomeUnknown
from domain.web_messages import Attachment, ExternalReference, OepInstance, WebMessage
from mock_open_e import FAULT_NAMES, STORING, MockOpenE
from mock_open_e.server.application import create_server
from open_e.accounts import Account
from open_e.client import OpenEClient
from tests.mock_open_e.soap import add_message

ADDED = datetime(2026, 2, 19, 7, 57, 6, tzinfo=UTC)


def build_web_message(text="Hej", case=1068, instance=OepInstance.EXTERNAL, files=()):
    attachments = tuple(Attachment("a", name, "x/y", len(data), "", data) for name, data in files)
    references = (ExternalReference("flowInstanceId", str(case)),)
    return WebMessage("id", text, references, oep_instance=instance, attachments=attachments)


@pytest.fixture
def add(mock_url):
    """Publish a message with the real client, and return its messageID or the error."""
    accounts = {instance: Account(f"{mock_url}/{instance}/api/callback") for instance in OepInstance}
    client = OpenEClient(accounts, connect_timeout=5, read_timeout=5, threads=8)
    yield lambda message=None: client.add_message(message or build_web_message(), added=ADDED, request_id="r")
    client.close()


def order_fault(url, **body):
    response = requests.post(f"{url}/control/faults", json=body, timeout=5)
    assert response.status_code == 201
    return response.json()


def list_messages(url):
    return requests.get(f"{url}/control/messages", timeout=5).json()


def test_server_stores_messages_of_the_client(mock_url, add):
    assert add(build_web_message("a\nb <>&", files=[("å.pdf", b"hej"), ("b", b"x")])) == 1
    assert add(build_web_message(instance=OepInstance.INTERNAL)) == 1_000_001
    first, second = list_messages(mock_url)
    assert first == {
        "instance": "external",
        "messageID": 1,
        "flowInstanceID": 1068,
        "message": "a\r\nb <>&",
        "userID": None,
        "added": "2026-02-19T07:57:06.000+00:00",
        "attachments": [
            {"filename": "å.pdf", "size": 3, "sha256": hashlib.sha256(b"hej").hexdigest()},
            {"filename": "b", "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()},
        ],
    }
    assert second["instance"] == "internal"


def test_server_treats_the_short_address_as_external(mock_url):
    client = OpenEClient(
        {OepInstance.EXTERNAL: Account(f"{mock_url}/api/callback")}, connect_timeout=5, read_timeout=5, threads=1
    )
    assert client.add_message(build_web_message(), added=ADDED, request_id="r") == 1
    client.close()


def test_server_reports_an_unknown_case(add):
    with pytest.raises(NotFound, match="The requested flow instance with ID 7 was not found"):
        add(build_web_message(case=7))


@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_server_fails_as_ordered(mock_url, add, fault):
    assert order_fault(mock_url, fault=fault, seconds=0.2) == {"fault": fault, "times": 1, "seconds": 0.2}
    refused = ("AccessDenied", "Http401", "Http403", "Http404")
    not_found = ("FlowInstanceNotFound", "Http200Fault")
    outcomes = {**dict.fromkeys(refused, BackendRefused), **dict.fromkeys(not_found, NotFound)}
    expected = outcomes.get(fault, OutcomeUnknown)
    if fault in {"Slow", "SlowBytes"}:
        started = time.monotonic()
        add()
        assert time.monotonic() - started >= 0.2
    else:
        with pytest.raises(expected):
            add()
    assert len(list_messages(mock_url)) == (fault in STORING)
    add()


@pytest.mark.parametrize(("fault", "rst"), [("Reset", True), ("AcceptedAnswerLost", False)])
def test_server_resets_or_closes_the_connection(mock_url, fault, rst):
    order_fault(mock_url, fault=fault)
    body = (
        b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>'
        b'<addMessage xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback">'
        b"<flowInstanceID>1068</flowInstanceID><message><added>2026-01-01</added><message>Hej</message></message>"
        b"</addMessage></Body></Envelope>"
    )
    host, port = mock_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /api/callback HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        if rst:
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            assert connection.recv(1) == b""


def test_server_is_slow_for_one_caller_only(mock_url, add, mock):
    order_fault(mock_url, fault="Slow", seconds=3)
    slow = threading.Thread(target=add)
    slow.start()
    assert mock.dealt_with.wait(5)
    add()
    assert slow.is_alive()
    slow.join()


def test_server_keeps_connections(mock_url):
    connection = http.client.HTTPConnection(mock_url.removeprefix("http://"), timeout=5)
    connection.connect()
    address = connection.sock.getsockname()
    for method, path in [("POST", "/api/callback"), ("GET", "/"), ("DELETE", "/control/messages")]:
        connection.request(method, path, b"")
        connection.getresponse().read()
        assert connection.sock.getsockname() == address
    connection.close()


def test_server_accepts_ten_large_files(mock_url, add):
    files = [(f"{i}.bin", bytes([i]) * (10 * 2**20)) for i in range(10)]
    assert add(build_web_message(files=files)) == 1
    assert list_messages(mock_url)[0]["attachments"] == [
        {"filename": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files
    ]


def test_server_cuts_off_a_body_that_is_too_large(mock_url):
    host, port = mock_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /api/callback HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2**40))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_for_ever(connection)


def send_for_ever(connection):
    while True:
        connection.sendall(bytes(2**20))


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (b"{", ["the body is not JSON"]),
        (b"[" * 100_00, ["the body is not JSON"]),
        (b"\xff", ["the body is not JSON"]),
        (b"[]", ["the body is not a JSON object"]),
        (
            b'{"fault": "Nonsense", "times": 0, "seconds": "1", "time": 1}',
            [
                "unknown field 'time'",
                f"fault must be one of {', '.join(FAULT_NAMES)}",
                "times must be a positive integer",
                "seconds must be a number from 0 to 3600",
            ],
        ),
        (b'{"fault": "Slow", "times": true}', ["times must be a positive integer"]),
        (b'{"fault": "Slow", "times": 1.5}', ["times must be a positive integer"]),
        (b'{"fault": "Slow", "seconds": NaN}', ["the body is not JSON"]),
        (b'{"fault": "Slow", "seconds": -1}', ["seconds must be a number from 0 to 3600"]),
        (b'{"fault": "Slow", "seconds": null}', ["seconds must be a number from 0 to 3600"]),
    ],
)
def test_control_refuses_an_invalid_order_with_every_reason(idle_mock_url, body, faults):
    response = requests.post(f"{idle_mock_url}/control/faults", body, timeout=5)
    assert (response.status_code, response.json()) == (400, {"errors": faults})


def test_control_accepts_an_order_with_defaults_and_removes_it(mock_url, add):
    assert order_fault(mock_url, fault="Http500") == {"fault": "Http500", "times": 1, "seconds": 1}
    assert requests.delete(f"{mock_url}/control/faults", timeout=5).status_code == 204
    assert add() == 1


def test_control_refuses_a_huge_order(idle_mock_url):
    assert requests.post(f"{idle_mock_url}/control/faults", b" " * 70_000, timeout=5).status_code == 413


def test_control_deletes_messages(mock_url, add):
    add()
    assert requests.delete(f"{mock_url}/control/messages", timeout=5).status_code == 204
    assert list_messages(mock_url) == []
    assert add() == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("GET", "/control/messages/", 404, None),
        ("DELETE", "/external/api/callback", 405, {"GET", "POST", "PUT"}),
        ("POST", "/control/messages", 405, {"GET", "HEAD", "DELETE"}),
        ("PUT", "/control/faults", 405, {"GET", "HEAD", "POST", "DELETE"}),
        ("POST", "/", 405, {"GET", "HEAD"}),
    ],
)
def test_server_refuses_other_paths_and_methods(idle_mock_url, method, path, status, allow):
    response = requests.request(method, idle_mock_url + path, timeout=5, allow_redirects=False)
    assert response.status_code == status
    assert allow is None or set(response.headers["Allow"].split(", ")) == allow


def test_credentials_protect_soap_only(run_mock):
    with run_mock(MockOpenE(username="u", password="p")) as url:
        response = requests.post(f"{url}/internal/api/callback", b"", timeout=5)
        assert (response.status_code, response.text) == (401, "Unauthorized")
        assert requests.get(url, timeout=5).status_code == 200
        assert list_messages(url) == []


def test_server_ignores_signals_if_configured():
    before = signal.getsignal(signal.SIGINT)
    guest = create_server(MockOpenE(), "127.0.0.1", 0, signals=False)
    with guest.capture_signals():
        assert signal.getsignal(signal.SIGINT) is before
    host = create_server(MockOpenE(), "127.0.0.1", 0)
    with host.capture_signals():
        assert signal.getsignal(signal.SIGINT) is not before


def test_server_stops_without_errors_during_a_slow_response(mock, run_mock, caplog):
    mock.fail("Slow", seconds=60)
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.ERROR):
        with run_mock(mock) as url:
            account = Account(f"{url}/api/callback")
            client = OpenEClient({OepInstance.EXTERNAL: account}, connect_timeout=5, read_timeout=30, threads=1)
            publishing = pool.submit(client.add_message, build_web_message(), added=ADDED, request_id="r")
            assert mock.dealt_with.wait(5)
        assert publishing.result(10) == 1
    client.close()
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("path", ["external/api/callback", "control/faults"])
def test_server_accepts_bodies_of_clients_that_offer_http_2(mock_url, path):
    """Java's HttpClient and `curl --http2` do this."""
    body = b'{"fault": "Http500"}' if path == "control/faults" else add_message().encode()
    response = requests.post(
        f"{mock_url}/{path}",
        data=body,
        headers={
            "Content-Type": "application/json" if path == "control/faults" else "text/xml",
            "Connection": "Upgrade, HTTP2-Settings",
            "Upgrade": "h2c",
            "HTTP2-Settings": "AAMAAABkAAQAAP__",
        },
        timeout=5,
    )
    assert response.status_code == (201 if path == "control/faults" else 200), response.text
