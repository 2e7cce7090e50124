"""Events that violate a rule: the response contains every error, and nothing is delivered."""

import json
from typing import Any

import pytest

from contract_tests.api import EVENT, Api
from contract_tests.rules.answers import describe_response, expect, expect_error_list, expect_errors, get_place
from contract_tests.rules.events import new_event_id
from contract_tests.rules.subscription_sets import NOT_VALID, UNKNOWN, unknown_type

pytestmark = pytest.mark.needs("publisher", "allowed")

UNKNOWN_ID = "0b1f4c1e-5798-41e9-ae24-57fa13b361e1"

ONE_FAULT: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: value}, name)
        for name in ("entityType", "orgType", "orgCode", "aendringstype")
        for value in (..., None, "1", True, 1.5, -2, 2147483648, 10**30, [1], {})
    ),
    *(({"aendringstype": value}, "aendringstype") for value in (0, 4)),
    ({"orgCode": 100_000_000}, "orgCode"),
    *(
        ({name: value}, name)
        for name in ("eksternIdentifier", "beskedId")
        for value in (None, 1, "", "x", "0" * 32, f"{{{UNKNOWN_ID}}}", f"{UNKNOWN_ID}\n", f"{UNKNOWN_ID[:-1]}\uff11")
    ),
    *(({"versionIdentifier": value}, "versionIdentifier") for value in (None, 1, "", "x" * 256, "a\0", [])),
    ({"identifikation": "x"}, "identifikationstypeId"),
    ({"identifikationstypeId": 1}, "identifikation"),
    *(
        ({"identifikationstypeId": 1, "identifikation": value}, "identifikation")
        for value in (None, 1, "", "x" * 256, "\0")
    ),
    *(
        ({"identifikation": "x", "identifikationstypeId": value}, "identifikationstypeId")
        for value in (None, "1", -1, 2147483648)
    ),
    *(({"body": value}, "body") for value in (None, [], "x", 1, {"a\0": 1}, {"a": [{"b": "\0"}]})),
    ({"x": 1}, "x"),
    ({"orgtype": 1}, "orgtype"),
]


def event(api: Api, **changes: Any) -> dict[str, Any]:
    org_type, entity_type = api.target.allowed[0]
    return api.event({"orgType": org_type, "orgCode": -1, "entityType": entity_type}, **changes)


@pytest.mark.parametrize(("changes", "field"), ONE_FAULT, ids=[ascii(changes)[:60] for changes, _ in ONE_FAULT])
def test_invalid_event_field_is_reported(changes: dict[str, Any], field: str, api: Api) -> None:
    """identifikationstypeId and identifikation must be given together or not at all; no text may contain U+0000."""
    expect_errors(api.publish(event(api, **changes)), 400, (None, field, NOT_VALID))


def test_event_of_an_unknown_type_is_refused(api: Api) -> None:
    unknown = unknown_type(api)
    (error,) = expect_errors(api.publish(event(api, entityType=unknown)), 400, (None, "entityType", UNKNOWN))
    assert error["message"].startswith("Det angivne beskedtypeId er ikke kendt i systemet"), error
    org_type, _ = api.target.allowed[0]
    assert (error["orgtype"], error["orgcode"], error["entitytype"]) == (org_type, -1, unknown), error
    for number in (0, 2147483647):
        response = api.publish(event(api, entityType=number))
        # The id of an accepted event may contain any digits.
        codes = [] if response.ok else [get_place(error)[2] for error in expect_error_list(response, 400)]
        assert NOT_VALID not in codes, f"entityType {number} must be valid, but {describe_response(response)}"


def test_all_errors_of_an_event_are_reported_together(api: Api) -> None:
    bad = event(
        api,
        entityType=unknown_type(api),
        orgType="x",
        orgCode=...,
        aendringstype=9,
        eksternIdentifier="x",
        identifikation="1",
        body={"a": "x" * 65_536},
        more=1,
    )
    expect_errors(
        api.call("POST", f"{EVENT}?x=1", body=bad),
        400,
        *((None, field, NOT_VALID) for field in ("aendringstype", "body", "eksternIdentifier")),
        (None, "entityType", UNKNOWN),
        *((None, field, NOT_VALID) for field in ("identifikationstypeId", "more", "orgCode", "orgType", "x")),
    )


def test_errors_contain_the_integers_of_the_event(api: Api) -> None:
    """Errors contain the integers of the event, and null for other values."""
    org_type, entity_type = api.target.allowed[0]
    for changes, subject in (
        ({"aendringstype": 9, "x": 1}, (org_type, -1, entity_type)),
        ({"orgCode": 100_000_000, "orgType": "1"}, (None, 100_000_000, entity_type)),
        ({"body": {"a": "x" * 65_536}, "orgCode": ...}, (org_type, None, entity_type)),
    ):
        for error in expect_error_list(api.publish(event(api, **changes)), 400):
            found = (error["orgtype"], error["orgcode"], error["entitytype"])
            assert found == subject, f"the error must have orgtype, orgcode and entitytype {subject}, but was {error}"


def test_id_of_a_refused_event_can_be_used(api: Api) -> None:
    id_ = new_event_id(api)
    expect(api.publish(event(api, beskedId=id_, aendringstype=4)), 400)
    expect(api.publish(event(api, beskedId=id_, entityType=unknown_type(api))), 400)
    expect(api.publish(event(api, beskedId=id_)), 202)


@pytest.mark.needs("certificate", "system")
def test_refused_event_is_not_delivered(own_set: Api) -> None:
    entry = own_set.entry()
    own_set.subscribe(entry)
    for changes in ({"x": 1}, {"aendringstype": 4}, {"body": []}, {"identifikation": "x"}):
        expect(own_set.publish(own_set.event(entry, **changes)), 400)
    assert own_set.deliveries() == []


@pytest.mark.parametrize("body", [None, [], 1, "x", [{}]], ids=ascii)
def test_body_that_is_not_an_object_is_reported_as_a_whole(body: object, api: Api) -> None:
    expect_errors(api.publish(json.dumps(body).encode()), 400, (None, None, NOT_VALID))


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"\xff"])
def test_body_that_is_not_json_is_reported_as_a_whole(body: bytes, api: Api) -> None:
    expect_errors(api.publish(body), 400, (None, None, NOT_VALID))


@pytest.mark.parametrize("key", [None, "", "unknown-key"])
def test_publishing_requires_a_known_key(key: str | None, api: Api) -> None:
    """The key is checked before any part of the request is read."""
    headers = {} if key is None else {"apikey": key}
    for body, content_type in ((event(api), "application/json"), (b"{", "application/json"), (b"x", "text/plain")):
        response = api.publish(body, headers=headers, content_type=content_type, caller="anonymous")
        expect_errors(response, 401, (None, None, 1012))
        assert "apikey" in response.headers.get("WWW-Authenticate", ""), (
            "WWW-Authenticate must name the header of the API key"
        )


@pytest.mark.needs("other_key")
def test_key_of_another_scope_publishes_nothing(api: Api) -> None:
    """A key with the scope `messages` only cannot publish. 403 precedes errors of the body."""
    for body in (event(api), {}, b"{"):
        expect_errors(api.publish(body, caller="sender"), 403, (None, None, 1013))


@pytest.mark.needs("certificate")
def test_certificate_of_a_system_publishes_nothing(api: Api) -> None:
    expect_errors(api.publish(event(api), caller="system"), 401, (None, None, 1012))


def test_json_is_accepted_with_any_spelling_of_its_media_type(api: Api) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON"):
        expect(api.publish(event(api), content_type=content_type), 202)


def test_other_media_type_is_refused(api: Api) -> None:
    body = json.dumps(event(api)).encode()
    for options in ({"content_type": "text/plain"}, {"headers": {"Content-Encoding": "gzip"}}):
        expect_errors(api.publish(body, **options), 415, (None, None, NOT_VALID))
