"""Breaks planted in the schemas of our web messages, beside what was published."""

from typing import Any

import pytest

from tests.contract_tests.real_contracts import since_now, since_published
from tests.contract_tests.small_contracts import GONE

SCHEMAS = "components > schemas"

BREAKS: list[tuple[str, Any, str]] = [
    (
        f"{SCHEMAS} > WebMessage > properties > created",
        GONE,
        "answers WebMessage.created: no longer there",
    ),
    (
        f"{SCHEMAS} > WebMessage > properties > created > format",
        GONE,
        'answers WebMessage.created: format "date-time" is gone',
    ),
    (
        f"{SCHEMAS} > WebMessage > properties > created > readOnly",
        GONE,
        "answers WebMessage.created: readOnly true is gone",
    ),
    (
        f"{SCHEMAS} > WebMessage > properties > externalReferences > items > $ref",
        "#/components/schemas/Sender",
        "answers WebMessage.externalReferences[]: was named ExternalReference, is named Sender",
    ),
    (
        f"{SCHEMAS} > ExternalReference > properties > key",
        GONE,
        "answers ExternalReference.key: no longer there",
    ),
    (
        f"{SCHEMAS} > ExternalReferenceRequest > properties > key > type",
        GONE,
        'requests CreateWebMessageRequest.externalReferences[].key: type "string" is gone',
    ),
    (f"{SCHEMAS} > Problem > properties > detail", GONE, "answers Problem.detail: no longer there"),
    (
        f"{SCHEMAS} > Problem > properties > status",
        {"type": "integer"},
        "answers Problem.status: was named StatusType, is without a name",
    ),
    (
        f"{SCHEMAS} > Problem > properties > type > format",
        GONE,
        'answers Problem.type: format "uri" is gone',
    ),
    (
        f"{SCHEMAS} > Problem > properties > parameters > additionalProperties > type",
        "string",
        'answers Problem.parameters.*: type was "object", is "string"',
    ),
    (
        f"{SCHEMAS} > StatusType > properties > statusCode > format",
        "int64",
        'answers StatusType.statusCode: format was "int32", is "int64"',
    ),
    (
        f"{SCHEMAS} > CreateWebMessageRequest > properties > partyId",
        GONE,
        "requests CreateWebMessageRequest.partyId: no longer there",
    ),
    (
        f"{SCHEMAS} > CreateWebMessageRequest > required > 0",
        "partyId",
        "requests CreateWebMessageRequest.partyId: required now",
    ),
]


@pytest.mark.parametrize(("place", "value", "line"), BREAKS)
def test_a_break_of_what_was_published_is_told(place: str, value: Any, line: str) -> None:
    assert line in since_published("web-messages", place, value)
    assert since_now("web-messages", place, value)
