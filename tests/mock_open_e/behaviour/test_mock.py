import base64
import subprocess
import sys
import threading

import pytest
import requests

from mock_open_e import FAULT_NAMES, STORING, MockOpenE, mock_open_e
from tests.mock_open_e.soap import UTF8, add_message, send
from tests.processes import REPOSITORY


@pytest.mark.parametrize("kind", ["application/soap+xml", "application/xml", "application/json", "nonsense"])
def test_other_content_types_get_415(kind):
    response = send(MockOpenE(), add_message(), kind)
    assert (response.status, response.body) == (415, b"")


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        (None, b"Unauthorized"),
        ("Basic " + base64.b64encode(b"user:wrong").decode(), b"Bad credentials"),
        ("Basic ***", b"Bad credentials"),
        ("Bearer x", b"Bad credentials"),
    ],
)
def test_missing_credentials_get_401(authorization, text):
    response = send(MockOpenE(username="user", password="å:b"), add_message(), authorization=authorization)
    assert (response.status, response.body) == (401, text)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_valid_credentials_are_accepted():
    authorization = "basic " + base64.b64encode("user:å:b".encode()).decode()
    mock = MockOpenE(username="user", password="å:b")
    assert send(mock, add_message(), authorization=authorization).status == 200


def test_messages_of_the_instances_are_numbered_separately():
    mock = MockOpenE()
    for instance in ["external", "internal", "external"]:
        send(mock, add_message(), instance=instance)
    assert [(each["instance"], each["messageID"]) for each in mock.messages] == [
        ("external", 1),
        ("internal", 1_000_001),
        ("external", 2),
    ]
    mock.clear()
    send(mock, add_message())
    assert [each["messageID"] for each in mock.messages] == [3]


def test_concurrent_calls_lose_and_duplicate_nothing():
    mock = MockOpenE()
    mock.fail("NoDetail", times=50)
    threads = [threading.Thread(target=lambda: [send(mock, add_message()) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["messageID"] for each in mock.messages] == list(range(1, 151))


def test_fail_applies_only_to_valid_messages_in_order():
    mock = MockOpenE(cases={1068})
    mock.fail("AccessDenied", times=2)
    mock.fail("Http500")
    for body in [add_message("<flowInstanceID>1</flowInstanceID>"), add_message(message="")]:
        assert send(mock, body).status == 500
    responses = [send(mock, add_message()).body for _ in range(4)]
    assert [b"AccessDeniedFault" in body for body in responses] == [True, True, False, False]
    assert responses[2].startswith(b"<html>")
    assert b"<messageID>1<" in responses[3]


@pytest.mark.parametrize(("fault", "times", "seconds"), [("Nonsense", 1, 1), ("Slow", 0, 1), ("Slow", 1, -1)])
def test_fail_refuses_an_invalid_order(fault, times, seconds):
    with pytest.raises(ValueError, match="invalid fault order"):
        MockOpenE().fail(fault, times=times, seconds=seconds)


def test_clear_removes_ordered_faults():
    mock = MockOpenE()
    mock.fail("Http500", times=5)
    mock.clear()
    assert send(mock, add_message()).status == 200


EXTERNAL = "http://open-e.test/external/api/callback"


def post(url=EXTERNAL, body=None, timeout=(1, 1)):
    return requests.post(url, body or add_message().encode(), headers={"Content-Type": UTF8}, timeout=timeout)


@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_mock_open_e_fails_as_ordered(fault):
    stored = fault in STORING
    statuses = {"Http200Fault": 200, "Http401": 401, "Http403": 403, "Http404": 404}
    soap_faults = {"FlowInstanceNotFound", "AccessDenied", "NoDetail", "DatabaseTooLong", "Http200Fault"}
    with mock_open_e() as open_e:
        open_e.fail(fault, seconds=40)
        if fault in {"Reset", "AcceptedAnswerLost"}:
            with pytest.raises(requests.ConnectionError):
                post()
        elif fault == "Slow":
            with pytest.raises(requests.ReadTimeout):
                post()
        else:
            response = post()
            assert response.status_code == (200 if stored else statuses.get(fault, 500))
            assert (f"{fault}Fault" in response.text) == (fault in {"FlowInstanceNotFound", "AccessDenied"})
            assert ("<S:Fault" in response.text) == (fault in soap_faults)
        assert len(open_e.messages) == stored
        assert post().status_code == 200
        assert len(open_e.messages) == stored + 1


@pytest.mark.parametrize("timeout", [None, 41, (1, 41), (1, None)])
def test_mock_open_e_raises_a_timeout_at_once_if_the_caller_would_time_out(timeout):
    with mock_open_e() as open_e:
        open_e.fail("Slow", seconds=40)
        assert post(timeout=timeout).status_code == 200


def test_mock_open_e_accepts_bodies_of_every_type():
    with mock_open_e() as open_e:
        for body in [add_message(), add_message().encode(), iter([add_message().encode()])]:
            assert post(body=body).status_code == 200
        assert len(open_e.messages) == 3


def test_mock_open_e_serves_only_the_given_addresses():
    with mock_open_e(url_internal="https://e-arenden.test/api/callback", cases=[7]) as open_e:
        assert post("https://e-arenden.test/api/callback").status_code == 500
        good = add_message("<flowInstanceID>7</flowInstanceID>").encode()
        assert post("https://e-arenden.test/api/callback", good).status_code == 200
        assert open_e.messages[0]["instance"] == "internal"
        with pytest.raises(requests.ConnectionError):
            post("http://open-e.test/internal/api/callback")


def test_mock_open_e_passes_other_addresses_through_if_configured(mock_url):
    with mock_open_e(passthrough=["http://127.0.0.1"]) as open_e:
        assert requests.get(f"{mock_url}/control/messages", timeout=5).json() == []
        assert post(f"{mock_url}/api/callback").status_code == 200
        assert open_e.messages == []


OURS = ("domain", "handlers", "openapi", "oauth2", "open_e", "party_service", "persistence", "budkavle", "delivery")


def test_mock_can_be_imported_next_to_packages_with_our_names(tmp_path):
    for name in (*OURS, "uvicorn", "starlette"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('somebody else lives here')")
    (tmp_path / "mock_open_e").symlink_to(REPOSITORY / "mock_open_e")
    subprocess.run([sys.executable, "-c", "import mock_open_e.names"], cwd=tmp_path, check=True, timeout=60)


@pytest.mark.parametrize(
    "cases", [1068, {1068}, [1068], (1068,), frozenset({1068}), range(1068, 1069), {1068: "x"}.keys()]
)
def test_cases_are_a_number_or_a_collection(cases):
    with mock_open_e(cases=cases) as mock:
        assert [case.number for case in mock.scenario.cases] == [1068]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(
            ("cases", value)
            for value in (True, 0, -1, 1.5, "1068", {"1068"}, {True}, {0}, b"1068", {1068: "x"}, object())
        ),
        *((name, value) for name in ("url_external", "url_internal") for value in (1, "", "x", "http://", "ftp://x/y")),
        *((name, value) for name in ("url_external", "url_internal") for value in (b"http://x/y", "http://[x/y")),
        *(("passthrough", value) for value in ("http://127.0.0.1", 1, [1], {"http://127.0.0.1": 1})),
        *((name, 1) for name in ("username", "password", "scenario", "strict")),
        ("scenario", {"cases": [1068]}),
        ("strict", "yes"),
    ],
)
def test_invalid_option_is_reported_with_the_accepted_values(option, value):
    more = {"username": "u"} if option == "password" else {}
    words = f"invalid options of the mock Open-E: {option} must be .*, not"
    with pytest.raises(TypeError, match=words) as raised, mock_open_e(**{option: value}, **more):
        pass
    assert repr(value) in str(raised.value)


def test_all_invalid_options_are_reported_together():
    words = r"cases must be .*; password must be .*; strict must be .*; password requires username"
    with pytest.raises(TypeError, match=words), mock_open_e(cases="x", password=1, strict=0):
        pass


def test_mock_itself_rejects_invalid_options():
    with pytest.raises(TypeError, match=r"cases must be .*; limits must be"):
        MockOpenE(cases="x", limits=3)


def test_unknown_fault_is_reported_with_the_known_names(mock):
    with pytest.raises(ValueError, match="fault must be one of ") as raised:
        mock.fail("Nope")
    assert all(name in str(raised.value) for name in (*FAULT_NAMES, "'Nope'"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("times", value) for value in (0, -1, 1.5, "1", True)),
        *(("seconds", value) for value in (-1, "1", None, True, float("nan"))),
        *(("every", value) for value in (0, 1.5, "1", None, True)),
        *(("operation", value) for value in ("nope", 1, ["addMessage"])),
        *(("case", value) for value in ("1068", 1.5, True, {1068})),
        *(("instance", value) for value in ("both", 1, ["external"])),
    ],
)
def test_invalid_option_of_a_fault_is_reported_with_the_accepted_values(mock, option, value):
    with pytest.raises(ValueError, match=f"invalid fault order: {option} must be .*, not ") as raised:
        mock.fail("Http500", **{option: value})
    assert repr(value) in str(raised.value)


def test_all_invalid_options_of_a_fault_are_reported_together(mock):
    with pytest.raises(ValueError, match=r"fault must be .*; times must be .*; instance must be"):
        mock.fail("Nope", times=0, instance="x")
