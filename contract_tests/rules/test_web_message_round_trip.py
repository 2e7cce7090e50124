"""Messages are returned exactly as they were sent."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from contract_tests.api import Api, created_id
from contract_tests.reading import time_differs
from contract_tests.rules.answers import describe_response, expect
from contract_tests.rules.messages import ABSENT, file, reference, strip_generated

pytestmark = pytest.mark.needs("sender")

MINUTES = 5
"""The tolerated difference between the clocks of a server and its gateway. Time zones differ by at least 15 minutes."""
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def test_creation_returns_the_location_and_no_body(api: Api) -> None:
    response = expect(api.post_message(api.message()), 201)
    location = response.headers.get("Location", "")
    assert re.fullmatch(f"/webmessages/{UUID}", location), f"Location must be /webmessages/{{id}}, but was {location!r}"
    assert response.content == b"", f"a 201 must have no body, but {describe_response(response)}"
    assert expect(api.call("GET", location), 200).json()["id"] == location.removeprefix("/webmessages/")


def test_get_returns_exactly_what_was_sent(api: Api) -> None:
    """References and attachments keep the order of the request, and nothing is rounded."""
    sent = api.message(
        partyId=api.uuid(),
        message="Two lines\r\nof åäö",
        externalReferences=[reference("zebra", "2"), api.reference(), reference("alpha", "1/ä?&#%2F"), api.reference()],
        sender={"userId": "joe01doe"},
        oepInstance="internal",
        attachments=[file(b"2", "z.txt"), file(b"1", "a å 😀.txt"), file(b"3", "m.txt"), file(b"2", "z.txt")],
    )
    found = api.read_message(api.create_message(sent))
    assert strip_generated(found) == sent, f"expected what was sent: {sent}, but got {found}"


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r\nb",
        "a\rb\n\n\r\n",
        " \t leading and trailing \n",
        "åäöÅÄÖß€中文",
        "e\u0301 is not \u00e9",
        "😀👩‍👩‍👧\U0010fffd",
        "\ufeff\u200b\u2028x\u2029\u00a0",
        "<b>&amp;\"'</b>]]><!-- --> ${x} {{x}} %s \\n \\u0041 '; --",
        "\x7f\x80\x85\x9f",
        "\ud7ff\ue000\ufffd\U00010000\U0010ffff",
    ],
    ids=ascii,
)
def test_text_is_returned_unchanged(text: str, api: Api) -> None:
    sender = {"userId": text.replace("\n", " ")}
    sent = api.message(message=text, sender=sender, attachments=[file(b"x", text)])
    found = api.read_message(api.create_message(sent))
    name = found["attachments"][0]["fileName"]
    assert name == text, f"expected the file name {text!a}, but got {name!a}"
    assert found["message"] == text, f"expected the message {text!a}, but got {found['message']!a}"
    assert found["sender"] == sender, f"expected the sender {sender}, but got {found['sender']}"


def test_long_text_is_returned_unchanged(api: Api) -> None:
    text = "0123456789å€😀\n" * 20_000
    assert api.read_message(api.create_message(api.message(message=text)))["message"] == text


def test_json_may_be_written_with_escapes_or_without(api: Api) -> None:
    about = api.reference()
    written = '{"message": "\\u00e5\\ud83d\\ude00å😀\\/", "externalReferences": [{"key": "%s", "value": "%s"}]}'
    response = expect(api.post_message((written % (about["key"], about["value"])).encode()), 201)
    assert api.read_message(created_id(response))["message"] == "å😀å😀/"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"partyId": None, "sender": None, "oepInstance": None, "attachments": None},
        {"sender": {}, "attachments": []},
        {"sender": {"userId": None}},
    ],
    ids=["left out", "null", "empty", "null within"],
)
def test_absent_properties_are_omitted_and_not_null(changes: dict[str, Any], api: Api) -> None:
    """An empty sender and an empty list of attachments count as absent."""
    found = api.read_message(api.create_message(api.message(**changes)))
    assert set(found) == ABSENT, f"expected the properties {sorted(ABSENT)}, but got {found}"


def test_instance_is_external_by_default(api: Api) -> None:
    assert api.read_message(api.create_message(api.message()))["oepInstance"] == "external"
    assert api.read_message(api.create_message(api.message(oepInstance="external")))["oepInstance"] == "external"
    assert api.read_message(api.create_message(api.message(oepInstance="internal")))["oepInstance"] == "internal"


def test_created_has_milliseconds_and_an_offset(api: Api) -> None:
    found = [api.read_message(api.create_message(api.message()))["created"] for _ in range(2)]
    for created in found:
        form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)"
        assert re.fullmatch(form, created), f"created must have milliseconds and an offset, but was {created}"
    first, second = map(datetime.fromisoformat, found)
    assert first <= second, f"the second message was created before the first: {found}"


def test_created_is_close_to_the_date_of_the_response(api: Api) -> None:
    """Compare with the server's clock in its `Date` header (RFC 9110, section 6.6.1); time zones differ more."""
    found = []
    for _ in range(6):
        response = api.post_message(api.message())
        created = api.read_message(created_id(response))["created"]
        found.append(created)
        assert not time_differs(response, datetime.fromisoformat(created), timedelta(minutes=MINUTES)), (
            f"created is {created}, but the Date of the response is {response.headers['Date']}"
        )
    parts = {created[20:23] for created in found}
    assert parts != {"000"}, f"created must have real milliseconds, not only whole seconds: {found}"


def test_reading_changes_nothing(api: Api) -> None:
    id_ = api.create_message(api.message(attachments=[file()]))
    first, second = api.read_message(id_), api.read_message(id_)
    assert first == second, f"two reads must return the same message, but got {first} and {second}"


def test_uuids_are_accepted_in_any_case_and_returned_in_lower_case(api: Api) -> None:
    party = api.unused_uuid()
    id_ = api.create_message(api.message(partyId=party.upper()))
    found = api.read_message(id_.upper())
    assert (found["id"], found["partyId"]) == (id_, party), f"expected lower case, but got {found}"
    listed = expect(api.call("GET", f"/webmessages/recipients/{party.upper()}"), 200)
    assert [message["id"] for message in listed.json()] == [id_], describe_response(listed)


def test_repeated_message_is_stored_twice(api: Api) -> None:
    sent = api.message(externalReferences=[api.unused_reference()])
    first, second = api.create_message(sent), api.create_message(sent)
    assert first != second
    about = sent["externalReferences"][0]
    assert {message["id"] for message in api.read_messages(**about)} == {first, second}
