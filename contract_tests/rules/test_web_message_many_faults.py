"""Messages that violate many rules: one response names all of them."""

import json
from typing import Any

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import BLANK, NO_CASE, NO_UUID, REFERENCES, SIZE, expect_problem, expect_violations
from contract_tests.rules.messages import file, reference

pytestmark = pytest.mark.needs("sender")

ABOUT = "externalReferences"
TWO_CASES = [reference("flowInstanceId", "2147483646"), reference("flowInstanceId", "2147483647")]
NO_CONTENT = {"base64Data": "QQ=!"}

EVERYTHING: dict[str, Any] = {
    "partyId": "invalid",
    "message": None,
    ABOUT: [reference("flowInstanceId", "abc"), reference("ab", "x"), reference("abc", " ")],
    "sender": {"userId": "", "x": 1},
    "oepInstance": "x",
    "attachments": [file() | {"base64Data": "!"}, file() | {"fileName": "", "base64Data": 1}],
    "unknown": 1,
}
EVERY_FIELD = [
    ("partyId", NO_UUID),
    ("message", BLANK),
    (ABOUT, NO_CASE),
    (ABOUT, REFERENCES),
    (f"{ABOUT}[1].key", SIZE),
    ("sender.userId", BLANK),
    ("sender.x", None),
    ("oepInstance", None),
    ("attachments[0].base64Data", None),
    ("attachments[1].fileName", BLANK),
    ("attachments[1].base64Data", None),
    ("unknown", None),
]

MANY_FAULTS: dict[str, tuple[dict[str, Any], list[tuple[str, str | None]]]] = {
    "party and three others": (
        {"partyId": "invalid", "message": " ", ABOUT: [], "oepInstance": "x"},
        [("partyId", NO_UUID), ("message", BLANK), (ABOUT, REFERENCES), ("oepInstance", None)],
    ),
    "everything": (EVERYTHING, EVERY_FIELD),
    "nothing at all": ({"message": ..., ABOUT: ...}, [("message", BLANK), (ABOUT, REFERENCES)]),
    "a bad name and other bad content": (
        {"attachments": [file() | {"fileName": ""}, file() | NO_CONTENT]},
        [("attachments[0].fileName", BLANK), ("attachments[1].base64Data", None)],
    ),
    "a bad name and bad content of one": (
        {"attachments": [file() | {"fileName": "f" * 256} | NO_CONTENT]},
        [("attachments[0].fileName", None), ("attachments[0].base64Data", None)],
    ),
    "no content and other bad content": (
        {"attachments": [file() | {"base64Data": ""}, file() | NO_CONTENT]},
        [("attachments[0].base64Data", BLANK), ("attachments[1].base64Data", None)],
    ),
    "an unknown property and bad content": (
        {"attachments": [file() | NO_CONTENT | {"mimeType": "x"}]},
        [("attachments[0].base64Data", None), ("attachments[0].mimeType", None)],
    ),
    "eleven attachments and bad content": (
        {"attachments": [*[file()] * 10, file() | NO_CONTENT]},
        [("attachments", None), ("attachments[10].base64Data", None)],
    ),
    "two cases and a short key": (
        {ABOUT: [*TWO_CASES, reference("ab", "x")]},
        [(ABOUT, None), (f"{ABOUT}[2].key", SIZE)],
    ),
    "two cases and a message that is none": ({ABOUT: TWO_CASES, "message": 1}, [(ABOUT, None), ("message", None)]),
    "two cases and bad content": (
        {ABOUT: TWO_CASES, "attachments": [file() | NO_CONTENT]},
        [(ABOUT, None), ("attachments[0].base64Data", None)],
    ),
    "the smallest case, and a blank message": (
        {ABOUT: [reference("flowInstanceId", "1")], "message": " "},
        [("message", BLANK)],
    ),
    "the largest case, and a blank message": (
        {ABOUT: [reference("flowInstanceId", "2147483647")], "message": " "},
        [("message", BLANK)],
    ),
}


@pytest.mark.parametrize(("changes", "wanted"), MANY_FAULTS.values(), ids=MANY_FAULTS.keys())
def test_all_invalid_fields_are_reported(
    changes: dict[str, Any], wanted: list[tuple[str, str | None]], api: Api
) -> None:
    expect_violations(api.post_message(api.message(**changes)), *wanted)


def test_large_request_reports_the_same_faults_as_a_small_one(api: Api) -> None:
    body = b"\n" * (300 * 1024) + json.dumps(api.message(**EVERYTHING)).encode()
    expect_violations(api.post_message(body), *EVERY_FIELD)


def test_hundreds_of_faults_are_all_reported(api: Api) -> None:
    keys = [reference("k" * 129, "x")] * 300
    value = expect_problem(api.post_message(api.message(externalReferences=keys)), 400)
    fields = {item["field"] for item in value["violations"]}
    wanted = {f"{ABOUT}[{number}].key" for number in range(300)}
    assert fields == wanted, f"all 300 violations must be reported, but {len(fields)} fields were"


@pytest.mark.parametrize(
    ("body", "field"),
    [(b'{"message": " ", "externalReferences": [{"key": "abc", "value": "x"}]}', "message"), (b"{", "body")],
    ids=["fault", "no JSON"],
)
def test_faults_of_the_query_and_of_the_body_are_reported_together(body: bytes, field: str, api: Api) -> None:
    response = api.call("POST", "/webmessages?verbose=1", body=body)
    fields = sorted(item["field"] for item in response.json().get("violations", []))
    wanted = sorted(["createWebMessage.verbose", field])
    assert fields == wanted, f"expected violations of {wanted}, but was {response.status_code}: {response.text}"


@pytest.mark.parametrize("body", [[], None, 1, "x", True], ids=ascii)
def test_body_that_is_not_an_object_is_refused_as_a_whole(body: object, api: Api) -> None:
    expect_violations(api.post_message(json.dumps(body).encode()), ("body", None))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"x", b'{"message": NaN}'),
        *(b'{"a": 1,}', b"{'a': 1}", b"{a: 1}", b'{"a": 1} // no', b'/* no */ {"a": 1}', b'{"a": 01}', b"{}{}"),
    ],
)
def test_body_that_is_not_json_is_refused_as_a_whole(body: bytes, api: Api) -> None:
    expect_violations(api.post_message(body), ("body", None))


def test_body_that_parsers_read_differently_is_refused(api: Api) -> None:
    """Duplicate names and unpaired surrogates are rejected: some parsers use the first duplicate, others the last."""
    about = api.unused_reference()
    good = json.dumps(api.message(externalReferences=[about]))
    for body in (good.replace("{", '{"message": "Another", ', 1), good.replace('"A contract', '"\\ud800 A contract')):
        assert expect_problem(api.post_message(body.encode()), 400)["violations"], "a 400 must have violations"
    assert api.read_messages(**about) == [], "a rejected message must not be stored"
