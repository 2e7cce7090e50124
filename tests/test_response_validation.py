"""A wrong response of each kind is detected, and fails the test that caused it."""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from budkavle.settings import Settings
from conftest import running_server
from tests import response_validation
from tests.processes import REPOSITORY, python, run_program, running
from tests.programs import forget_ports, get_program, register_address
from tests.raw_http import send_request
from tests.response_recording import take_faults
from tests.response_validation import RecordedResponse

ID = ("x-request-id", "a-1")
V1_ID = ("x-requestid", "a-1")
JSON = ("content-type", "application/json")
PROBLEM = ("content-type", "application/problem+json")
LIVE = b'{"status":"UP"}'
DELIVERY: dict[str, Any] = {
    "leveringId": "7d1a8f10-5798-41e9-ae24-57fa13b361e1",
    "beskedId": "0b1f4c1e-5798-41e9-ae24-57fa13b361e1",
    "orgType": 1,
    "orgCode": 101,
    "entityType": 202,
    "webhookUrl": "/webhook",
    "status": "venter",
    "forsoeg": 3,
    "oprettet": "2026-03-01T13:00:00.123456+01:00",
    "naesteForsoeg": None,
    "aarsag": None,
    "httpStatus": None,
}
CREATED = ("location", "/webmessages/7d1a8f10-5798-41e9-ae24-57fa13b361e1")


def build_deliveries_response(**changes: Any) -> RecordedResponse:
    body = json.dumps({"beskeder": [DELIVERY | changes]}).encode()
    return RecordedResponse("GET", "/v1/abonnement/beskeder?limit=1", 200, [V1_ID, JSON], body)


def build_live_response(
    *headers: tuple[str, str], status: int = 200, body: bytes | None = LIVE, method: str = "GET"
) -> RecordedResponse:
    return RecordedResponse(method, "/health/live", status, headers or [ID, JSON], body)


@pytest.mark.parametrize(
    "response",
    [
        build_live_response(),
        build_live_response(body=None),
        build_deliveries_response(),
        build_deliveries_response(naesteForsoeg="2026-03-01T13:00:00+01:00", aarsag="http", httpStatus=503),
        RecordedResponse("POST", "/webmessages", 201, [ID, CREATED], b""),
        RecordedResponse("DELETE", f"{CREATED[1]}", 204, [ID], b""),
        build_live_response(ID, PROBLEM, ("allow", "GET"), status=405, body=b"{}", method="POST"),
        RecordedResponse("GET", "/nowhere", 404, [ID, PROBLEM], b"{}"),
        RecordedResponse("OPTIONS", "*", 404, [ID, PROBLEM], b"{}"),
        RecordedResponse("GET", "/v1/nowhere", 404, [V1_ID, PROBLEM], b"{}"),
        RecordedResponse("GET", "/docs/anything", 200, [], b""),
    ],
)
def test_valid_response_has_no_faults(response: RecordedResponse) -> None:
    assert response_validation.service().find_faults(response) == []


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (build_live_response(status=418), "the status is none of 200, 400, 500"),
        (build_live_response(ID, ("content-type", "text/plain")), "'text/plain' is none of application/json"),
        (build_live_response(ID), "the content types are [], but exactly one is required"),
        (build_live_response(JSON), "the header x-request-id is missing"),
        (build_live_response(ID, ID, JSON), "the header x-request-id occurs 2 times"),
        (build_live_response(("x-request-id", "a b"), JSON), "the header x-request-id is 'a b'"),
        (build_live_response(ID, JSON, ("x-secret", "1")), "the header x-secret is not documented"),
        (build_live_response(body=b'{"status":"UP"'), "the body is not application/json"),
        (build_live_response(body=b'{"status":NaN}'), "NaN is not JSON"),
        (build_live_response(body=b'{"status":"\xff"}'), "the body is not application/json"),
        (build_live_response(body=b'{"status":"DOWN"}'), "the body: status"),
        (build_live_response(body=b'{"status":"UP","more":1}'), "the body: the whole value"),
        (build_live_response(body=b""), "the body is not application/json"),
        (build_deliveries_response(oprettet="2026-03-01"), "beskeder/0/oprettet"),
        (build_deliveries_response(leveringId="1"), "beskeder/0/leveringId"),
        (build_deliveries_response(orgType=2**31), "beskeder/0/orgType"),
        (build_deliveries_response(webhookUrl="//"), "beskeder/0/webhookUrl"),
        (build_deliveries_response(forsoeg=None), "beskeder/0/forsoeg"),
        (RecordedResponse("POST", "/webmessages", 201, [ID], b""), "the header location is missing"),
        (RecordedResponse("POST", "/webmessages", 201, [ID, CREATED], b"{}"), "but none is allowed"),
        (RecordedResponse("DELETE", CREATED[1], 204, [ID], b"x"), "but none is allowed"),
        (RecordedResponse("DELETE", CREATED[1], 204, [ID, JSON], b""), "but none is allowed"),
        (RecordedResponse("GET", "/nowhere", 200, [ID, JSON], b"{}"), "the status is not 404"),
        (RecordedResponse("GET", "/nowhere", 404, [ID, ("content-type", "text/html")], b"-"), "'text/html' is none of"),
        (build_live_response(method="POST"), "the status is not 405"),
        (build_live_response(ID, PROBLEM, status=405, body=b"{}", method="POST"), "the header allow is missing"),
        (
            build_live_response(ID, PROBLEM, ("allow", "PUT"), status=405, body=b"{}", method="POST"),
            "Allow lists ['PUT']",
        ),
    ],
)
def test_faults_of_an_invalid_response_are_reported(response: RecordedResponse, expected: str) -> None:
    assert any(expected in fault for fault in response_validation.service().find_faults(response))


@pytest.mark.parametrize("prefix", ["", "/s/job1"])
def test_faults_of_a_response_of_the_mock_are_reported_in_each_world(prefix: str) -> None:
    path = f"{prefix}/control/messages"
    for method in ("GET", "HEAD"):
        assert response_validation.mock().find_faults(RecordedResponse(method, path, 200, [ID, JSON], b"[]")) == []
    assert response_validation.mock().find_faults(RecordedResponse("GET", path, 200, [ID, JSON], b"[1]")) != []
    assert response_validation.mock().find_faults(RecordedResponse("HEAD", path, 200, [JSON], b"")) != []
    assert (
        response_validation.mock().find_faults(RecordedResponse("GET", f"{prefix}/api/callback", 418, [], b"-")) == []
    )


def build_wrong_application(status: int, *, ends: bool = True) -> ASGIApp:
    """Return an application that sends this in two chunks, or breaks off."""

    async def response(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-type", b"application/json"), (b"x-request-id", b"a-1"), (b"content-length", b"15")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": LIVE[:5], "more_body": True})
        if ends:
            await send({"type": "http.response.body", "body": LIVE[5:]})

    return response


SETTINGS = Settings()
FAULTS = ["GET /health/live -> 418: the status is none of 200, 400, 500"]


def test_recording_app_records_all_responses_without_changing_them() -> None:
    with (
        running_server(SETTINGS, build_wrong_application(418)) as url,
        httpx.Client(base_url=url, trust_env=False, verify=False) as client,
    ):
        response = client.get("/health/live")
        assert (response.status_code, response.content) == (418, LIVE)
        assert take_faults() == FAULTS
        raw = send_request(httpx.URL(url).port or 0, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (raw.status, raw.body) == (418, LIVE)
        assert take_faults() == FAULTS
        assert take_faults() == []


def test_recording_app_records_the_head_of_a_truncated_response() -> None:
    with (
        running_server(SETTINGS, build_wrong_application(418, ends=False)) as url,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        httpx.get(f"{url}/health/live", trust_env=False, verify=False)
    assert take_faults() == FAULTS


PROGRAM = """
import http.server

class Wrong(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(418)
        self.end_headers()

server = http.server.HTTPServer(("127.0.0.1", 0), Wrong)
print("Budkavle listens on http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
"""


def test_clients_record_the_responses_of_a_program() -> None:
    with running(*python(PROGRAM)) as process:
        url = process.wait_for("Budkavle listens on ")
        assert httpx.get(f"{url}/health/live", trust_env=False, verify=False).status_code == 418
        assert take_faults() == FAULTS


TESTS = """
import httpx
from tests.test_response_validation import SETTINGS, running_server, build_wrong_application

def test_without_requests():
    pass

def test_without_assertion():
    with running_server(SETTINGS, build_wrong_application(418)) as url:
        assert httpx.get(f"{url}/health/live", trust_env=False, verify=False).status_code == 418

def test_with_failing_assertion():
    with running_server(SETTINGS, build_wrong_application(418)) as url:
        assert httpx.get(f"{url}/health/live", trust_env=False, verify=False).status_code == 200

def test_of_a_valid_response():
    with running_server(SETTINGS, build_wrong_application(200)) as url:
        assert httpx.get(f"{url}/health/live", trust_env=False, verify=False).status_code == 200
"""


def test_wrong_response_fails_only_the_test_that_caused_it(tmp_path: Path) -> None:
    path, report = tmp_path / "test_sample.py", tmp_path / "report.xml"
    path.write_text(TESTS)
    options = ("-p", "tests.response_recording", "-p", "no:cacheprovider", "-c", str(REPOSITORY / "pyproject.toml"))
    where = (f"--rootdir={tmp_path}", "--junitxml", str(report), str(path))
    result = run_program(sys.executable, "-m", "pytest", *options, *where, folder=REPOSITORY)
    assert result.returncode == 1
    # pytest's output depends on its environment.
    failures = {
        case.get("name"): "".join(failure.get("message", "") for failure in case.iter("failure"))
        for case in ET.parse(report).getroot().iter("testcase")
    }
    assert {name for name, words in failures.items() if words} == {
        "test_without_assertion",
        "test_with_failing_assertion",
    }
    assert all(FAULTS[0] in words for words in failures.values() if words)
    assert len(failures) == 4


def test_forget_ports_removes_an_ended_program() -> None:
    """The system soon gives a port to another server, whose responses are not subject to our contracts."""
    former, present = object(), object()
    register_address("Budkavle listens on http://127.0.0.1:1\n", former)
    register_address("The worker listens on http://127.0.0.1:1\n", present)
    forget_ports(former)
    assert get_program(1) == "worker"
    forget_ports(present)
    assert get_program(1) is None
