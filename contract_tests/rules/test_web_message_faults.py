"""Messages that violate one rule: the response names the field, and nothing is stored."""

from typing import Any

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import (
    BLANK,
    NO_CASE,
    NO_UUID,
    REFERENCES,
    SIZE,
    describe_response,
    expect,
    expect_violations,
)
from contract_tests.rules.messages import file, reference

pytestmark = pytest.mark.needs("sender")

Changes = dict[str, Any]
PARTY = "81471222-5798-11e9-ae24-57fa13b361e1"
ABOUT = "externalReferences"
OTHER_CASES = ("2147483646", "2147483647")
"""Cases that are unlikely to exist, in case a message is wrongly published."""

NO_CASES = ("abc", "0", "-1", "+1", "01", "1.0", "1e3", "0x10", "1_0", " 1", "1 ", "1\n", "\uff11", "2147483648")
NO_BASE64 = (
    *("Q", "QQ", "QQ=", "====", "QQ=!", "QUJD!", "QQ==QQ==", "QQ=QQQ==", "_-8=", "QUJD\nQUJD", "QUJD QUJD"),
    *(" QUJD", "QUJDå", "\uff21\uff21\uff21\uff21", "QQ==\0", "data:,QQ=="),
)
BLANKS = ("", " ", " \t\r\n", "\u00a0", "\u2003", "\u2028", "\u3000", "\ufeff")
NO_XML = ("a\0", "\x1b", "a\x0bb", "a\x0cb", "a\x1fb", "a\ufffe", "a\uffff")
NO_UUIDS = (
    *("", "invalid", f"{{{PARTY}}}", PARTY.replace("-", ""), f"{PARTY}\n", f" {PARTY}", f"{PARTY}\0"),
    *(f"{PARTY[:-1]}g", PARTY[:-1], f"urn:uuid:{PARTY}", f"\uff18{PARTY[1:]}"),
)


def more(*references: Any) -> Changes:
    """Return changes that append these references to a valid one, which the check adds."""
    return {ABOUT: [..., *references]}


def attached(**changes: Any) -> Changes:
    """Return changes that append an invalid file to a valid one."""
    values = {**file(), **changes}
    return {"attachments": [file(), {name: value for name, value in values.items() if value is not ...}]}


ONE_FAULT: dict[str, tuple[Changes, str, str | None]] = {
    "message missing": ({"message": ...}, "message", BLANK),
    "message null": ({"message": None}, "message", BLANK),
    **{f"message {text!a}": ({"message": text}, "message", BLANK) for text in BLANKS},
    **{f"message {text!a}": ({"message": text}, "message", None) for text in NO_XML},
    **{f"message {value!a}": ({"message": value}, "message", None) for value in (1, True, ["x"], {})},
    "no references": ({ABOUT: []}, ABOUT, REFERENCES),
    "references missing": ({ABOUT: ...}, ABOUT, REFERENCES),
    "references null": ({ABOUT: None}, ABOUT, REFERENCES),
    "references an object": ({ABOUT: {}}, ABOUT, None),
    "one reference for a list of it": ({ABOUT: reference("abc", "x")}, ABOUT, None),
    "references a text": ({ABOUT: "abc"}, ABOUT, None),
    "reference null": (more(None), ABOUT, REFERENCES),
    "reference a number": (more(1), f"{ABOUT}[1]", None),
    "reference empty": (more({}), ABOUT, REFERENCES),
    "reference without a value": (more({"key": "abc"}), ABOUT, REFERENCES),
    "reference without a key": (more({"value": "x"}), ABOUT, REFERENCES),
    "reference with a null value": (more(reference("abc", None)), ABOUT, REFERENCES),
    "reference with a null key": (more(reference(None, "x")), ABOUT, REFERENCES),
    **{f"value {text!a}": (more(reference("abc", text)), ABOUT, REFERENCES) for text in BLANKS},
    **{f"key {text * 3!a}": (more(reference(text * 3, "x")), ABOUT, REFERENCES) for text in BLANKS},
    "key of 2 characters": (more(reference("ab", "x")), f"{ABOUT}[1].key", SIZE),
    "key of 2 characters beyond UTF-16": (more(reference("😀😀", "x")), f"{ABOUT}[1].key", SIZE),
    "key of 129 characters": (more(reference("k" * 129, "x")), f"{ABOUT}[1].key", SIZE),
    "value of 129 characters": (more(reference("abc", "v" * 129)), f"{ABOUT}[1].value", None),
    "value a number": (more(reference("abc", 1)), f"{ABOUT}[1].value", None),
    "key with NUL": (more(reference("abc\0", "x")), f"{ABOUT}[1].key", None),
    "value with NUL": (more(reference("abc", "x\0")), f"{ABOUT}[1].value", None),
    "unknown property of a reference": (more({**reference("abc", "x"), "Key": "x"}), f"{ABOUT}[1].Key", None),
    **{f"case {text!a}": (more(reference("flowInstanceId", text)), ABOUT, NO_CASE) for text in NO_CASES},
    "case of 128 digits": (more(reference("flowInstanceId", "9" * 128)), ABOUT, NO_CASE),
    "case in another spelling": (more(reference("FLOWinstanceID", "x")), ABOUT, NO_CASE),
    "case blank": (more(reference("flowInstanceId", " ")), ABOUT, REFERENCES),
    "case a number": (more(reference("flowInstanceId", 1068)), f"{ABOUT}[1].value", None),
    "two cases": (more(*(reference("flowInstanceId", value) for value in OTHER_CASES)), ABOUT, None),
    "two cases in two spellings": (
        more(reference("FlowInstanceID", OTHER_CASES[0]), reference("FLOWINSTANCEID", OTHER_CASES[1])),
        ABOUT,
        None,
    ),
    **{f"party {text!a}": ({"partyId": text}, "partyId", NO_UUID) for text in NO_UUIDS},
    "party a number": ({"partyId": 1}, "partyId", None),
    **{
        f"instance {text!a}": ({"oepInstance": text}, "oepInstance", None)
        for text in ("", "other", "Internal", "0", "1")
    },
    **{f"sender {value!a}": ({"sender": value}, "sender", None) for value in ("", False, [])},
    "sender a text": ({"sender": "joe"}, "sender", None),
    "unknown property of the sender": ({"sender": {"userID": "joe"}}, "sender.userID", None),
    **{f"user {text!a}": ({"sender": {"userId": text}}, "sender.userId", BLANK) for text in BLANKS},
    **{f"user {text!a}": ({"sender": {"userId": text}}, "sender.userId", None) for text in NO_XML},
    "user of 256 characters": ({"sender": {"userId": "u" * 256}}, "sender.userId", None),
    "user a number": ({"sender": {"userId": 1}}, "sender.userId", None),
    "unknown property": ({"attachment": []}, "attachment", None),
    "property in another case": ({"partyID": PARTY}, "partyID", None),
    "property that only answers have": ({"id": PARTY}, "id", None),
    "attachments an object": ({"attachments": {}}, "attachments", None),
    "one attachment for a list of it": ({"attachments": file()}, "attachments", None),
    **{f"attachments {value!a}": ({"attachments": value}, "attachments", None) for value in ("", False)},
    "attachment null": ({"attachments": [file(), None]}, "attachments[1]", None),
    "attachment a list": ({"attachments": [file(), []]}, "attachments[1]", None),
    "eleven attachments": ({"attachments": [file()] * 11}, "attachments", None),
    "unknown property of an attachment": (attached(mimeType="text/plain"), "attachments[1].mimeType", None),
    "file name missing": (attached(fileName=...), "attachments[1].fileName", BLANK),
    "file name null": (attached(fileName=None), "attachments[1].fileName", BLANK),
    **{f"file name {text!a}": (attached(fileName=text), "attachments[1].fileName", BLANK) for text in BLANKS},
    **{f"file name {text!a}": (attached(fileName=text), "attachments[1].fileName", None) for text in NO_XML},
    "file name of 256 characters": (attached(fileName="f" * 256), "attachments[1].fileName", None),
    "file name a number": (attached(fileName=1), "attachments[1].fileName", None),
    "content missing": (attached(base64Data=...), "attachments[1].base64Data", BLANK),
    "content null": (attached(base64Data=None), "attachments[1].base64Data", BLANK),
    "content of 0 bytes": (attached(base64Data=""), "attachments[1].base64Data", BLANK),
    **{f"content {value!a}": (attached(base64Data=value), "attachments[1].base64Data", None) for value in (1, [], {})},
    **{f"content {text!a}": (attached(base64Data=text), "attachments[1].base64Data", None) for text in NO_BASE64},
}


@pytest.mark.parametrize(("changes", "field", "text"), ONE_FAULT.values(), ids=ONE_FAULT.keys())
def test_invalid_message_field_is_reported(changes: Changes, field: str, text: str | None, api: Api) -> None:
    about = api.reference()
    given = changes.get(ABOUT)
    if isinstance(given, list):
        changes = {**changes, ABOUT: [about if item is ... else item for item in given]}
    message = api.message(**{ABOUT: [about], **changes})
    expect_violations(api.post_message(message), (field, text))
    assert api.read_messages(**about) == [], "a rejected message must not be stored"


@pytest.mark.parametrize("value", [0, 1, True, ["internal"]], ids=str)
def test_instance_must_be_a_name(value: object, api: Api) -> None:
    """Its index, which frameworks accept for an enum, is invalid. The wrong type may be reported in addition."""
    response = expect(api.post_message(api.message(oepInstance=value)), 400)
    assert {item["field"] for item in response.json()["violations"]} == {"oepInstance"}, describe_response(response)


def test_message_without_faults_is_accepted(api: Api) -> None:
    """Otherwise the rejections in this module would prove nothing."""
    about = api.unused_reference()
    references = [about, reference("abc", "x")]
    api.create_message(api.message(partyId=PARTY, externalReferences=references, **attached()))
    assert len(api.read_messages(**about)) == 1
