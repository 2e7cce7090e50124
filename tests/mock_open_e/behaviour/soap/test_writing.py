import hashlib

import pytest

from mock_open_e import MockOpenE
from tests.mock_open_e.soap import FILE, NS, SOAP, add_message, build_request_with_file, send


def test_response_to_a_valid_message_is_the_message_id_byte_for_byte():
    mock = MockOpenE()
    response = send(mock, build_request_with_file(FILE))
    assert response.status == 200
    assert response.headers == {"Content-Type": "text/xml; charset=utf-8"}
    assert response.body.decode() == (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f'<S:Envelope xmlns:S="{SOAP}"><S:Body><addMessageResponse xmlns="{NS}"><messageID>1</messageID>'
        "</addMessageResponse></S:Body></S:Envelope>"
    )
    assert mock.messages == [
        {
            "instance": "external",
            "messageID": 1,
            "flowInstanceID": 1068,
            "message": "Hej <b> åäö\r\nrad 2",
            "userID": None,
            "added": "2026-02-19T07:57:06.123+01:00",
            "attachments": [{"filename": "test.pdf", "size": 3, "sha256": hashlib.sha256(b"hej").hexdigest()}],
        }
    ]


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (add_message()[:-40], "Server", "XML reader error: "),
        (add_message(message="&#1;"), "Server", "XML reader error: "),
        (add_message(message="&nbsp;"), "Server", "XML reader error: "),
        (add_message().replace("</message>", "</b>"), "Server", "XML reader error: "),
        (f'<!DOCTYPE a [<!ENTITY b "c">]>{add_message(message="&b;")}', "Server", "XML reader error: Undeclared"),
        ("", "Client", "Couldn't create SOAP message due to exception: "),
        ("Hej", "Client", "Couldn't create SOAP message due to exception: "),
        ("<a/>", "Client", "Couldn't create SOAP message due to exception: "),
        (f'<Envelope xmlns="{SOAP}"/>', "Client", "Couldn't create SOAP message due to exception: "),
        (f'<Envelope xmlns="{SOAP}">', "Client", "Couldn't create SOAP message due to exception: "),
        (
            add_message().replace(SOAP, "http://www.w3.org/2003/05/soap-envelope"),
            "VersionMismatch",
            "Couldn't create SOAP message. Expecting Envelope in namespace ",
        ),
    ],
)
def test_response_to_malformed_xml_is_a_fault_without_detail(body, code, text):
    response = send(MockOpenE(), body)
    assert response.status == 500
    assert f"<faultcode>S:{code}</faultcode><faultstring>{text}".encode() in response.body
    assert b"<detail>" not in response.body


def test_entities_are_not_expanded():
    bomb = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    body = f'<!DOCTYPE a [<!ENTITY e0 "x">{bomb}]>{add_message(message="&e9;")}'
    assert b"XML reader error" in send(MockOpenE(), body).body


def test_charset_of_http_takes_precedence_and_is_used_in_the_response():
    mock = MockOpenE(cases={1068})
    response = send(mock, add_message(), "text/xml; charset=ISO-8859-1")
    assert mock.messages[0]["message"].startswith("Hej <b> Ã¥Ã¤Ã¶")
    assert response.headers["Content-Type"] == "text/xml ;charset=ISO-8859-1"
    assert response.body.startswith(b"<?xml version='1.0' encoding='ISO-8859-1'?><S:Envelope ")
    declared = "<?xml version='1.0' encoding='ISO-8859-1'?>" + add_message()
    response = send(mock, declared.encode("latin-1"), "text/xml")
    assert mock.messages[1]["message"].startswith("Hej <b> åäö")
    assert response.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert send(mock, add_message(), None).status == 200
    assert b"S:Client" in send(mock, add_message(), "text/xml; charset=no-such").body
