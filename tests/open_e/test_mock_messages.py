import base64
import hashlib

import pytest

from open_e.mock import MockOpenE
from tests.open_e.soap import FILE, GOOD, NS, SOAP, XSI, add_message, fault, not_found, request, send, with_file


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (add_message("<flowInstanceID>7</flowInstanceID>", "<added>x</added>"), not_found(7)),
        (add_message("<flowInstanceID>-1068</flowInstanceID>"), not_found(-1068)),
        (add_message("<flowInstanceID>99999999999</flowInstanceID>"), not_found(1215752191)),
        (add_message(f"<flowInstanceID>{'9' * 5000}1068</flowInstanceID>"), not_found(-8932)),
        (add_message("<flowInstanceID>x1</flowInstanceID>"), not_found("null")),
        (add_message(""), not_found("null")),
        (add_message('<flowInstanceID xmlns="">1068</flowInstanceID>'), not_found("null")),
        (
            add_message("<externalID><ID>1</ID><System>s</System></externalID>"),
            fault("java.lang.RuntimeException: External ID support not implemented"),
        ),
        (
            request(f'<addMessage xmlns="{NS}"><flowInstanceID>1068</flowInstanceID></addMessage>'),
            fault("java.lang.NullPointerException: Integration message cannot be null"),
        ),
        *(
            (
                add_message(message=f"{added}<message>Hej</message>"),
                fault("java.lang.NullPointerException: Added field cannot be null"),
            )
            for added in [
                "",
                "<added/>",
                "<added>2026-01-01 12:00</added>",
                "<added>2026-02-30T12:00:00Z</added>",
                "<added>2026-01-01T25:00:00Z</added>",
                '<added xmlns="">2026-01-01T12:00:00Z</added>',
            ]
        ),
        *(
            (
                add_message(message=f"<added>2026-01-01</added>{text}"),
                fault("java.lang.RuntimeException: Message field cannot be null or empty"),
            )
            for text in ["", "<message/>", "<message> \t\n&#13; </message>", "<message>lost<b/></message>"]
        ),
        *(
            (
                with_file(f"{FILE}{name}"),
                fault("java.lang.RuntimeException: Filename field cannot be null or empty"),
            )
            for name in ["<filename/>", "<filename> </filename>"]
        ),
        *(
            (
                with_file(f"{data}<filename>a</filename><size>3</size>"),
                fault("java.lang.NullPointerException: Encoded data field cannot be null"),
            )
            for data in ["", "<encodedData>aGV*</encodedData>", "<encodedData>aGVqa</encodedData>"]
        ),
        *(
            (
                with_file(f"<encodedData>aGVq</encodedData><filename>a</filename>{size}"),
                fault("java.lang.RuntimeException: Size cannot be &lt; 0"),
            )
            for size in ["", "<size>0</size>", "<size>-3</size>", "<size>x</size>"]
        ),
        (request('<addMessage xmlns="other"/>'), fault("Cannot find dispatch method for {other}addMessage", "Client")),
        (request("<x/>").replace("<x/>", '<x xmlns=""/>'), fault("Cannot find dispatch method for {}x", "Client")),
        (request(""), fault("Cannot find dispatch method for {}", "Client")),
        (
            request("", f'<Header><a xmlns="x" xmlns:s="{SOAP}" s:mustUnderstand="1"/></Header>'),
            fault("One or more mandatory SOAP header blocks not understood", "MustUnderstand"),
        ),
    ],
)
def test_answer_to_a_wrong_message_is_the_fault_of_open_e_byte_for_byte(body, expected):
    mock = MockOpenE(cases={1068})
    answer = send(mock, body)
    assert (answer.status, answer.body.decode()) == (500, expected)
    assert mock.messages == []


@pytest.mark.parametrize(
    "body",
    [
        add_message("<externalID/><flowInstanceID> 1068 </flowInstanceID>"),
        add_message(message=GOOD.replace("2026-02-19T07:57:06.123+01:00", "2026-02-19")),
        add_message(message=GOOD.replace("2026-02-19T07:57:06.123+01:00", "2026-02-19T24:00:00")),
        add_message(message=f"<unknown/><userID/><message/><readReceiptEnabled>true</readReceiptEnabled>{GOOD}"),
        with_file("<size>9</size><filename>a</filename><encodedData> aG\n Vq </encodedData>"),
        with_file("<encodedData/><filename>a</filename><size>9</size>"),
        add_message().replace("</Body>", "<second/></Body>"),
        add_message().replace("<message>", "<!-- a --><?pi?><message><![CDATA[ ]]>", 1),
    ],
)
def test_answer_takes_what_open_e_takes(body):
    assert send(MockOpenE(), body).status == 200


def test_answer_loses_text_before_a_tag_as_open_e_does():
    mock = MockOpenE()
    send(mock, add_message(message="<added>2026-01-01</added><message>hej <b>fet</b> slut</message>"))
    assert mock.messages[0]["message"] == " slut"


def test_answer_keeps_the_declared_size_and_the_hash_of_what_came():
    mock = MockOpenE()
    data = bytes(i % 251 for i in range(12_000_000))
    encoded = base64.b64encode(data).decode()
    send(mock, with_file(f"<encodedData>{encoded}</encodedData><filename>a</filename><size>9</size>"))
    assert mock.messages[0]["attachments"] == [{"filename": "a", "size": 9, "sha256": hashlib.sha256(data).hexdigest()}]


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        ("<principal><userID>joe</userID></principal>", "joe"),
        ("<principal><name>Joe</name></principal>", None),
        (f'<principal xmlns:i="{XSI}"><userID i:nil="true">x</userID></principal>', None),
    ],
)
def test_answer_reads_the_user(principal, user):
    mock = MockOpenE()
    send(mock, add_message(rest=principal))
    assert mock.messages[0]["userID"] == user
