"""Messages that break the contract or its rules: every fault is named at once, and nothing is stored or sent."""

import json
from typing import Any

import pytest

from contract_tests.attacks import (
    REFUSED_CASE,
    REFUSED_REFERENCE,
    accepted_reference,
    assert_violations,
    attachment,
    post,
    text,
)
from contract_tests.harm import messages_about
from contract_tests.target import Target

PADDING = {"small": b"", "large": b"\n" * (300 * 1024)}
REFERENCES = "externalReferences"


def case(value: Any, key: str = "flowInstanceId") -> dict[str, Any]:
    return {"key": key, "value": value}


def references(*more: Any) -> dict[str, Any]:
    """The references of an attack, and these."""
    return {REFERENCES: [REFUSED_REFERENCE, *more]}


ONE_FAULT: dict[str, tuple[dict[str, Any], str]] = {
    "message blank": ({"message": " \t\r\n"}, "message"),
    "message empty": ({"message": ""}, "message"),
    "message null": ({"message": None}, "message"),
    "message a number": ({"message": 1}, "message"),
    "message a list": ({"message": ["x"]}, "message"),
    "message of a no-break space": ({"message": "\u00a0"}, "message"),
    "message of a line separator": ({"message": "\u2028"}, "message"),
    "message with NUL": ({"message": "a\0"}, "message"),
    "message with a control character": ({"message": "a\x1b"}, "message"),
    "message with U+FFFE": ({"message": "a\ufffe"}, "message"),
    "no references": ({REFERENCES: []}, REFERENCES),
    "references null": ({REFERENCES: None}, REFERENCES),
    "references an object": ({REFERENCES: {}}, REFERENCES),
    "references a text": ({REFERENCES: "abc"}, REFERENCES),
    "a reference null": (references(None), REFERENCES),
    "a reference a number": (references(1), f"{REFERENCES}[1]"),
    "a reference with a blank value": (references(case(" ", "abc")), REFERENCES),
    "a reference with an empty value": (references(case("", "abc")), REFERENCES),
    "a reference with a null value": (references(case(None, "abc")), REFERENCES),
    "a reference without a value": (references({"key": "abc"}), REFERENCES),
    "a reference with a blank key": (references(case("x", "   ")), REFERENCES),
    "a reference without a key": (references({"value": "x"}), REFERENCES),
    "a reference with a short key": (references(case("x", "ab")), f"{REFERENCES}[1].key"),
    "a reference with a long key": (references(case("x", "k" * 129)), f"{REFERENCES}[1].key"),
    "a reference with a long value": (references(case("v" * 129, "abc")), f"{REFERENCES}[1].value"),
    "a reference with a number": (references(case(1, "abc")), f"{REFERENCES}[1].value"),
    "a reference with NUL in its key": (references(case("x", "abc\0")), f"{REFERENCES}[1].key"),
    "a reference with NUL in its value": (references(case("x\0", "abc")), f"{REFERENCES}[1].value"),
    "a reference with an unknown property": (references({**case("x", "abc"), "x": 1}), f"{REFERENCES}[1].x"),
    "two cases": (references(case("1"), case("2")), REFERENCES),
    "two cases in other spellings": (references(case("1", "FlowInstanceID"), case("2", "FLOWINSTANCEID")), REFERENCES),
    "case a number": (references(case(1068)), f"{REFERENCES}[1].value"),
    "party no UUID": ({"partyId": "invalid"}, "partyId"),
    "party empty": ({"partyId": ""}, "partyId"),
    "party a number": ({"partyId": 1}, "partyId"),
    "party with a line break": ({"partyId": "81471222-5798-11e9-ae24-57fa13b361e1\n"}, "partyId"),
    "party with NUL": ({"partyId": "81471222-5798-11e9-ae24-57fa13b361e1\0"}, "partyId"),
    "party with a full-width digit": ({"partyId": "\uff181471222-5798-11e9-ae24-57fa13b361e1"}, "partyId"),
    "instance unknown": ({"oepInstance": "other"}, "oepInstance"),
    "instance in other case": ({"oepInstance": "Internal"}, "oepInstance"),
    "instance with NUL": ({"oepInstance": "external\0"}, "oepInstance"),
    "sender a text": ({"sender": "joe"}, "sender"),
    "sender with an unknown property": ({"sender": {"userID": "joe"}}, "sender.userID"),
    "user empty": ({"sender": {"userId": ""}}, "sender.userId"),
    "user blank": ({"sender": {"userId": " "}}, "sender.userId"),
    "user too long": ({"sender": {"userId": "u" * 256}}, "sender.userId"),
    "user with NUL": ({"sender": {"userId": "a\0"}}, "sender.userId"),
    "unknown property": ({"attachment": []}, "attachment"),
    "attachments an object": ({"attachments": {}}, "attachments"),
    "an attachment null": ({"attachments": [None]}, "attachments[0]"),
    "an attachment a list": ({"attachments": [[]]}, "attachments[0]"),
    "eleven attachments": ({"attachments": [attachment()] * 11}, "attachments"),
    "an attachment with an unknown property": ({"attachments": [attachment(mimeType="x")]}, "attachments[0].mimeType"),
    "file name missing": ({"attachments": [{"base64Data": "QQ=="}]}, "attachments[0].fileName"),
    "file name null": ({"attachments": [attachment(fileName=None)]}, "attachments[0].fileName"),
    "file name empty": ({"attachments": [attachment(fileName="")]}, "attachments[0].fileName"),
    "file name blank": ({"attachments": [attachment(fileName=" ")]}, "attachments[0].fileName"),
    "file name of 256 characters": ({"attachments": [attachment(fileName="f" * 256)]}, "attachments[0].fileName"),
    "file name with NUL": ({"attachments": [attachment(fileName="a\0")]}, "attachments[0].fileName"),
    "content missing": ({"attachments": [{"fileName": "a"}]}, "attachments[0].base64Data"),
}
for _value in (
    "abc",
    "0",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    " 1",
    "1 ",
    "1\n",
    "\uff11",
    "2147483648",
    "9" * 10,
    "9" * 128,
):
    ONE_FAULT[f"case {_value[:20]!r}"] = (references(case(_value)), REFERENCES)
for _value in (
    None,
    1,
    [],
    {"base64Data": "QQ=="},
    "",
    "Q",
    "QQ",
    "QQ=",
    "====",
    "QQ=!",
    "QUJD!",
    "QQ==QQ==",
    "QQ=QQQ==",
):
    ONE_FAULT[f"content {_value!r}"] = ({"attachments": [attachment(base64Data=_value)]}, "attachments[0].base64Data")
for _value in ("_-8=", "QUJD\nQUJD", "QUJD QUJD", " QUJD", "QUJDå", "\uff21\uff21\uff21\uff21", "QQ==\0", "data:,QQ=="):
    ONE_FAULT[f"content {_value!r}"] = ({"attachments": [attachment(base64Data=_value)]}, "attachments[0].base64Data")


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING.keys())
@pytest.mark.parametrize(("changes", "field"), ONE_FAULT.values(), ids=ONE_FAULT.keys())
def test_fault_is_named(changes: dict[str, Any], field: str, padding: bytes, target: Target) -> None:
    assert_violations(target.send(post(padding + text(**changes))), field)


MANY_FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "party and three others": (
        {"partyId": "invalid", "message": " ", REFERENCES: [], "oepInstance": "x"},
        ["partyId", "message", REFERENCES, "oepInstance"],
    ),
    "everything": (
        {
            "partyId": "invalid",
            "message": None,
            REFERENCES: [case("abc"), case("x", "ab"), case(" ", "abc")],
            "sender": {"userId": "", "x": 1},
            "oepInstance": "x",
            "attachments": [attachment(base64Data="!"), attachment(fileName="", base64Data=1)],
            "unknown": 1,
        },
        [
            *("partyId", "message", REFERENCES, REFERENCES, f"{REFERENCES}[1].key", "sender.userId", "sender.x"),
            *("oepInstance", "attachments[0].base64Data", "attachments[1].fileName", "attachments[1].base64Data"),
            "unknown",
        ],
    ),
    "a bad name and other bad content": (
        {"attachments": [attachment(fileName=""), attachment(base64Data="QQ=!")]},
        ["attachments[0].fileName", "attachments[1].base64Data"],
    ),
    "a bad name and bad content of one": (
        {"attachments": [attachment(fileName="f" * 256, base64Data="QQ=!")]},
        ["attachments[0].fileName", "attachments[0].base64Data"],
    ),
    "no content and other bad content": (
        {"attachments": [attachment(base64Data=""), attachment(base64Data="QQ=!")]},
        ["attachments[0].base64Data", "attachments[1].base64Data"],
    ),
    "an unknown property and bad content": (
        {"attachments": [attachment(base64Data="QQ=!", mimeType="x")]},
        ["attachments[0].base64Data", "attachments[0].mimeType"],
    ),
    "eleven attachments and bad content": (
        {"attachments": [*[attachment()] * 10, attachment(base64Data="QQ=!")]},
        ["attachments", "attachments[10].base64Data"],
    ),
    "two cases and a short key": (
        references(case("1"), case("2"), case("x", "ab")),
        [REFERENCES, f"{REFERENCES}[3].key"],
    ),
    "two cases and a message that is none": (
        {**references(case("1"), case("2")), "message": 1},
        [REFERENCES, "message"],
    ),
    "two cases and bad content": (
        {**references(case("1"), case("2")), "attachments": [attachment(base64Data="QQ=!")]},
        [REFERENCES, "attachments[0].base64Data"],
    ),
}


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING.keys())
@pytest.mark.parametrize(("changes", "fields"), MANY_FAULTS.values(), ids=MANY_FAULTS.keys())
def test_every_fault_is_named(changes: dict[str, Any], fields: list[str], padding: bytes, target: Target) -> None:
    assert_violations(target.send(post(padding + text(**changes))), *fields)


@pytest.mark.parametrize(("key", "words"), [("\ufeff" * 3, "empty"), ("\u00a0" * 3, "empty"), ("ab\0", "U+0000")])
def test_words_say_what_is_wrong_with_a_key(key: str, words: str, target: Target) -> None:
    answer = target.send(post(text(externalReferences=[case("x", key)])))
    assert words in answer.json()["violations"][0]["message"]


@pytest.mark.parametrize("blank", ["\ufeff", "\u00a0", "\u3000", " \n"])
def test_words_say_that_a_message_is_blank(blank: str, target: Target) -> None:
    answer = target.send(post(text(message=blank)))
    assert answer.json()["violations"] == [{"field": "message", "message": "must not be blank"}]


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("name", "item"),
    [
        (REFERENCES, "0"),
        (REFERENCES, "{}"),
        (REFERENCES, '{"key":"a","value":"b"}'),
        (REFERENCES, '{"key":"flowInstanceId","value":"x"}'),
        ("attachments", "0"),
        ("attachments", '{"base64Data":"Q"}'),
        ("attachments", '{"fileName":"","base64Data":"Q"}'),
    ],
)
def test_body_of_nothing_but_faults_does_not_hold_up_others(name: str, item: str, target: Target) -> None:
    """Nobody needs all of them by name; and while they are found and told, all other callers wait."""
    items = ",".join([item] * (256 * 1024 // (len(item) + 1) - 10))
    body = f'{{"message": "x", "{name}": [{items}]}}'.encode()
    answer = target.send(post(body))
    assert answer.status == 400
    assert len(answer.body) < len(body)
    assert answer.body.count(b'"field"') <= 1002


def test_object_of_nothing_but_unknown_properties_does_not_hold_up_others(target: Target) -> None:
    body = json.dumps({f"x{number}": 1 for number in range(20_000)}).encode()
    answer = target.send(post(body))
    assert answer.status == 400
    assert len(answer.body) < len(body)
    assert answer.body.count(b'"field"') <= 1002


def test_nothing_that_may_be_left_out_is_missed(target: Target) -> None:
    reference = accepted_reference()
    options = {"partyId": None, "sender": None, "oepInstance": None, "attachments": None}
    assert target.send(post(text(externalReferences=[reference], **options))).status == 201
    assert target.send(post(text(externalReferences=[reference], sender={}, attachments=[]))).status == 201
    assert [set(message) for message in messages_about(target, **reference)] == [
        {"id", "message", "externalReferences", "oepInstance", "created"}
    ] * 2


def test_attack_is_a_message_but_for_its_fault(target: Target) -> None:
    """Else all the refusals here would prove nothing."""
    reference = accepted_reference()
    assert REFUSED_CASE["key"] == "flowInstanceId"
    assert target.send(post(text(externalReferences=[reference], attachments=[attachment()]))).status == 201
    assert len(messages_about(target, **reference)) == 1
