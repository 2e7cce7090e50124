import base64
import hashlib

import pytest

from mock_open_e import DeclaredCase, Family, MockOpenE, Scenario, User
from tests.mock_open_e.soap import (
    FILE,
    GOOD,
    NS,
    SOAP,
    XSI,
    add_message,
    build_fault,
    build_not_found,
    build_request,
    build_request_with_file,
    send,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (add_message("<flowInstanceID>7</flowInstanceID>", "<added>x</added>"), build_not_found(7)),
        (add_message("<flowInstanceID>-1068</flowInstanceID>"), build_not_found(-1068)),
        (add_message("<flowInstanceID>99999999999</flowInstanceID>"), build_not_found(1215752191)),
        (add_message(f"<flowInstanceID>{'9' * 5000}1068</flowInstanceID>"), build_not_found(-8932)),
        (add_message("<flowInstanceID>x1</flowInstanceID>"), build_not_found("null")),
        (add_message(""), build_not_found("null")),
        (add_message('<flowInstanceID xmlns="">1068</flowInstanceID>'), build_not_found("null")),
        (
            add_message("<externalID><ID>1</ID><System>s</System></externalID>"),
            build_fault("java.lang.RuntimeException: External ID support not implemented"),
        ),
        (
            build_request(f'<addMessage xmlns="{NS}"><flowInstanceID>1068</flowInstanceID></addMessage>'),
            build_fault("java.lang.NullPointerException: Integration message cannot be null"),
        ),
        *(
            (
                add_message(message=f"{added}<message>Hej</message>"),
                build_fault("java.lang.NullPointerException: Added field cannot be null"),
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
                build_fault("java.lang.RuntimeException: Message field cannot be null or empty"),
            )
            for text in ["", "<message/>", "<message> \t\n&#13; </message>", "<message>lost<b/></message>"]
        ),
        *(
            (
                build_request_with_file(f"{FILE}{name}"),
                build_fault("java.lang.RuntimeException: Filename field cannot be null or empty"),
            )
            for name in ["<filename/>", "<filename> </filename>"]
        ),
        *(
            (
                build_request_with_file(f"{data}<filename>a</filename><size>3</size>"),
                build_fault("java.lang.NullPointerException: Encoded data field cannot be null"),
            )
            for data in ["", "<encodedData>aGV*</encodedData>", "<encodedData>aGVqa</encodedData>"]
        ),
        *(
            (
                build_request_with_file(f"<encodedData>aGVq</encodedData><filename>a</filename>{size}"),
                build_fault("java.lang.RuntimeException: Size cannot be &lt; 0"),
            )
            for size in ["", "<size>0</size>", "<size>-3</size>", "<size>x</size>"]
        ),
        (
            build_request('<addMessage xmlns="other"/>'),
            build_fault("Cannot find dispatch method for {other}addMessage", "Client"),
        ),
        (
            build_request("<x/>").replace("<x/>", '<x xmlns=""/>'),
            build_fault("Cannot find dispatch method for {}x", "Client"),
        ),
        (build_request(""), build_fault("Cannot find dispatch method for {}", "Client")),
        (
            build_request("", f'<Header><a xmlns="x" xmlns:s="{SOAP}" s:mustUnderstand="1"/></Header>'),
            build_fault("One or more mandatory SOAP header blocks not understood", "MustUnderstand"),
        ),
    ],
)
def test_invalid_message_gets_the_fault_of_open_e_byte_for_byte(body, expected):
    mock = MockOpenE(cases={1068})
    response = send(mock, body)
    assert (response.status, response.body.decode()) == (500, expected)
    assert mock.messages == []


@pytest.mark.parametrize(
    "body",
    [
        add_message("<externalID/><flowInstanceID> 1068 </flowInstanceID>"),
        add_message(message=GOOD.replace("2026-02-19T07:57:06.123+01:00", "2026-02-19")),
        add_message(message=GOOD.replace("2026-02-19T07:57:06.123+01:00", "2026-02-19T24:00:00")),
        add_message(message=f"<unknown/><userID/><message/><readReceiptEnabled>true</readReceiptEnabled>{GOOD}"),
        build_request_with_file("<size>9</size><filename>a</filename><encodedData> aG\n Vq </encodedData>"),
        build_request_with_file("<encodedData/><filename>a</filename><size>9</size>"),
        add_message().replace("</Body>", "<second/></Body>"),
        add_message().replace("<message>", "<!-- a --><?pi?><message><![CDATA[ ]]>", 1),
    ],
)
def test_message_that_open_e_accepts_is_accepted(body):
    assert send(MockOpenE(), body).status == 200


def test_text_before_a_tag_is_lost_as_in_open_e():
    mock = MockOpenE()
    send(mock, add_message(message="<added>2026-01-01</added><message>hej <b>fet</b> slut</message>"))
    assert mock.messages[0]["message"] == " slut"


def test_declared_size_and_hash_of_the_content_are_stored():
    mock = MockOpenE()
    data = bytes(i % 251 for i in range(12_000_000))
    encoded = base64.b64encode(data).decode()
    send(mock, build_request_with_file(f"<encodedData>{encoded}</encodedData><filename>a</filename><size>9</size>"))
    assert mock.messages[0]["attachments"] == [{"filename": "a", "size": 9, "sha256": hashlib.sha256(data).hexdigest()}]


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        ("<principal><userID>joe</userID></principal>", "joe"),
        ("<principal><name>Joe</name></principal>", None),
        (f'<principal xmlns:i="{XSI}"><userID i:nil="true">x</userID></principal>', None),
    ],
)
def test_user_of_the_principal_is_stored(principal, user):
    mock = MockOpenE()
    send(mock, add_message(rest=principal))
    assert mock.messages[0]["userID"] == user


RECORDED = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"
          xmlns:ns2="http://www.oeplatform.org/version/1.0/schemas/integration/callback">
  <Body>
    <ns2:addMessage>
      <ns2:flowInstanceID>356434</ns2:flowInstanceID>
      <ns2:message>
        <ns2:added>2026-02-19T07:57:06.123+01:00</ns2:added>
        <ns2:attachments>
          <ns2:encodedData>aGVq</ns2:encodedData><ns2:filename>test.pdf</ns2:filename><ns2:size>3</ns2:size>
        </ns2:attachments>
        <ns2:message>Hej &lt;b&gt; åäö&#13;
rad 2</ns2:message>
      </ns2:message>
      <ns2:principal><ns2:userID>joe01doe</ns2:userID></ns2:principal>
    </ns2:addMessage>
  </Body>
</Envelope>"""

OLDER = (
    RECORDED.replace("<Envelope xmlns=", "<SOAP-ENV:Envelope xmlns:SOAP-ENV=")
    .replace("  <Body>", "  <SOAP-ENV:Header/><SOAP-ENV:Body>")
    .replace("</Body>", "</SOAP-ENV:Body>")
    .replace("</Envelope>", "</SOAP-ENV:Envelope>")
)

RECORDED_ANSWER = (
    "<?xml version='1.0' encoding='UTF-8'?><S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body>"
    '<addMessageResponse xmlns="http://www.oeplatform.org/version/1.0/schemas/integration/callback">'
    "<messageID>1</messageID></addMessageResponse></S:Body></S:Envelope>"
)


@pytest.mark.parametrize("body", [RECORDED, OLDER], ids=["of 2026", "of 2024"])
def test_recorded_envelopes_get_the_recorded_response_byte_for_byte(body):
    mock = MockOpenE(strict=True)
    response = send(mock, body, accept="text/xml; charset=UTF-8")
    assert (response.status, response.body.decode()) == (200, RECORDED_ANSWER)
    assert response.headers == {"Content-Type": "text/xml; charset=utf-8"}
    assert mock.messages[0]["message"] == "Hej <b> åäö\r\nrad 2"
    assert mock.messages[0]["userID"] == "joe01doe"


OPERATIONS = {"addMessage": "manager", "addMessageAsOwner": "owner", "addInternalMessage": "internal"}


@pytest.mark.parametrize(("operation", "kind"), OPERATIONS.items())
def test_each_kind_of_message_is_stored_with_its_own_numbers(operation, kind):
    mock = MockOpenE()
    responses = [send(mock, add_message().replace("addMessage", operation)).body.decode() for _ in range(2)]
    assert [f'<{operation}Response xmlns="{NS}"><messageID>{n}<' in responses[n - 1] for n in (1, 2)] == [True, True]
    assert [(each.kind, each.origin, each.message_id) for each in mock.list_messages()] == [
        (kind, operation, 1),
        (kind, operation, 2),
    ]
    # Internal messages are in no history, and not visible to a citizen.
    assert len(mock.list_events()) == (0 if kind == "internal" else 2)
    assert len(mock.messages) == (0 if kind == "internal" else 2)


def test_internal_messages_have_a_number_range_of_their_own():
    mock = MockOpenE()
    for operation in ["addMessage", "addMessage", "addInternalMessage"]:
        send(mock, add_message().replace("addMessage", operation))
    assert [each.message_id for each in mock.list_messages()] == [1, 2, 1]


def test_repeated_message_is_stored_and_marked_as_a_duplicate():
    mock = MockOpenE()
    for body in [
        build_request_with_file(FILE),
        build_request_with_file(FILE),
        add_message(),
        build_request_with_file(FILE.replace("aGVq", "aGVr")),
    ]:
        send(mock, body)
    assert [(each.message_id, each.duplicate_of) for each in mock.list_messages()] == [
        (1, None),
        (2, 1),
        (3, None),
        (4, None),
    ]


RECEIPT = f"{GOOD}<readReceiptEnabled>true</readReceiptEnabled>"


def test_read_receipts_are_refused_on_flows_without_them_and_on_internal_messages():
    families = (Family(7, "Bygglov", read_receipts=False),)
    mock = MockOpenE(scenario=Scenario(families=families, cases=(DeclaredCase(1068, 7), DeclaredCase(1069))))
    assert send(mock, add_message(message=RECEIPT)).body.decode() == build_fault(
        "Read receipts not enabled on flow Bygglov"
    )
    internal = add_message(message=RECEIPT).replace("addMessage", "addInternalMessage")
    assert send(mock, internal).body.decode() == build_fault("Read receipts not allowed for internal message")
    assert send(mock, add_message("<flowInstanceID>1069</flowInstanceID>", RECEIPT)).status == 200
    assert mock.list_messages()[0].read_receipt
    assert mock.list_events()[0].text == ""


@pytest.mark.parametrize(
    ("text", "fragment"), [("a\tb\nc", "a b c"), ("x" * 50, "x" * 50), ("x" * 51, "x" * 49 + "...")]
)
def test_history_shows_the_beginning_of_a_message(text, fragment):
    mock = MockOpenE()
    send(mock, add_message(message=f"<added>2026-01-01</added><message>{text}</message>"))
    assert [(each.text, each.date) for each in mock.list_events()] == [(fragment, "2026-01-01")]


@pytest.mark.parametrize(
    ("message", "column"),
    [
        (f"<added>2026-01-01</added><message>{'å' * 2**23}</message>", "message"),
        (f"{GOOD}<attachments>{FILE.replace('test.pdf', 'a' * 256)}</attachments>", "filename"),
        (f"{GOOD}<attachments>{FILE.replace('>3<', '>4294967296<')}</attachments>", "size"),
    ],
)
def test_too_long_values_are_a_fault_without_detail(message, column):
    expected = build_fault(f"java.sql.SQLException: Data too long for column '{column}' at row 1")
    assert send(MockOpenE(), add_message(message=message)).body.decode() == expected


def test_longest_text_is_accepted():
    text = "x" * (2**24 - 1)
    mock = MockOpenE()
    assert send(mock, add_message(message=f"<added>2026-01-01</added><message>{text}</message>")).status == 200
    assert len(mock.messages[0]["message"]) == len(text)


def test_known_sender_is_named_and_unknown_senders_are_accepted():
    mock = MockOpenE(scenario=Scenario(users=(User("joe01doe", "Joe"),)))
    for principal in ["<userID>joe01doe</userID>", "<userID>nobody</userID>", "<name>joe01doe</name>", ""]:
        assert send(mock, add_message(rest=f"<principal>{principal}</principal>")).status == 200
    assert [(each.user_id, each.poster and each.poster.firstname) for each in mock.list_messages()] == [
        ("joe01doe", "Joe"),
        ("nobody", None),
        (None, None),
        (None, None),
    ]


def test_only_the_first_of_two_operations_is_executed():
    mock = MockOpenE()
    second = add_message("<flowInstanceID>7</flowInstanceID>").split("<Body>")[1]
    assert send(mock, add_message().replace("</Body></Envelope>", second)).status == 200
    assert [each["flowInstanceID"] for each in mock.messages] == [1068]


@pytest.mark.parametrize("action", [None, '""', "anything"])
def test_any_soap_action_and_any_accept_header_are_accepted(action):
    headers = {"soapaction": action, "accept": "application/json", "accept-charset": "utf-16"}
    response = send(MockOpenE(), add_message(), **headers)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
