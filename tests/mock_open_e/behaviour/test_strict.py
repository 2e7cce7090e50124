"""Input that Open-E silently ignores: accepted and noted, or in strict mode rejected with the reason."""

import pytest

from mock_open_e import MockOpenE, Scenario, User
from tests.mock_open_e.soap import FILE, GOOD, NS, add_message, build_request, send

SENDER = "<principal><userID>joe01doe</userID></principal>"
ATTACHMENTS = f"<attachments>{FILE}</attachments>"
DATE = "<added>2026-02-19T07:57:06</added>"
HEJ = "<message>Hej</message>"

SWALLOWED = {
    "a number beyond 32 bits": (
        add_message("<flowInstanceID>4294968364</flowInstanceID>", rest=SENDER),
        "flowInstanceID '4294968364' is not a 32-bit integer; Open-E wraps it, so it may identify another case.",
    ),
    "a number without end": (
        add_message(f"<flowInstanceID>{'0' * 6000}1068</flowInstanceID>", rest=SENDER),
        "is not a 32-bit integer",
    ),
    "both ids": (
        add_message("<flowInstanceID>1068</flowInstanceID><externalID><ID>1</ID><System>s</System></externalID>"),
        "Schema violation: Element 'externalID': This element is not expected.",
    ),
    "no namespace": (
        add_message(message=f'{DATE}<userID xmlns="">a</userID>{HEJ}', rest=SENDER),
        "'userID' has no namespace, so Open-E ignores it.",
    ),
    "another namespace": (
        add_message(message=f'{DATE}<b xmlns="urn:x"/>{HEJ}', rest=SENDER),
        "'b' is in the namespace 'urn:x' instead of the callback's, so Open-E ignores it.",
    ),
    "an unknown element": (
        add_message(message=f"{DATE}{HEJ}<extra/>", rest=SENDER),
        "Schema violation: Element 'extra': This element is not expected.",
    ),
    "another sequence": (
        add_message(message=f"{HEJ}{DATE}", rest=SENDER),
        "Schema violation: Element 'message': This element is not expected. Expected is ( added ).",
    ),
    "a date alone": (
        add_message(message=f"<added>2026-02-19</added>{HEJ}", rest=SENDER),
        "'2026-02-19' is not a valid value of the atomic type 'xs:dateTime'",
    ),
    "a tag in the text": (
        add_message(message=f"{DATE}<message>hej <b>fet</b> slut</message>", rest=SENDER),
        "Element 'message': Element content is not allowed",
    ),
    "no sender": (
        add_message(),
        "The request has no principal, so the message has no named sender, whichever account calls.",
    ),
    "an unknown sender": (
        add_message(rest="<principal><userID>nobody</userID></principal>"),
        "principal/userID 'nobody' is not a known user",
    ),
    "a wrong size": (
        add_message(message=f"{DATE}{ATTACHMENTS.replace('>3<', '>9<')}{HEJ}", rest=SENDER),
        "The file 'test.pdf' has 3 bytes, but its declared size is '9'.",
    ),
    "a second operation": (
        add_message(rest=SENDER).replace("</Body>", f'<addMessage xmlns="{NS}"/></Body>'),
        "The body contains a second element, which Open-E ignores.",
    ),
}


def create_mocks():
    scenario = Scenario(users=(User("joe01doe"),))
    return MockOpenE(scenario=scenario), MockOpenE(scenario=scenario, strict=True)


@pytest.mark.parametrize("name", SWALLOWED)
def test_ignored_input_is_noted_and_rejected_in_strict_mode_with_the_reason(name):
    body, reason = SWALLOWED[name]
    lenient, strict = create_mocks()
    assert send(lenient, body).status == 200
    (call,) = lenient.list_calls()
    assert call.refusal is None
    assert any(reason in note for note in call.notes)
    response = send(strict, body)
    assert response.status == 500
    text = response.body.decode().replace("&lt;", "<")
    assert "<faultcode>S:Client</faultcode><faultstring>Rejected in strict mode: " in text
    assert reason in text
    assert strict.messages == []
    assert reason in strict.list_calls()[0].refusal.received


@pytest.mark.parametrize("charset", ["ISO-8859-1", "windows-1252"])
def test_wrongly_declared_charset_is_mojibake_and_rejected_in_strict_mode(charset):
    lenient, strict = create_mocks()
    body = add_message(message=f"{DATE}<message>Räksmörgås på ÅÄÖ</message>", rest=SENDER)
    assert send(lenient, body, f"text/xml; charset={charset}").status == 200
    assert lenient.messages[0]["message"].startswith("RÃ¤ksmÃ¶rgÃ¥s")
    response = send(strict, body, f"text/xml; charset={charset}")
    assert f"the bytes are UTF-8, but they were sent as {charset}".encode() in response.body
    assert send(strict, body.encode("latin-1"), f"text/xml; charset={charset}").status == 200


@pytest.mark.parametrize(
    "message",
    [
        DATE + HEJ,
        DATE + ATTACHMENTS + HEJ,
        f"{DATE}{HEJ}<userID/><readReceiptEnabled>true</readReceiptEnabled>",
        f"{DATE}{HEJ}<readReceiptEnabled>true</readReceiptEnabled><userID/>",
        f"{DATE}<message>Ã är en bokstav, « och » är tecken</message><userID/>",
        GOOD,
    ],
)
def test_strict_mode_accepts_every_published_edition_of_a_message(message):
    _, strict = create_mocks()
    assert send(strict, add_message(message=message, rest=SENDER)).status == 200
    assert strict.list_calls()[0].notes == ()


def test_strict_mode_reports_a_bounded_number_of_reasons():
    _, strict = create_mocks()
    many = "".join(f'<a{number} xmlns=""/>' for number in range(1000))
    response = send(strict, add_message(rest=many))
    assert response.body.count(b"has no namespace") == 20
    assert len(response.body) < 5000


def test_strict_mode_does_not_change_open_es_own_faults():
    _, strict = create_mocks()
    assert b"Cannot find dispatch method for {urn:x}y" in send(strict, build_request('<y xmlns="urn:x"/>')).body
    assert b"XML reader error" in send(strict, add_message()[:-40]).body
