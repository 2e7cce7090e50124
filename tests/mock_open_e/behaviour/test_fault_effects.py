"""Ordered faults: the affected calls, and their responses."""

import pytest
from lxml import etree

from mock_open_e import FAULT_NAMES, STORING, MockOpenE, Order, Scenario
from tests.mock_open_e.soap import add_message, build_fault, build_request, send

STATUS = build_request(
    '<setStatus xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback">'
    "<flowInstanceID>1068</flowInstanceID><statusID>5</statusID></setStatus>"
)
CASE_7 = add_message("<flowInstanceID>7</flowInstanceID>")


def find_failed_calls(mock, *calls):
    """Return which of the calls fail."""
    found = []
    for number, (body, instance) in enumerate(calls):
        if send(mock, body, instance=instance).status != 200:
            found.append(number)
    return found


CALLS = [(add_message(), "external"), (STATUS, "external"), (CASE_7, "external"), (add_message(), "internal")] * 2


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ({}, [0]),
        ({"times": 3}, [0, 1, 2]),
        ({"times": None}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"every": 3}, [2]),
        ({"every": 3, "times": None}, [2, 5]),
        ({"operation": "setStatus"}, [1]),
        ({"case": 7, "times": None}, [2, 6]),
        ({"instance": "internal", "times": None}, [3, 7]),
        ({"operation": "addMessage", "case": 1068, "instance": "external", "times": None, "every": 2}, [4]),
        ({"operation": "messageapi", "times": None}, []),
    ],
)
def test_order_applies_to_matching_calls(order, expected):
    mock = MockOpenE()
    mock.fail("Http500", **order)
    assert find_failed_calls(mock, *CALLS) == expected
    assert MockOpenE(scenario=Scenario(faults=(Order("Http500", **order),))).list_faults()[0].fault == "Http500"


def test_later_orders_wait_for_a_due_one():
    mock = MockOpenE()
    mock.fail("Http500", times=2)
    mock.fail("Http404", every=2, times=None)
    statuses = [send(mock, add_message()).status for _ in range(6)]
    assert statuses == [500, 500, 200, 404, 200, 404]
    assert [(each.fault, each.times) for each in mock.list_faults()] == [("Http404", None)]


@pytest.mark.parametrize("wrong", [{"fault": "Nonsense"}, {"every": 0}, {"operation": "addMesage"}, {"times": 0}])
def test_invalid_order_is_refused(wrong):
    with pytest.raises(ValueError, match="invalid fault order"):
        MockOpenE().fail(**{"fault": "Slow", **wrong})


def test_remaining_count_of_an_order_is_returned():
    mock = MockOpenE()
    mock.fail("Http500", times=3)
    send(mock, add_message())
    assert [each.times for each in mock.list_faults()] == [2]


def request_with_fault(name, seconds=2.0):
    mock = MockOpenE()
    mock.fail(name, seconds=seconds)
    return mock, send(mock, add_message())


@pytest.mark.parametrize("name", FAULT_NAMES)
def test_fault_stores_the_message_or_not(name):
    mock, _ = request_with_fault(name)
    assert len(mock.messages) == (name in STORING)


def test_truncated_xml_cannot_be_parsed():
    _, cut = request_with_fault("TruncatedXml")
    assert (cut.status, cut.headers) == (200, {"Content-Type": "text/xml; charset=utf-8"})
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(cut.body)


def test_wrong_charset_is_not_the_declared_utf_8():
    _, wrong = request_with_fault("WrongCharset")
    assert (wrong.status, wrong.headers) == (200, {"Content-Type": "text/xml; charset=utf-8"})
    with pytest.raises(UnicodeDecodeError):
        wrong.body.decode()
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(wrong.body)


def test_slow_bytes_are_the_normal_response_sent_slowly():
    _, slow = request_with_fault("SlowBytes")
    assert (slow.status, slow.trickle, slow.delay) == (200, 2.0, 0.0)
    assert slow.body == send(MockOpenE(), add_message()).body


def test_fault_with_http_200_has_the_text_of_the_recorded_stubs():
    _, stub = request_with_fault("Http200Fault")
    expected = build_fault("The requested flow instance was not found", detail="FlowInstanceNotFoundFault")
    assert (stub.status, stub.body.decode()) == (200, expected)


@pytest.mark.parametrize(("name", "status"), [("Http401", 401), ("Http403", 403), ("Http404", 404)])
def test_pages_of_http_are_not_soap(name, status):
    _, page = request_with_fault(name)
    assert page.status == status
    assert b"Envelope" not in page.body
    assert ("WWW-Authenticate" in page.headers) == (status == 401)
    assert page.headers["Content-Type"] == ("text/plain" if status == 401 else "text/html;charset=ISO-8859-1")


def test_database_too_long_is_a_fault_without_detail():
    _, long = request_with_fault("DatabaseTooLong")
    assert long.body.decode() == build_fault("java.sql.SQLException: Data too long for column 'message' at row 1")
