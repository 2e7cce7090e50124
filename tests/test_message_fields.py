"""What is derived from a web message contains all of its fields, but for those that are listed here with the reason.

A new field of `WebMessage` fails these tests until it is in `CHANGES`, and in each result or its list.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta

import pytest

from budkavle.commands.person import _describe
from budkavle.commands.web_messages import _describe_content
from domain.idempotency_keys import compute_fingerprint
from domain.web_messages import ExternalReference, OepInstance, WebMessage
from tests.factories import NOW, build_attachment, build_web_message

FULL = build_web_message(
    sender_user_id="joe",
    attachments=(build_attachment(),),
    municipality_id="2281",
    oep_instance_as_sent="EXTERNAL",
    own_open_e="2281/external",
    is_from_owner=True,
    sender_party_id="5b0c6e9c-5798-11e9-ae24-57fa13b361e1",
    citizen_id="0",
)
CHANGES: dict[str, object] = {
    "id": "2d3f4c1e-5798-41e9-ae24-57fa13b361e1",
    "message": "Another message",
    "external_references": (ExternalReference("errandNumber", "B"),),
    "party_id": "3e4f4c1e-5798-41e9-ae24-57fa13b361e1",
    "sender_user_id": "jane",
    "oep_instance": OepInstance.INTERNAL,
    "attachments": (),
    "created": NOW + timedelta(days=1),
    "municipality_id": "2260",
    "oep_instance_as_sent": "External",
    "own_open_e": "2260/external",
    "is_from_owner": False,
    "sender_party_id": "6c1d7fad-5798-11e9-ae24-57fa13b361e1",
    "citizen_id": "1",
}
"""A change of each field."""

NEVER_STORED = {"sender_party_id", "citizen_id"}
OF_THE_PUBLICATION = {"own_open_e", "oep_instance_as_sent", "is_from_owner"}
"""How Open-E was called, which says nothing about a person."""
ADDED_BY_THE_SERVICE = {"id", "created", "own_open_e", "citizen_id"}
"""A repetition of a request has other values, or the same because of other fields."""
IN_THE_STATUS = {"id", "created", "oep_instance"}
"""`budkavle messages show` prints them outside of the content."""


def describe_for_the_person(message: WebMessage) -> object:
    return _describe(message, "stored", {file.id: file.file_name for file in message.attachments})


@pytest.mark.parametrize(
    ("derive", "absent"),
    [
        pytest.param(compute_fingerprint, ADDED_BY_THE_SERVICE, id="fingerprint of idempotency keys"),
        # Messages are exported by party.
        pytest.param(describe_for_the_person, {"party_id"} | NEVER_STORED | OF_THE_PUBLICATION, id="person export"),
        pytest.param(
            _describe_content,
            # Municipalities have no cases in common.
            {"municipality_id"} | IN_THE_STATUS | NEVER_STORED | OF_THE_PUBLICATION,
            id="messages show",
        ),
    ],
)
def test_every_field_is_part_of_what_is_derived(derive: Callable[[WebMessage], object], absent: set[str]) -> None:
    assert CHANGES.keys() == {field.name for field in fields(WebMessage)}
    unchanged = {name for name, value in CHANGES.items() if derive(replace(FULL, **{name: value})) == derive(FULL)}
    assert unchanged == absent
