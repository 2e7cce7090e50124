"""The journal of the mock: calls and the reasons of rejections, within limits."""

import base64
from datetime import UTC, datetime

import pytest

from mock_open_e import Limits, MockOpenE, Scenario
from tests.mock_open_e.soap import FILE, GOOD, UTF8, add_message, build_request, build_request_with_file, send

NOW = datetime(2026, 2, 19, 8, 0, tzinfo=UTC)


def test_call_is_recorded_without_credentials():
    mock = MockOpenE(username="u", password="hemligt", clock=lambda: NOW)
    secret = "Basic " + base64.b64encode(b"u:hemligt").decode()
    body = build_request_with_file(FILE).replace(
        "</addMessage>", "<principal><userID>joe</userID></principal></addMessage>"
    )
    response = send(mock, body, authorization=secret, cookie="a=b")
    (call,) = mock.list_calls()
    assert (call.number, call.at, call.instance, call.method) == (1, NOW, "external", "POST")
    assert call.headers == {"content-type": UTF8, "authorization": "***", "cookie": "***"}
    assert (call.body, call.body_size) == (body.encode(), len(body.encode()))
    assert (call.response, call.response_size) == (response, len(response.body))
    assert (call.operation, call.case, call.user_id, call.message_id) == ("addMessage", 1068, "joe", 1)
    assert [(file.filename, file.size) for file in call.files] == [("test.pdf", 3)]
    assert mock.file(call.files[0].sha256) == b"hej"
    assert (call.refusal, call.fault) == (None, None)


REFUSED = [
    (add_message("<flowInstanceID>7</flowInstanceID>"), "the case 7, which is not known here"),
    (add_message("<flowInstanceID>x1</flowInstanceID>"), "flowInstanceID 'x1', which is not a number"),
    (add_message('<flowInstanceID xmlns="">1</flowInstanceID>'), "no flowInstanceID in the callback's namespace"),
    (add_message(message="<added>2026-01-01 12:00</added>"), "added '2026-01-01 12:00', which is not an xs:dateTime"),
    (build_request_with_file(FILE.replace("aGVq", "*")), "encodedData that is not base64"),
    (build_request_with_file(FILE.replace(">3<", ">0<")), "the size '0'"),
    (build_request('<y xmlns="urn:x"/>'), "the element '{urn:x}y' in the body"),
    (build_request(""), "an empty body"),
    ("Hej", "a body that is not a SOAP envelope: "),
    (add_message()[:-40], "XML that cannot be parsed: "),
    (add_message().replace("soap.org/soap", "other"), "an Envelope in the namespace "),
]


@pytest.mark.parametrize(("body", "received"), REFUSED)
def test_rejected_call_is_recorded_with_received_and_accepted_input(body, received):
    mock = MockOpenE(cases={1068})
    send(mock, body)
    refusal = mock.list_calls()[0].refusal
    assert refusal.received.startswith(received)
    assert len(refusal.accepted) > 10


@pytest.mark.parametrize(
    "body",
    [
        build_request('<addMessage xmlns="urn:x"/>'),
        add_message('<flowInstanceID xmlns="">1068</flowInstanceID>'),
        add_message().replace("<message>", '<message xmlns="">', 1),
    ],
)
def test_refusal_of_a_wrong_namespace_names_the_accepted_one(body):
    mock = MockOpenE(cases={1068})
    send(mock, body)
    assert "http://www.oeplatform.org/version/1.0/schemas/integration/callback" in mock.list_calls()[0].refusal.accepted


def test_rejections_by_http_are_explained_too():
    mock = MockOpenE(username="u", password="p")
    send(mock, add_message())
    send(mock, add_message(), "application/json", authorization="Basic dTpw")
    mock.respond("external", {"authorization": "Basic dTpw"}, method="DELETE")
    assert [(call.response.status, call.refusal.received) for call in mock.list_calls()] == [
        (401, "missing or invalid credentials"),
        (415, "Content-Type 'application/json'"),
        (405, "the method DELETE"),
    ]


def test_ordered_fault_is_recorded():
    mock = MockOpenE()
    mock.fail("Http403")
    mock.fail("TruncatedXml")
    for _ in range(2):
        send(mock, add_message())
    first, second = mock.list_calls()
    assert (first.fault, first.refusal.received) == (
        "Http403",
        "an acceptable call, which failed because a fault was ordered",
    )
    assert (second.fault, second.refusal, second.message_id) == ("TruncatedXml", None, 1)


def test_files_of_rejected_calls_are_stored_too():
    mock = MockOpenE(cases={1})
    send(mock, build_request_with_file(FILE))
    assert mock.file(mock.list_calls()[0].files[0].sha256) == b"hej"


def test_journal_is_bounded_by_count_and_by_bytes():
    mock = MockOpenE(limits=Limits(journal_entries=3))
    for _ in range(5):
        send(mock, add_message())
    assert [call.number for call in mock.list_calls()] == [3, 4, 5]
    mock = MockOpenE(limits=Limits(journal_bytes=3000, journal_entry_bytes=1000))
    for _ in range(5):
        send(mock, add_message(message=GOOD.replace("Hej", "x" * 5000)))
    assert 1 <= len(mock.list_calls()) <= 2
    assert (len(mock.list_calls()[0].body), mock.list_calls()[0].body_size > 5000) == (1000, True)
    mock.clear_calls()
    send(mock, add_message())
    assert [call.number for call in mock.list_calls()] == [6]


def test_messages_and_files_are_bounded_and_the_oldest_are_removed():
    mock = MockOpenE(limits=Limits(messages=3, file_bytes=4))
    for number in range(5):
        data = base64.b64encode(f"{number:03}".encode()).decode()
        send(mock, build_request_with_file(FILE.replace("aGVq", data)))
    assert [each["messageID"] for each in mock.messages] == [3, 4, 5]
    contents = [mock.file(each["attachments"][0]["sha256"]) for each in mock.messages]
    assert contents == [None, None, b"004"]
    mock = MockOpenE(limits=Limits(text_bytes=1000))
    for letter in "abc":
        send(mock, add_message(message=f"<added>2026-01-01</added><message>{letter * 600}</message>"))
    assert [each["message"][0] for each in mock.messages] == ["c"]


def test_copy_of_a_removed_message_is_no_duplicate():
    mock = MockOpenE(limits=Limits(messages=1))
    for _ in range(2):
        send(mock, add_message())
    send(mock, add_message(message=GOOD.replace("Hej", "Nej")))
    send(mock, add_message())
    assert [each.duplicate_of for each in mock.list_messages()] == [None]


def test_watchers_are_notified_of_changes_until_they_stop():
    counts = []
    mock = MockOpenE()
    stop = mock.watch(lambda: counts.append(len(mock.list_calls())))
    send(mock, add_message())
    mock.fail("Reset")
    stop()
    send(mock, add_message())
    assert counts == [1, 1]


def test_reset_restores_the_initial_state():
    mock = MockOpenE(scenario=Scenario())
    mock.fail("Reset", times=5)
    mock.plant(1, "Hej", files=[("a", b"b")])
    sha256 = mock.list_messages()[0].files[0].content.sha256
    mock.reset()
    assert (mock.list_messages(), mock.list_calls(), mock.list_faults(), mock.file(sha256)) == ([], [], [], None)
    assert b"<messageID>1<" in send(mock, add_message()).body


def test_long_names_in_rejected_calls_do_not_grow_the_journal():
    mock = MockOpenE(cases={1}, limits=Limits(journal_bytes=100_000, journal_entry_bytes=1000))
    name = "a" * 60_000
    for body in [
        build_request(f"<{name}/>"),
        build_request_with_file(FILE.replace("test.pdf", name)),
        build_request(f"<{name}/>"),
    ]:
        send(mock, body)
    assert len(mock.list_calls()) == 1


def test_history_is_bounded_by_its_text():
    mock = MockOpenE(limits=Limits(text_bytes=1000))
    ns = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"
    for letter in "abc":
        event = f"<flowInstanceID>1</flowInstanceID><date>2026-01-01</date><message>{letter * 600}</message>"
        send(mock, build_request(f'<addEvent xmlns="{ns}">{event}</addEvent>'))
    assert [event.text[0] for event in mock.list_events()] == ["c"]
