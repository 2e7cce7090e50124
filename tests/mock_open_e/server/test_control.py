import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from mock_open_e import FAULT_NAMES, STORING, MockOpenE
from mock_open_e.behaviour.scenario import Scenario, User
from tests.mock_open_e.posting import post
from tests.mock_servers import running_mock

FILE = "<attachments><encodedData>aGVq</encodedData><filename>å/b.pdf</filename><size>3</size></attachments>"
SHA = hashlib.sha256(b"hej").hexdigest()


@pytest.fixture
def url() -> Iterator[str]:
    scenario = Scenario(users=(User("joe01doe", "Joe", "Doe"),))
    with running_mock(MockOpenE(cases={7, 1068}, scenario=scenario)) as url:
        yield url


def get(url, path, status=200, **query):
    response = requests.get(f"{url}/control/{path}", params=query, timeout=20)
    assert response.status_code == status, response.text
    return response.json()


def send(url, path, status, method="POST", **body):
    response = requests.request(method, f"{url}/control/{path}", json=body or None, timeout=20)
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def test_expect_returns_existing_messages(url):
    for text in ("one", "two"):
        post(url, text)
    assert [found["message"] for found in get(url, "expect", count=2, timeout=0)["messages"]] == ["one", "two"]
    assert [found["message"] for found in get(url, "expect", text="wo", case=1068, timeout=0)["messages"]] == ["two"]


def test_expect_waits_for_messages(url):
    responses = []
    waiting = threading.Thread(target=lambda: responses.append(get(url, "expect", case=7, timeout=30)))
    waiting.start()
    post(url, "another")
    post(url, "awaited", case=7)
    waiting.join(20)
    assert [found["message"] for found in responses[0]["messages"]] == ["awaited"]


def test_expect_explains_every_mismatch(url):
    post(url, "Hej")
    post(url, "Hej", instance="internal", operation="addInternalMessage")
    post(url, "Hej", case=8)
    send(url, "cases/external/7/messages", 201, message="Hej")
    response = get(url, "expect", 408, case=7, instance="external", text="Hi", timeout=0)
    assert response["errors"] == ["0 of 1 messages came within 0 seconds"]
    assert response["messages"] == []
    assert [other["because"] for other in response["others"]] == [
        ["the case is 1068, not 7", "the text does not contain 'Hi'"],
        [
            "the case is 1068, not 7",
            "the instance is internal, not external",
            "the text does not contain 'Hi'",
            "the kind is internal, which must be requested explicitly",
        ],
    ]
    (refused,) = response["refused"]
    assert (refused["number"], refused["flowInstanceID"]) == (3, 8)
    assert refused["received"].startswith("the case 8")
    assert refused["accepted"].startswith("a known case, a positive xs:int, in flowInstanceID")


def test_expect_returns_matching_messages_on_timeout(url):
    post(url, "one")
    response = get(url, "expect", 408, count=2, timeout=0)
    assert response["errors"] == ["1 of 2 messages came within 0 seconds"]
    assert [found["message"] for found in response["messages"]] == ["one"]


def test_expect_reports_all_its_faults(url):
    errors = get(url, "expect", 400, count=0, timeout="soon", colour="red")["errors"]
    assert errors == ["unknown parameter 'colour'", "count must be at least 1", "timeout must be an integer"]


def test_fault_is_ordered_for_some_calls_only(url):
    fault = {"fault": "Http500", "times": None, "every": 2, "operation": "addMessage", "flowInstanceID": 7}
    assert send(url, "faults", 201, **fault, instance="external") == fault | {"seconds": 1, "instance": "external"}
    assert get(url, "overview")["faults"] == [fault | {"seconds": 1, "instance": "external"}]
    assert [post(url, case=case).status_code for case in (1068, 7, 7, 7, 7)] == [200, 200, 500, 200, 500]
    assert get(url, "faults") == [fault | {"number": 1, "seconds": 1, "instance": "external", "failed": 2}]
    send(url, "faults", 204, "DELETE")
    assert get(url, "overview")["faults"] == []


def test_one_of_several_faults_is_removed_by_its_number(url):
    orders = [{"fault": "Http500", "flowInstanceID": case} for case in (7, 1068)]
    places = [requests.post(f"{url}/control/faults", json=order, timeout=5).headers["Location"] for order in orders]
    assert places == ["faults/1", "faults/2"]
    send(url, places[0], 204, "DELETE")
    assert [each["number"] for each in get(url, "faults")] == [2]
    assert [post(url, case=case).status_code for case in (7, 1068)] == [200, 500]
    for number in (1, 2):
        errors = send(url, f"faults/{number}", 404, "DELETE")["errors"]
        assert errors == [f"there is no ordered fault {number}, or it is used up"]


def test_each_fault_is_explained(url):
    kinds = {each["fault"]: each for each in get(url, "fault-kinds")}
    assert sorted(kinds) == sorted(FAULT_NAMES)
    assert {name for name, kind in kinds.items() if kind["isStored"]} == STORING
    assert {name for name, kind in kinds.items() if kind["usesSeconds"]} == {"Slow", "SlowBytes"}
    assert all(
        kind["title"] and kind["effect"].endswith(".") and kind["cause"].endswith(".") for kind in kinds.values()
    )


def test_conditions_of_an_instance_are_set_and_returned(url):
    given = {"clockSeconds": -90.5, "timeZone": "Europe/Stockholm", "staleSeconds": 3600, "takenIds": 7}
    ideal = {"clockSeconds": 0, "timeZone": None, "staleSeconds": 0, "takenIds": 0}
    before = get(url, "overview")["revision"]
    assert send(url, "conditions/external", 200, "PUT", **given) == given
    assert get(url, "overview")["revision"] != before
    assert (get(url, "conditions/external"), get(url, "conditions/internal")) == (given, ideal)
    post(url)
    assert [message["messageID"] for message in get(url, "messages")] == [8]
    reading = f"{url}/api/messageapi/getmessages/flowinstance/1068"
    assert "<Messages />" in requests.get(reading, timeout=5).text
    assert send(url, "conditions/external", 200, "PUT", takenIds=1) == ideal | {"takenIds": 1}
    assert "<messageID>8<" in requests.get(reading, timeout=5).text
    send(url, "reset", 204)
    assert get(url, "conditions/external") == ideal


def test_conditions_refuse_invalid_values_with_every_reason(url):
    wrong = {"clockSeconds": 86401, "timeZone": "Europe/Stokholm", "staleSeconds": "1", "takenIds": -1, "more": 1}
    assert sorted(send(url, "conditions/external", 400, "PUT", **wrong)["errors"]) == [
        "clockSeconds must be at most 86400",
        "staleSeconds must be a number",
        "takenIds must be at least 0",
        "timeZone must be an IANA time zone that this machine knows",
        "unknown field 'more'",
    ]
    assert send(url, "conditions/both", 400, "PUT", takenIds=1)["errors"]


def test_case_lists_messages_by_their_declared_time(url):
    post(url, "from staff", files=FILE)
    planted = send(
        url,
        "cases/external/1068/messages",
        201,
        message="from the citizen",
        added="2026-02-18T00:00:00+01:00",
        attachments=[{"filename": "a.txt", "base64Data": "aGVq"}],
    )
    whole = get(url, "cases/external/1068")
    assert [(found["message"], found["kind"], found["sender"]) for found in whole["messages"]] == [
        ("from the citizen", "owner", None),
        ("from staff", "manager", "Joe Doe"),
    ]
    assert whole["messages"][0] == planted
    assert planted["attachments"] == [
        {"attachmentID": 2, "filename": "a.txt", "size": 3, "sha256": SHA, "isKept": True}
    ]
    assert [event["kind"] for event in whole["events"]] == ["message"]
    assert [(case["instance"], case["flowInstanceID"], case["messages"]) for case in get(url, "cases")] == [
        ("external", 7, 0),
        ("external", 1068, 2),
        ("internal", 7, 0),
        ("internal", 1068, 0),
    ]
    assert "from the citizen" in requests.get(f"{url}/api/messageapi/getmessages/flowinstance/1068", timeout=5).text


def test_plant_refuses_invalid_values(url):
    assert send(url, "cases/external/8/messages", 404, message="x")["errors"] == ["the external instance has no case 8"]
    assert (
        "added" in send(url, "cases/external/7/messages", 400, message="x", added="2026-02-30T00:00:00Z")["errors"][0]
    )
    assert get(url, "cases/external/8", 404)["errors"]
    bad = [{"filename": "a", "base64Data": "a"}]
    assert "base64Data" in send(url, "cases/external/7/messages", 400, message="x", attachments=bad)["errors"][0]
    for number in ("x", "0", "2147483648", "9" * 5000):
        assert requests.get(f"{url}/control/cases/external/{number}", timeout=5).status_code == 400


def test_journal_explains_rejections_and_has_the_raw_xml(url):
    post(url, "Hej", files=FILE, auth=("u", "secret"))
    post(url, "Hej <å>", case=8, files=FILE)
    accepted, refused = get(url, "journal")
    assert (accepted["status"], accepted["refusal"], accepted["messageID"]) == (200, None, 1)
    assert (refused["status"], refused["operation"], refused["flowInstanceID"]) == (500, "addMessage", 8)
    assert refused["files"] == [{"filename": "å/b.pdf", "size": 3, "sha256": SHA, "isKept": True}]
    assert (
        get(url, "journal", refused="true") == get(url, "journal", after=1) == get(url, "journal", limit=1) == [refused]
    )
    whole = get(url, "journal/2")
    assert whole["call"] == refused
    assert "Hej &lt;å&gt;" in whole["request"]["text"]
    assert "was not found" in whole["answer"]["text"]
    assert get(url, "journal/1")["request"]["headers"]["authorization"] == "***"
    send(url, "journal", 204, "DELETE")
    assert get(url, "journal") == []
    assert get(url, "journal/2", 404)["errors"] == ["there is no call 2 in the journal, or it is no longer stored"]


def test_journal_shows_any_charset(url):
    for charset in ("utf-7", "no-such", "rot13", "unicode_escape", "iso-8859-1"):
        requests.post(
            f"{url}/api/callback",
            b"\\ud800 +2AA- \xe5",
            headers={"Content-Type": f"text/xml; charset={charset}"},
            timeout=5,
        )
    assert get(url, "journal/5")["request"]["text"] == "\\ud800 +2AA- å"
    assert all(get(url, f"journal/{number}")["call"]["number"] == number for number in range(1, 6))


def test_file_is_sent_as_a_download(url):
    post(url, files=FILE, case=8)
    response = requests.get(f"{url}/control/files/{SHA}", {"name": "å/<b>.html"}, timeout=5)
    assert (response.content, response.headers["Content-Type"]) == (b"hej", "application/octet-stream")
    assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A5%2F%3Cb%3E.html"
    assert response.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert get(url, f"files/{'0' * 64}", 404)["errors"]
    assert get(url, "files/x", 400)["errors"]


def test_overview_waits_for_a_change_such_as_reset(url):
    post(url)
    before = get(url, "overview")
    assert (before["messages"], before["calls"], before["refused"]) == (1, 1, 0)
    assert get(url, "overview", since=before["revision"], timeout=0) == before
    responses = []
    waiting = threading.Thread(
        target=lambda: responses.append(get(url, "overview", since=before["revision"], timeout=30))
    )
    waiting.start()
    send(url, "reset", 204)
    waiting.join(20)
    assert (responses[0]["messages"], responses[0]["calls"]) == (0, 0)


def test_control_accepts_json_of_any_media_type_and_head(url):
    order = b'{"fault": "Http500"}'
    for media_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        headers = {"Content-Type": media_type}
        assert requests.post(f"{url}/control/faults", order, headers=headers, timeout=5).status_code == 201
    assert requests.head(f"{url}/control/overview", timeout=5).status_code == 200


def test_contract_lists_the_existing_faults() -> None:
    import yaml

    from mock_open_e import OPERATION_NAMES
    from mock_open_e.server.specs import find_spec_dir

    spec = yaml.safe_load(Path(find_spec_dir() / "mock-open-e.yaml").read_text())
    order = spec["components"]["schemas"]["FaultOrder"]["properties"]
    assert tuple(order["fault"]["enum"]) == FAULT_NAMES, "FaultOrder.fault in spec/mock-open-e.yaml"
    assert tuple(order["operation"]["enum"]) == OPERATION_NAMES, "FaultOrder.operation in spec/mock-open-e.yaml"
