"""Read the messages of a case back."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from domain.case_messages import ShownFile
from domain.publications import Case, Publication, fingerprint_sent, settle
from domain.web_messages import Attachment, OepInstance
from mock_open_e import MockOpenE, Scenario, User, mock_open_e
from open_e import messageapi
from open_e.accounts import Account
from open_e.client import OpenEClient
from open_e.messageapi import MessageApi, ReadBackFailed, build_case_path, build_url, parse_messages
from tests.mock_servers import running_mock
from tests.open_e.peers import NEVER, build_web_message

CASE = Case(OepInstance.EXTERNAL, 1068)
SENT = datetime(2026, 2, 19, 7, 57, 6, 123000, tzinfo=UTC)
XML = "text/xml;charset=ISO-8859-1"


def read_case(url, *, timeout=2.0, since=SENT, case=CASE, **account):
    api = MessageApi({OepInstance.EXTERNAL: Account(url, **account)}, timeout=timeout, threads=1)
    try:
        return api.read_case(case, since)
    finally:
        api.close()


def element(name, value):
    return "" if value is None else f"<{name}>{value}</{name}>"


def message_xml(text="Hej", *, number="1", added="2026-02-19 07:57", case="1068", manager="true", more=""):
    values = {"postedByManager": manager, "messageID": number, "message": text, "added": added, "flowInstanceID": case}
    return f"<ExternalMessage>{''.join(element(*each) for each in values.items())}{more}</ExternalMessage>"


def response_xml(*messages, declaration='<?xml version="1.0" encoding="ISO-8859-1" standalone="no"?>'):
    return f"{declaration}<Messages>{''.join(messages)}</Messages>"


def parse(text, content_type=XML, encoding="iso-8859-1"):
    return parse_messages(text.encode(encoding), content_type, 1068)


def find_one(text, messages, files=(), sender=None, sent=SENT, *, is_from_owner=False):
    """Return the id that a message in doubt with this text gets."""
    publication = Publication("a", sent, fingerprint_sent(text, files, sender, is_from_owner=is_from_owner))
    return settle([publication], messages, (), UTC).found.get("a")


def test_build_url_replaces_the_last_segment_of_the_callback():
    moment = datetime(2026, 3, 1, 0, 30, 59, tzinfo=UTC)
    expected = "https://h/api/messageapi/getmessages/flowinstance/7?fromDate=2026-02-28%2000:30&toDate="
    path = build_case_path(7, moment)
    assert build_url("https://h/api/callback", path) == expected
    assert build_url("https://h/api/callback/", path) == expected


@pytest.mark.parametrize(
    ("text", "files", "sender"),
    [
        ("Hej", (), None),
        ("å ä ö & <b> € 😀", (("å €.pdf", b"abc"), ("b.pdf", b"")), None),
        ("a\nb\r\nc\rd\n", (), "joe01doe"),
        ("  Hej\t då ", (), "UNKNOWN"),
    ],
)
def test_message_that_was_published_is_found_on_its_case(text, files, sender):
    scenario = Scenario(users=(User("JOE01DOE", "Joe", "Doe"),))
    message = build_web_message()
    attachments = tuple(Attachment(name, name, "", len(data), "", data) for name, data in files if data)
    message = message.__class__(
        message.id, text, message.external_references, attachments=attachments, sender_user_id=sender
    )
    with running_mock(MockOpenE(scenario=scenario, username="u", password="å€")) as address:
        url = f"{address}/external/api/callback"
        accounts = {OepInstance.EXTERNAL: Account(url, "u", "å€")}
        client = OpenEClient(accounts, connect_timeout=5, read_timeout=5, threads=1)
        number = client.add_message(message, added=SENT, request_id="r")
        client.close()
        messages = read_case(url, username="u", password="å€")
    names = [(each.file_name, each.size) for each in attachments]
    assert find_one(text, messages, names, sender) == number


def test_messages_of_other_cases_and_earlier_days_are_not_returned():
    with mock_open_e() as open_e:
        open_e.plant(1068, "earlier", added="2026-02-17T12:00:00", kind="manager")
        open_e.plant(1069, "other", added="2026-02-19T12:00:00", kind="manager")
        open_e.plant(1068, "ours", added="2026-02-19T12:00:00", kind="manager")
        [message] = read_case("http://open-e.test/external/api/callback")
    assert message.id == 3
    assert message.minute == datetime(2026, 2, 19, 12, 0)  # noqa: DTZ001  # Open-E's minutes have no offset.


def test_message_of_the_owner_is_no_copy_of_one_of_the_staff():
    with mock_open_e() as open_e:
        open_e.plant(1068, "equal", added="2026-02-19T07:57:06", kind="owner")
        open_e.plant(1068, "equal", added="2026-02-19T07:57:06", kind="manager")
        messages = read_case("http://open-e.test/external/api/callback")
    assert [each.id for each in messages] == [1, 2]
    assert find_one("equal", messages) == 2
    assert find_one("equal", messages, is_from_owner=True) == 1


def test_owner_is_found_under_another_name_than_the_one_that_was_sent():
    with mock_open_e() as open_e:
        open_e.plant(1068, "Hej", user_id="citizen", added="2026-02-19T07:57:06", kind="owner")
        messages = read_case("http://open-e.test/external/api/callback")
    assert find_one("Hej", messages, sender="joe01doe", is_from_owner=True) == 1


def test_case_without_messages_is_empty():
    assert parse('<?xml version="1.0"?>\n<Messages />') == []


def test_unknown_elements_absent_fields_and_prefixes_are_tolerated():
    more = (
        "<poster><userID>2</userID><username>joe01doe</username><added>2016-09-16 01:03</added></poster><new><message>x"
    )
    messages = parse(response_xml(message_xml(more=f"{more}</message></new>", manager=None, case=None)))
    assert find_one("Hej", messages, sender="joe01doe") == 1
    assert find_one("Hej", messages, sender="ann02doe") is None
    assert (
        find_one(
            "Hej",
            parse(
                response_xml(message_xml())
                .replace("<", "<o:")
                .replace("<o:/", "</o:")
                .replace("<o:?", "<?")
                .replace("<o:Messages>", '<o:Messages xmlns:o="urn:o">')
            ),
        )
        == 1
    )


def test_message_of_another_case_in_the_response_is_skipped():
    assert parse(response_xml(message_xml(case="1069"))) == []


def test_attachments_have_their_own_names_sizes_and_times():
    files = "".join(
        "<ExternalMessageAttachment><attachmentID>7</attachmentID>"
        f"<filename>{name}</filename><size>{size}</size><added>2020-01-01 00:00</added></ExternalMessageAttachment>"
        for name, size in (("b", 2), ("a", 1))
    )
    messages = parse(response_xml(message_xml(more=f"<attachments>{files}</attachments>")))
    assert find_one("Hej", messages, [("a", 1), ("b", 2)]) == 1
    assert find_one("Hej", messages) is None


@pytest.mark.parametrize(
    "added", ["2026-02-19 07:57", "2026-02-19T07:57:06", "2026-02-19 08:57:06+01:00", " 2026-02-19 07:57 "]
)
def test_time_of_a_message_is_read_in_other_formats_too(added):
    assert find_one("Hej", parse(response_xml(message_xml(added=added)))) == 1


@pytest.mark.parametrize(
    ("declared", "encoding", "content_type"),
    [
        ("ISO-8859-1", "iso-8859-1", XML),
        ("ISO-8859-1", "utf-8", XML),
        ("UTF-8", "utf-8", "text/xml"),
        ("ISO-8859-1", "iso-8859-1", "text/xml"),
        ("ISO-8859-1", "iso-8859-1", 'text/xml; charset="iso-8859-1"'),
        ("UTF-8", "cp1252", "text/xml;charset=windows-1252"),
        ("UTF-8", "utf-8-sig", "text/xml;charset=utf-8"),
    ],
)
def test_text_is_decoded_even_if_the_character_set_is_declared_wrongly(declared, encoding, content_type):
    text = response_xml(message_xml("Å ä ö"), declaration=f'<?xml version="1.0" encoding="{declared}"?>')
    assert find_one("Å ä ö", parse(text, content_type, encoding)) == 1


def test_text_that_was_encoded_twice_is_found_in_the_declared_character_set():
    messages = parse(response_xml(message_xml("HÃ¤lsningar"), message_xml("Hej", number="2")))
    assert find_one("HÃ¤lsningar", messages) == 1
    assert find_one("Hälsningar", messages) == 1
    assert [each.id for each in messages] == [1, 2, 1]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("&#128512;", "😀"),
        ("&#55357;&#56832;", "😀"),
        ("&#xD83D;&#xDE00;x", "😀x"),
        ("&#13;\n", "\n"),
        ("&amp;&lt;&#x26;", "&<&"),
        ("<![CDATA[<!DOCTYPE a>]]>", "<!DOCTYPE a>"),
    ],
)
def test_references_are_resolved_also_in_halves(written, text):
    assert find_one(text, parse(response_xml(message_xml(written)))) == 1


@pytest.mark.parametrize("invalid", ["\x01", "&#1;", "&#xD83D;", "&#1114112;", "&#0;"])
def test_invalid_characters_in_another_message_hide_no_message(invalid):
    messages = parse(
        response_xml(message_xml(f"bad {invalid}", number="1"), message_xml(" &#55357;&#56832;", number="2"))
    )
    assert [each.id for each in messages] == [1, 2]
    assert find_one(" 😀", messages) == 2


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "is not XML"),
        ("<html><body>Log in</body></html>", "is not a list of messages"),
        ("Not Found", "is not XML"),
        (response_xml(message_xml())[:-5], "is not XML"),
        (response_xml(message_xml())[:-11], "is not XML"),
        (response_xml("&nbsp;"), "is not XML"),
        (response_xml(message_xml("&b;"), declaration=f'<?xml version="1.0"?>{BOMB}'), "document type"),
        (response_xml(declaration='<!DOCTYPE Messages SYSTEM "http://127.0.0.1/x">'), "document type"),
        (response_xml("<a>" * 40 + "</a>" * 40), "too many elements"),
        (response_xml(message_xml(number=None)), "valid id"),
        (response_xml(message_xml(number="one")), "valid id"),
        (response_xml(message_xml(number="9" * 30)), "valid id"),
        (response_xml(message_xml(added=None)), "valid time"),
        (response_xml(message_xml(added="yesterday")), "valid time"),
        (response_xml(message_xml(added="0001-01-01 00:00+05:00")), "valid time"),
    ],
)  # fmt: skip
def test_response_that_is_no_complete_list_is_unreadable(body, reason):
    with pytest.raises(ReadBackFailed, match=reason):
        parse(body)


def test_response_in_an_undeclared_or_unknown_character_set_is_unreadable():
    text = response_xml(message_xml("å"), declaration='<?xml version="1.0" encoding="UTF-8"?>')
    for content_type in ("text/xml", "text/xml;charset=utf-8", "text/xml;charset=utf-7", "text/xml;charset=zlib"):
        with pytest.raises(ReadBackFailed, match="character set"):
            parse(text, content_type)
    with pytest.raises(ReadBackFailed):
        parse(text, "text/xml;charset=utf-16", "utf-16")


def test_response_with_too_many_elements_is_unreadable(monkeypatch):
    monkeypatch.setattr(messageapi, "MAX_ELEMENTS", 100)
    with pytest.raises(ReadBackFailed, match="too many elements"):
        parse(response_xml("<a/>" * 101))


def respond(head, body=b""):
    def serve(connection, _number):
        connection.recv(65536)
        connection.sendall(head + b"Connection: close\r\n\r\n" + body)

    return serve


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n", b"no", "answered 403"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n", b"<Messages />", "answered 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n", b"", "answered 302"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n", b"", "answered 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n", b"<Messages>", "did not answer"),
        (b"garbage\r\n", b"", "did not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", b"not gzip", "did not answer"),
    ],
)
def test_read_back_fails_with_the_reason(peer, head, body, reason):
    with pytest.raises(ReadBackFailed, match=reason):
        read_case(peer(respond(head, body)).url)


@pytest.mark.parametrize(
    ("sent", "media_type"),
    [
        (b"Content-Type: text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (b"Content-Type: text/html\r\n X: 1", "application/octet-stream"),
        (b"Content-Type: a/b\x0bc", "application/octet-stream"),
        (b"Content-Type: a/b\x00", "application/octet-stream"),
        (b"Content-Type: \xff", "application/octet-stream"),
        (b"X: 1", "application/octet-stream"),
    ],
)
def test_file_has_a_media_type_that_a_response_may_have(peer, sent, media_type):
    url = peer(respond(b"HTTP/1.1 200 OK\r\n%s\r\nContent-Length: 3\r\n" % sent, b"abc")).url
    api = MessageApi({OepInstance.EXTERNAL: Account(url)}, timeout=2.0, threads=1)
    try:
        assert api.read_file(OepInstance.EXTERNAL, 1) == ShownFile(media_type, b"abc")
    finally:
        api.close()


def test_huge_response_is_not_read_to_its_end(peer, monkeypatch):
    monkeypatch.setattr(messageapi, "MAX_RESPONSE_BYTES", 2**20)

    def serve(connection, _number):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<Messages>")
        while True:
            connection.sendall(b" " * 65536)

    with pytest.raises(ReadBackFailed, match="exceeds 1048576 bytes"):
        read_case(peer(serve).url)


def test_compressed_bomb_is_not_expanded_beyond_the_limit(peer, monkeypatch):
    import gzip

    monkeypatch.setattr(messageapi, "MAX_RESPONSE_BYTES", 2**20)
    bomb = gzip.compress(b" " * 2**24)
    with pytest.raises(ReadBackFailed, match="exceeds 1048576 bytes"):
        read_case(peer(respond(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", bomb)).url)


def never_respond(_connection, _number):
    NEVER.wait()


def respond_byte_by_byte(connection, _number):
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<Messages>")
    while not NEVER.wait(0.02):
        connection.sendall(b" ")


@pytest.mark.parametrize("serve", [never_respond, respond_byte_by_byte])
def test_read_back_ends_at_its_timeout(peer, serve):
    began = time.monotonic()
    with pytest.raises(ReadBackFailed, match="did not answer"):
        read_case(peer(serve).url, timeout=0.4)
    assert time.monotonic() - began < 5


def test_read_back_of_an_instance_without_address_fails():
    with pytest.raises(ReadBackFailed, match="The internal Open-E is not configured"):
        read_case("http://open-e.test/api/callback", case=Case(OepInstance.INTERNAL, 1))


@pytest.mark.parametrize("fault", ["Slow", "Http500", "Reset", "Garbage", "TruncatedXml"])
def test_faults_of_the_mock_fail_the_read_back(fault):
    with mock_open_e() as open_e:
        open_e.plant(1068, "Hej", added="2026-02-19T20:00:00", kind="manager")
        open_e.fail(fault, operation="messageapi", seconds=60)
        with pytest.raises(ReadBackFailed):
            read_case("http://open-e.test/external/api/callback")


def test_since_is_a_day_earlier_because_the_time_zone_of_open_e_is_unknown():
    with mock_open_e() as open_e:
        open_e.plant(1068, "Hej", added="2026-02-18T20:00:00", kind="manager")
        late = datetime(2026, 2, 19, 1, 0, tzinfo=UTC) + timedelta(minutes=1)
        assert len(read_case("http://open-e.test/external/api/callback", since=late)) == 1
