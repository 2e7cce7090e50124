import base64
from datetime import UTC, datetime, timedelta, timezone

import pytest
from lxml import etree

from domain.web_messages import WebMessage
from open_e.envelopes import AddMessageEnvelope, SoapFault, SoapFile, get_operation, parse_response

NS = "http://www.oeplatform.org/version/1.0/schemas/integration/callback"
ADDED = datetime(2026, 2, 19, 7, 57, 6, 123_456, timezone(timedelta(hours=1)))


def build_envelope(text="Hej", files=(), user_id=None, added=ADDED):
    return AddMessageEnvelope(flow_instance_id=356434, text=text, added=added, files=files, user_id=user_id)


def wrap_response(body):
    return (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body>{body}</S:Body></S:Envelope>'
    ).encode()


def build_fault(code="S:Server", text="It went wrong", detail=""):
    return wrap_response(
        '<S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope">'
        f"<faultcode>{code}</faultcode><faultstring>{text}</faultstring>{detail}</S:Fault>"
    )


def test_add_message_envelope_equals_that_of_other_clients():
    sent = b"".join(build_envelope("Hej <b> åäö\nrad 2", [SoapFile("test.pdf", b"hej")], "joe01doe"))
    assert (
        sent
        == (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
            f'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" xmlns:ns2="{NS}"><Body><ns2:addMessage>'
            "<ns2:flowInstanceID>356434</ns2:flowInstanceID><ns2:message>"
            "<ns2:added>2026-02-19T07:57:06.123+01:00</ns2:added>"
            "<ns2:attachments><ns2:encodedData>aGVq</ns2:encodedData><ns2:filename>test.pdf</ns2:filename>"
            "<ns2:size>3</ns2:size></ns2:attachments>"
            "<ns2:message>Hej &lt;b&gt; åäö&#13;\nrad 2</ns2:message></ns2:message>"
            "<ns2:principal><ns2:userID>joe01doe</ns2:userID></ns2:principal></ns2:addMessage></Body></Envelope>"
        ).encode()
    )


def test_message_of_the_owner_has_another_element_and_no_citizen():
    message = WebMessage("id", "Hej", (), is_from_owner=True)
    sent = b"".join(
        AddMessageEnvelope(
            flow_instance_id=7, text="Hej", added=ADDED, user_id="joe01doe", operation=get_operation(message)
        )
    )
    root = etree.fromstring(sent)
    [element] = root.iter(f"{{{NS}}}addMessageAsOwner")
    principal = element.find(f"{{{NS}}}principal")
    assert [(etree.QName(each).localname, each.text) for each in principal] == [
        ("userID", "joe01doe"),
        ("citizenID", None),
    ]
    assert principal[1].get("{http://www.w3.org/2001/XMLSchema-instance}nil") == "true"
    answer = f'<addMessageAsOwnerResponse xmlns="{NS}"><messageID>7</messageID></addMessageAsOwnerResponse>'
    assert parse_response(wrap_response(answer)) == 7


def test_message_of_an_owner_without_user_id_names_the_citizen():
    sent = b"".join(
        AddMessageEnvelope(
            flow_instance_id=7,
            text="Hej",
            added=ADDED,
            user_id=None,
            citizen_id="180101300101",
            operation="addMessageAsOwner",
        )
    )
    principal = etree.fromstring(sent).find(f".//{{{NS}}}principal")
    assert [(etree.QName(each).localname, each.text) for each in principal] == [
        ("userID", None),
        ("citizenID", "180101300101"),
    ]
    assert principal[0].get("{http://www.w3.org/2001/XMLSchema-instance}nil") == "true"


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 1_000_000])
def test_add_message_envelope_has_its_length_and_encodes_whole_files(size):
    data = bytes(i * 7 % 256 for i in range(size))
    built = build_envelope(
        "åäö 😀", [SoapFile("å.bin", data), SoapFile("b", bytearray(b"ab")), SoapFile("c", memoryview(b"abcd"))]
    )
    chunks = list(built)
    assert sum(map(len, chunks)) == len(built)
    assert max(map(len, chunks)) < 300_000
    encoded = etree.fromstring(b"".join(chunks)).iter(f"{{{NS}}}encodedData")
    assert [base64.b64decode(element.text or "") for element in encoded] == [data, b"ab", b"abcd"]


def test_add_message_envelope_can_be_sent_twice():
    built = build_envelope(files=[SoapFile("a", b"abc")])
    assert list(built) == list(built)


@pytest.mark.parametrize("text", ["a\r\nb", "a\rb", "a\nb"])
def test_add_message_envelope_preserves_every_line_break(text):
    root = etree.fromstring(b"".join(build_envelope(text)))
    assert root.findtext(f".//{{{NS}}}message/{{{NS}}}message") == "a\r\nb"


def test_add_message_envelope_escapes_file_names_and_users():
    built = build_envelope(files=[SoapFile('<a> & "b" ]]>\r.txt', b"a")], user_id="a&b")
    root = etree.fromstring(b"".join(built))
    assert root.findtext(f".//{{{NS}}}filename") == '<a> & "b" ]]>\r.txt'
    assert root.findtext(f".//{{{NS}}}userID") == "a&b"


def test_add_message_envelope_omits_the_principal_without_a_user():
    assert b"principal" not in b"".join(build_envelope())


def test_add_message_envelope_refuses_a_time_without_offset():
    with pytest.raises(ValueError, match="offset"):
        build_envelope(added=datetime(2026, 1, 1))  # noqa: DTZ001 (the wrong input of this test)


def test_add_message_envelope_writes_utc_with_offset():
    assert b">2026-01-01T00:00:00.000+00:00<" in b"".join(build_envelope(added=datetime(2026, 1, 1, tzinfo=UTC)))


def test_parse_response_returns_the_message_id():
    body = wrap_response(f'<addMessageResponse xmlns="{NS}"><messageID> 151 </messageID></addMessageResponse>')
    assert parse_response(body) == 151


@pytest.mark.parametrize("text", ["", "x", "1.5", "99999999999", "2147483648", "1" * 5000, "\uff11\uff15"])
def test_parse_response_rejects_a_message_id_that_is_not_an_int(text):
    body = wrap_response(f'<addMessageResponse xmlns="{NS}"><messageID>{text}</messageID></addMessageResponse>')
    assert parse_response(body) is None


def test_parse_response_returns_a_declared_fault():
    detail = f'<detail><FlowInstanceNotFoundFault xmlns="{NS}"/></detail>'
    assert parse_response(build_fault(text="Not &lt;found&gt;", detail=detail)) == SoapFault(
        "Server", "Not <found>", ("FlowInstanceNotFoundFault",)
    )


def test_parse_response_returns_a_fault_without_detail():
    assert parse_response(build_fault("S:Client")) == SoapFault("Client", "It went wrong")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"This is not XML",
        b"<html><body>Login</body></html>",
        wrap_response(""),
        wrap_response("<other/>"),
        wrap_response(f'<addMessageResponse xmlns="{NS}"/>'),
        wrap_response("<addMessageResponse><messageID>1</messageID></addMessageResponse>"),
        wrap_response("")[:-5],
        b'<!DOCTYPE x [<!ENTITY a "1">]>'
        + wrap_response(f'<addMessageResponse xmlns="{NS}"><messageID>&a;</messageID></addMessageResponse>')[38:],
        b"<!DOCTYPE x [<!-- -->]>"
        + wrap_response(f'<addMessageResponse xmlns="{NS}"><messageID>1</messageID></addMessageResponse>')[38:],
        b"<?xml version='1.0' encoding='no-such-thing'?><a/>",
        b"\x00\x01\x02",
        b"<a>" * 100_000,
    ],
)
def test_parse_response_rejects_other_responses(body):
    assert parse_response(body) is None
