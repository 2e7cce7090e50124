"""Events are accepted exactly once, regardless of repetitions."""

from collections.abc import Callable
from typing import Any

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import describe_response, expect, expect_errors
from contract_tests.rules.events import NO_OBJECT, deliveries_to, new_event_id, publish
from contract_tests.rules.subscription_sets import ANOTHER, another_type
from contract_tests.rules.together import run_concurrently

pytestmark = pytest.mark.needs("publisher", "certificate", "system", "allowed")

Event = dict[str, Any]


def test_event_is_accepted_with_an_id(own_set: Api) -> None:
    response = expect(own_set.publish(own_set.event(own_set.entry())), 202)
    answer = response.json()
    assert set(answer) == {"beskedId", "abonnementer"}, describe_response(response)
    again = expect(own_set.publish(own_set.event(own_set.entry())), 202).json()
    assert again["beskedId"] != answer["beskedId"], "each event must have its own id"


def reordered(event: Event) -> Event:
    return dict(reversed(event.items())) | {"body": dict(reversed(event["body"].items()))}


AGAIN: dict[str, Callable[[Event], Event]] = {
    "as it was": lambda event: event,
    "in another order": reordered,
    "with UUIDs in upper case": lambda event: (
        event | {name: event[name].upper() for name in ("beskedId", "eksternIdentifier")}
    ),
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN.keys())
def test_repeated_event_gets_the_same_response(again: Callable[[Event], Event], own_set: Api) -> None:
    """The first response is 202, later ones are 200 with the same body, although subscriptions have changed."""
    entry = own_set.entry()
    own_set.subscribe(entry)
    event = own_set.event(
        entry,
        beskedId=new_event_id(own_set),
        eksternIdentifier=own_set.uuid(),
        versionIdentifier="7",
        body={"a": 1, "b": [2, {"c": None}]},
    )
    first = expect(own_set.publish(event), 202)
    assert first.json()["beskedId"] == event["beskedId"], describe_response(first)
    assert len([item for item in deliveries_to(own_set, entry) if item["beskedId"] == event["beskedId"]]) <= 1
    own_set.subscribe()
    second = expect(own_set.publish(again(event)), 200)
    assert second.json() == first.json(), f"expected the first response, {first.text}, but {describe_response(second)}"
    own_set.subscribe(entry)
    assert deliveries_to(own_set, entry) == [], "a repeated event must not be delivered again"


def test_id_of_an_event_is_returned_in_lower_case(own_set: Api) -> None:
    id_ = new_event_id(own_set)
    response = expect(own_set.publish(own_set.event(own_set.entry(), beskedId=id_.upper())), 202)
    assert response.json()["beskedId"] == id_, describe_response(response)


def test_concurrent_identical_events_are_accepted_once(own_set: Api) -> None:
    """A publisher that repeats the request before the response gets the same response, and there is one delivery."""
    entry = own_set.entry()
    own_set.subscribe(entry)
    for number in range(1, 4):
        event = own_set.event(entry, beskedId=new_event_id(own_set))
        answers = run_concurrently(own_set.publish, [event] * 6)
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200] * 5 + [202], f"expected one 202 and otherwise 200, but got {statuses}"
        bodies = [answer.json() for answer in answers]
        assert bodies[0]["beskedId"] == event["beskedId"], bodies
        assert bodies == bodies[:1] * 6, f"all responses must have the same body, but got {bodies}"
        assert len(deliveries_to(own_set, entry)) <= number, "a repeated event must not be delivered again"


def test_event_can_be_repeated_with_its_generated_id(own_set: Api) -> None:
    event = own_set.event(own_set.entry(), body={"a": 1})
    first = expect(own_set.publish(event), 202).json()
    again = expect(own_set.publish(event | {"beskedId": first["beskedId"]}), 200)
    assert again.json() == first, describe_response(again)


def test_event_of_another_type_with_the_same_id_is_a_conflict(own_set: Api) -> None:
    event = own_set.event(own_set.entry(), beskedId=new_event_id(own_set))
    expect(own_set.publish(event), 202)
    other = event | {"entityType": another_type(own_set)}
    expect_errors(own_set.publish(other), 409, (None, None, ANOTHER))


BODY = {"a": 1, "text": "x", "list": [1, 2], "large": 12345678901234567890}
"""Changes of an event, however small, that make it a different event."""


@pytest.mark.parametrize(
    "changes",
    [
        *({"aendringstype": 2}, {"orgCode": 102}, {"orgType": 2147483647}, {"eksternIdentifier": NO_OBJECT}),
        *({"body": BODY | {"a": value}} for value in (2, "1", [1])),
        *({"body": BODY | change} for change in ({"b": None}, {"text": "X"}, {"list": [2, 1]})),
        {"body": BODY | {"large": 12345678901234567891}},
        *({"versionIdentifier": value} for value in ("8", "7b ", "7B")),
        *({name: ...} for name in ("body", "versionIdentifier", "eksternIdentifier")),
        *({"identifikation": value} for value in ("y", "X")),
        {"identifikationstypeId": 3},
        {"identifikationstypeId": ..., "identifikation": ...},
    ],
    ids=str,
)
def test_another_event_with_the_same_id_is_a_conflict(changes: Event, own_set: Api) -> None:
    """The conflicting event has no effect: the first one remains stored."""
    entry = own_set.entry()
    unchanged = {"versionIdentifier": "7b", "identifikationstypeId": 2, "identifikation": "x", "body": BODY}
    event = own_set.event(entry, beskedId=new_event_id(own_set), eksternIdentifier=own_set.uuid(), **unchanged)
    first = expect(own_set.publish(event), 202)
    own_set.subscribe(entry, own_set.entry(orgCode=102))
    other = {name: value for name, value in (event | changes).items() if value is not ...}
    (error,) = expect_errors(own_set.publish(other), 409, (None, None, ANOTHER))
    assert error["message"] == "Der er allerede oprettet en anden besked med samme beskedId", error
    assert own_set.deliveries() == [], "a rejected event must not be delivered"
    assert expect(own_set.publish(event), 200).json() == first.json()


@pytest.mark.parametrize(
    "changes",
    [
        *({"aendringstype": number} for number in (2, 3)),
        *({"orgType": number} for number in (0, 2147483647)),
        *({"orgCode": number} for number in (-1, 99_999_999)),
        {"versionIdentifier": "😀" * 255, "identifikationstypeId": 2, "identifikation": "😀" * 255},
        {"versionIdentifier": " ", "identifikationstypeId": 2, "identifikation": " "},
        {"eksternIdentifier": NO_OBJECT},
        {"versionIdentifier": "å" * 255},
        {"identifikationstypeId": 0, "identifikation": "x"},
        {"identifikationstypeId": 2147483647, "identifikation": "å" * 255},
        {"body": {}},
        {"body": {"": {}, "å😀": [1, -0.5, 1e300, 12345678901234567890123, True, None, "\t\\u0000"]}},
    ],
    ids=ascii,
)
def test_event_with_values_at_the_limits_is_accepted(changes: Event, own_set: Api) -> None:
    event = own_set.event(own_set.entry(), beskedId=new_event_id(own_set), **changes)
    expect(own_set.publish(event), 202)
    expect(own_set.publish(event), 200)


def test_event_body_is_limited_to_64_kib(own_set: Api) -> None:
    """The limit is 65536 bytes of compact JSON in UTF-8; white space and escapes of the request do not count."""
    entry = own_set.entry()
    largest = "å" * ((65_536 - len('{"a":""}')) // 2)
    publish(own_set, entry, body={"a": largest})
    expect_errors(own_set.publish(own_set.event(entry, body={"a": largest + "x"})), 400, (None, "body", 1014))


@pytest.mark.parametrize("length", [65_535, 65_536])
def test_body_size_includes_property_names(length: int, own_set: Api) -> None:
    frame = '{"name":["",1]}'
    publish(own_set, own_set.entry(), body={"name": ["x" * (length - len(frame)), 1]})
    too_large = own_set.event(own_set.entry(), body={"name": ["x" * (65_537 - len(frame)), 1]})
    expect_errors(own_set.publish(too_large), 400, (None, "body", 1014))


def test_request_is_limited_to_256_kib(own_set: Api) -> None:
    largest = own_set.event(own_set.entry(), body={})
    text = str(largest).replace("'", '"').encode()
    expect(own_set.publish(text + b" " * (262_144 - len(text))), 202)
    expect_errors(own_set.publish(text + b" " * (262_145 - len(text))), 413, (None, None, 1014))
