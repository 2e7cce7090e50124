"""Events: equality, and their encoding."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.events import NO_OBJECT, Event, build_order_key, write_content

OBJECT, OTHER = ("11111111-0000-4000-8000-00000000000" + digit for digit in "12")
PLAIN = Event("a", 100008, 8, 101, 1, datetime(2026, 3, 1, tzinfo=UTC))
PERSON = {"identification_type": 1, "identification": "9999991234"}


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        (PERSON, PERSON | {"external_id": OBJECT}),
        (PERSON, PERSON | {"external_id": NO_OBJECT, "version": "2", "change": 3}),
        (PERSON, PERSON | {"id": "b", "entity_type": 1, "org_type": 1, "org_code": 1, "body": {"a": 1}}),
        ({"external_id": OBJECT}, {"external_id": OBJECT, "change": 2, "version": "2"}),
    ],
)
def test_order_key_is_equal_for_the_same_subject(changes, others):
    key = build_order_key(replace(PLAIN, **changes))
    assert key is not None
    assert key == build_order_key(replace(PLAIN, **others))


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        (PERSON, PERSON | {"identification": "9999991235"}),
        (PERSON, PERSON | {"identification_type": 2}),
        (PERSON, {"external_id": OBJECT}),
        ({"external_id": OBJECT}, {"external_id": OTHER}),
        # The content of one field cannot be mistaken for another field.
        (PERSON, {"external_id": "1:9999991234"}),
        ({"identification_type": 1, "identification": "1:2"}, {"identification_type": 11, "identification": "2"}),
    ],
)
def test_order_key_differs_for_another_subject(changes, others):
    assert build_order_key(replace(PLAIN, **changes)) != build_order_key(replace(PLAIN, **others))


@pytest.mark.parametrize(
    "changes", [{}, {"external_id": NO_OBJECT}, {"identification_type": 1}, {"identification": "9999991234"}]
)
def test_order_key_is_none_without_a_subject(changes):
    assert build_order_key(replace(PLAIN, **changes)) is None


def test_order_key_uses_the_object_without_a_complete_identification():
    key = build_order_key(replace(PLAIN, external_id=OBJECT))
    assert build_order_key(replace(PLAIN, external_id=OBJECT, identification_type=1)) == key


def test_order_key_does_not_contain_a_personal_number():
    key = build_order_key(replace(PLAIN, **PERSON))
    assert key is not None
    assert re.fullmatch("[0-9a-f]{32}", key)


def test_order_key_is_stable():
    """Stored rows contain the key: another format would let events about one person overtake each other."""
    assert build_order_key(replace(PLAIN, **PERSON)) == "2aaf7a8552b657a1cecabef1b593c8b0"
    assert build_order_key(replace(PLAIN, external_id=OBJECT)) == "3f1eaa3f85ee73e6990ba7c432b2a156"


def test_write_content_contains_all_properties():
    event = replace(PLAIN, external_id=OBJECT, version="7", body={"å": [1, None]}, **PERSON)
    assert json.loads(write_content(event)) == {
        "entityType": 100008,
        "orgType": 8,
        "orgCode": 101,
        "aendringstype": 1,
        "eksternIdentifier": OBJECT,
        "versionIdentifier": "7",
        "identifikationstypeId": 1,
        "identifikation": "9999991234",
        "body": {"å": [1, None]},
    }


def test_write_content_omits_absent_values():
    assert write_content(PLAIN) == '{"aendringstype":1,"entityType":100008,"orgCode":101,"orgType":8}'


@pytest.mark.parametrize(
    "changes",
    [{"id": "b"}, {"created": PLAIN.created + timedelta(days=1)}, {"body": {"b": {"y": 1, "x": 2}, "a": 1}}],
)
def test_write_content_is_equal_for_equal_events(changes):
    first = replace(PLAIN, body={"a": 1, "b": {"x": 2, "y": 1}})
    assert write_content(replace(first, **changes)) == write_content(first)


@pytest.mark.parametrize(
    "changes",
    [
        {"entity_type": 1},
        {"org_type": 1},
        {"org_code": 1},
        {"change": 2},
        {"external_id": OBJECT},
        {"version": "1"},
        PERSON,
        {"body": {}},
    ],
)
def test_write_content_differs_for_every_property(changes):
    assert write_content(replace(PLAIN, **changes)) != write_content(PLAIN)


def test_write_content_writes_no_number_outside_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_content(replace(PLAIN, body={"a": float("inf")}))
