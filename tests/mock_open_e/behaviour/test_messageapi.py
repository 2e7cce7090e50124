"""Read back messages and files."""

import hashlib
from datetime import UTC, datetime

import pytest
import requests
from lxml import etree

from mock_open_e import FAULT_NAMES, STORING, DeclaredCase, Family, Limits, MockOpenE, Scenario, User, mock_open_e
from tests.mock_open_e.soap import FILE, add_message, build_request, build_request_with_file, send

HEAD = '<?xml version="1.0" encoding="ISO-8859-1" standalone="no"?>'
NOW = datetime(2026, 2, 19, 8, 0, tzinfo=UTC)
SCENARIO = Scenario(
    users=(User("joe01doe", "Joe", "Doe", number=2),),
    families=(Family(7),),
    cases=(DeclaredCase(1068, 7), DeclaredCase(1069)),
)


@pytest.fixture
def mock():
    return MockOpenE(scenario=SCENARIO, clock=lambda: NOW)


def read(mock, path, query="", instance="external", **headers):
    response = mock.read_back(instance, headers, path, query=query)
    return response.status, response.headers["Content-Type"], response.body.decode("latin-1")


def list_numbers(mock, path, query=""):
    status, kind, body = read(mock, path, query)
    assert (status, kind) == (200, "text/xml;charset=ISO-8859-1")
    return [int(each.text) for each in etree.fromstring(body.encode("latin-1")).iter("messageID")]


def test_messages_of_a_case_are_returned_as_clients_have_recorded_them(mock):
    files = f"<attachments>{FILE.replace('>3<', '>489831<')}</attachments>"
    message = f"<added>2026-02-19T07:57:06.123+01:00</added><message>Hej &lt;b&gt; å €</message>{files}"
    send(mock, add_message(message=message, rest="<principal><userID>joe01doe</userID></principal>"))
    expected = (
        f"{HEAD}<Messages><ExternalMessage><postedByManager>true</postedByManager><systemMessage>false</systemMessage>"
        "<readReceiptEnabled>false</readReceiptEnabled><messageID>1</messageID><message>Hej &lt;b&gt; å &#8364;"
        "</message><attachments><ExternalMessageAttachment><attachmentID>1</attachmentID><filename>test.pdf</filename>"
        "<size>489831</size><added>2026-02-19 08:00</added><FormatedSize>478 KB</FormatedSize>"
        "</ExternalMessageAttachment></attachments><poster><userID>2</userID><username>joe01doe</username>"
        "<firstname>Joe</firstname><lastname>Doe</lastname><admin>false</admin><enabled>true</enabled>"
        "<isMutable>true</isMutable><hasFormProvider>true</hasFormProvider></poster><added>2026-02-19 07:57</added>"
        "<flowInstanceID>1068</flowInstanceID></ExternalMessage></Messages>"
    )
    assert read(mock, "getmessages/flowinstance/1068") == (200, "text/xml;charset=ISO-8859-1", expected)
    assert read(mock, "getmessage/1")[2] == expected
    assert read(mock, "getattachment/1") == (200, "application/pdf", "hej")


def test_messages_are_found_by_case_family_and_date(mock):
    for number, minute in enumerate(["10:00", "10:01", "11:00"]):
        mock.plant(1068 if number < 2 else 1069, "Hej", added=f"2026-02-19T{minute}:59")
    assert list_numbers(mock, "getmessages/flowinstance/1068") == [1, 2]
    assert list_numbers(mock, "getmessages/flowinstance/1069", "fromDate=&toDate=") == [3]
    assert list_numbers(mock, "getmessages/family/7") == [1, 2]
    assert list_numbers(mock, "getmessages/7", "fromdate=2026-02-19+10%3A01&todate=2026-02-19+11%3A00") == [2]
    assert list_numbers(mock, "getmessages/family/7", "toDate=2026-02-19%2010:00") == [1]
    assert list_numbers(mock, "getmessage/3") == [3]


def test_nothing_found_is_an_empty_list(mock):
    assert read(mock, "getmessages/flowinstance/1") == (200, "text/xml;charset=ISO-8859-1", f"{HEAD}<Messages />")


def test_planted_messages_are_the_citizens_and_internal_ones_are_not_returned(mock):
    planted = mock.plant(1068, "Fråga", files=[("a.txt", b"abc")])
    send(
        mock,
        build_request(add_message().split("<Body>")[1].split("</Body>")[0].replace("addMessage", "addInternalMessage")),
    )
    body = read(mock, "getmessages/flowinstance/1068")[2]
    assert body.count("<ExternalMessage>") == 1
    assert "<postedByManager>false</postedByManager>" in body
    assert "<poster>" not in body
    assert (planted.message_id, planted.origin, planted.kind) == (1, "planted", "owner")
    assert read(mock, "getattachment/1") == (200, "text/plain", "abc")
    assert mock.messages == []
    assert len(mock.list_messages()) == 2


def test_messages_sent_as_the_owner_are_the_citizens(mock):
    send(mock, add_message().replace("addMessage", "addMessageAsOwner"))
    assert "<postedByManager>false" in read(mock, "getmessage/1")[2]
    assert [message["messageID"] for message in mock.messages] == [1]


def test_plant_refuses_invalid_values(mock):
    with pytest.raises(LookupError, match="no case 7"):
        mock.plant(7, "Hej")
    with pytest.raises(ValueError, match="xs:dateTime"):
        mock.plant(1068, "Hej", added="i dag")


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("getmessages/family/x", "", 404),
        ("getmessages", "", 404),
        ("getattachment/9", "", 404),
        ("other/1", "", 404),
        ("getmessages/family/7", "fromDate=2026-02-30 10:00", 400),
        ("getmessages/family/7", "fromDate=2026-02-03", 400),
    ],
)
def test_unknown_objects_are_a_page_and_the_journal_has_the_reason(mock, path, query, status):
    assert read(mock, path, query)[:2] == (status, "text/html;charset=ISO-8859-1")
    assert mock.list_calls()[0].refusal.accepted


def test_instances_are_read_separately_and_require_credentials():
    mock = MockOpenE(username="u", password="p")
    mock.plant(1, "Hej", instance="internal")
    assert read(mock, "getmessages/flowinstance/1", instance="internal")[0] == 401
    good = {"authorization": "Basic dTpw"}
    assert "1000001" in read(mock, "getmessages/flowinstance/1", instance="internal", **good)[2]
    assert "<Messages />" in read(mock, "getmessages/flowinstance/1", **good)[2]


def test_files_that_are_no_longer_stored_are_missing():
    mock = MockOpenE(limits=Limits(file_bytes=2))
    send(mock, build_request_with_file(FILE))
    assert read(mock, "getattachment/1")[0] == 404
    assert hashlib.sha256(b"hej").hexdigest() == mock.messages[0]["attachments"][0]["sha256"]


def test_faults_apply_to_the_messageapi_only_if_they_name_it(mock):
    mock.fail("Http500")
    assert read(mock, "getmessages/flowinstance/1068")[0] == 200
    mock.clear_faults()
    mock.fail("Http403", operation="messageapi", case=1068)
    assert read(mock, "getmessages/flowinstance/1069")[0] == 200
    assert read(mock, "getmessages/flowinstance/1068")[0] == 403


@pytest.mark.parametrize("fault", FAULT_NAMES)
def test_each_fault_of_the_messageapi_occurs_at_every_interface(fault, run_mock):
    """Slow and SlowBytes are the normal response; the others are no list of messages, or one that needs tolerance."""
    with mock_open_e() as open_e:
        in_process = responses_with_fault(open_e, fault, "http://open-e.test/external/api", seconds=40)
    mock = MockOpenE()
    with run_mock(mock) as url:
        over_a_port = responses_with_fault(mock, fault, f"{url}/external/api", seconds=0.5)
    if fault == "Slow":
        assert in_process == ["ReadTimeout", 200]
        assert over_a_port == ["ReadTimeout", 200]
    elif fault in {"Reset", "AcceptedAnswerLost"}:
        assert in_process == over_a_port == ["ConnectionError", 200]
    else:
        statuses = {"Http401": 401, "Http403": 403, "Http404": 404}
        expected = 200 if fault in STORING or fault == "Http200Fault" else statuses.get(fault, 500)
        assert in_process == over_a_port == [expected, 200]


def responses_with_fault(mock, fault, base, seconds):
    """Return the statuses or errors of two calls of the messageapi, of which the first has the fault."""
    mock.plant(1068, "Hej")
    mock.fail(fault, operation="messageapi", seconds=seconds)
    found = []
    for timeout in (0.2 if fault == "Slow" else 30, 30):
        try:
            response = requests.get(f"{base}/messageapi/getmessages/flowinstance/1068", timeout=timeout)
        except (requests.ReadTimeout, requests.ConnectionError) as exc:
            found.append(type(exc).__name__)
        else:
            found.append(response.status_code)
            is_list = response.text.endswith("</Messages>")
            has_list = fault in {"Slow", "SlowBytes", "WrongCharset"}
            assert is_list == (len(found) == 2 or has_list), response.text
    assert [call.fault for call in mock.list_calls()] == [fault, None]
    return found


@pytest.mark.parametrize("url", ["http://open-e.test/external/api", "http://open-e.test/internal/api"])
def test_mock_open_e_serves_the_messageapi_next_to_the_callback(url):
    with mock_open_e() as open_e:
        instance = "external" if "external" in url else "internal"
        message = open_e.plant(1068, "Hej", instance=instance, files=[("a.bin", bytes(range(256)))])
        response = requests.get(f"{url}/messageapi/getmessages/flowinstance/1068?fromDate=", timeout=5)
        assert f"<messageID>{message.message_id}<" in response.text
        number = message.files[0].attachment_id
        assert requests.get(f"{url}/messageapi/getattachment/{number}", timeout=5).content == bytes(range(256))


def test_server_serves_the_messageapi_next_to_the_callback(run_mock):
    mock = MockOpenE()
    mock.plant(1068, "Hej", files=[("a.txt", b"abc")])
    with run_mock(mock) as url:
        for base in (f"{url}/external/api", f"{url}/api"):
            response = requests.get(f"{base}/messageapi/getmessages/flowinstance/1068", timeout=5)
            assert "<messageID>1<" in response.text
            assert requests.get(f"{base}/messageapi/getattachment/1", timeout=5).content == b"abc"
