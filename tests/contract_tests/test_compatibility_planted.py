"""Breaks planted in our contracts, in published and in added parts, and changes that break nothing."""

from typing import Any

import pytest

from tests.contract_tests.real_contracts import OURS, compare_with_current, compare_with_published
from tests.contract_tests.small_contracts import GONE

SCHEMAS = "components > schemas"
CREATE = "paths > /webmessages > post"
MESSAGE = "paths > /webmessages/{id}"
BY_REFERENCE = "paths > /webmessages/external-references/{key}/{value} > get"
SYNC = "paths > /v1/abonnement/sync > post"

OF_MESSAGE_OPERATIONS: list[tuple[str, Any, str]] = [
    (MESSAGE, GONE, "/webmessages/{id}: no longer there"),
    (f"{MESSAGE} > delete", GONE, "DELETE /webmessages/{id}: no longer there"),
    (
        f"{MESSAGE} > get > operationId",
        "getIt",
        'getWebMessageById: operationId was "getWebMessageById", is "getIt"',
    ),
    (
        f"{MESSAGE} > get > tags",
        ["Other"],
        'getWebMessageById: tags was ["WebMessages"], is ["Other"]',
    ),
    (
        f"{BY_REFERENCE} > parameters > 0",
        GONE,
        "getWebMessagesByExternalReference path key: no longer there",
    ),
    (
        f"{BY_REFERENCE} > parameters > 1 > schema > maxLength",
        127,
        "getWebMessagesByExternalReference path value: maxLength was 128, is 127",
    ),
    (
        f"{BY_REFERENCE} > parameters > 0 > schema > type",
        "integer",
        'getWebMessagesByExternalReference path key: type was "string", is "integer"',
    ),
    (
        f"{CREATE} > parameters > 0",
        {"name": "dry", "in": "query", "required": True, "schema": {"type": "boolean"}},
        "createWebMessage query dry: required now",
    ),
    (f"{CREATE} > responses > 404", GONE, "createWebMessage 404: no longer there"),
    (
        f"{MESSAGE} > get > responses > 200 > content > application/problem+json",
        GONE,
        "getWebMessageById 200 application/problem+json: no longer there",
    ),
    (
        "components > responses > BadRequestToDelete > content > */*",
        GONE,
        "deleteWebMessageById 400 */*: no longer there",
    ),
    (
        f"{CREATE} > responses > 201 > content",
        {"application/json": {}},
        "createWebMessage 201: has content now",
    ),
    (
        f"{MESSAGE} > get > responses > 200 > content > application/json > schema > $ref",
        "#/components/schemas/Problem",
        "getWebMessageById 200 application/json: was named WebMessage, is named Problem",
    ),
    (
        "components > responses > WebMessages > content > application/json > schema > items > $ref",
        "#/components/schemas/Sender",
        "getWebMessagesByPartyId 200 application/json[]: was named WebMessage, is named Sender",
    ),
    (
        "components > responses > NotFound > content > application/json > schema > $ref",
        "#/components/schemas/StatusType",
        "getWebMessageById 404 application/json: was named Problem, is named StatusType",
    ),
    (
        f"{CREATE} > requestBody > content > application/json",
        GONE,
        "createWebMessage body application/json: no longer there",
    ),
    (
        f"{CREATE} > requestBody > content > application/json > schema > $ref",
        "#/components/schemas/CreateWebMessagePart",
        "createWebMessage body application/json: was named CreateWebMessageRequest, is named CreateWebMessagePart",
    ),
    (
        f"{CREATE} > responses > 201 > headers > Location",
        GONE,
        "createWebMessage 201 header Location: no longer there",
    ),
    (
        f"{CREATE} > responses > 201 > headers > Location > style",
        "form",
        "createWebMessage 201 header Location: style changed, look",
    ),
    (
        f"{CREATE} > responses > 201 > headers > Location > schema > type",
        "integer",
        'createWebMessage 201 header Location: type was "string", is "integer"',
    ),
    (
        "security",
        [{"ApiKeyAuth": []}, {}],
        "createWebMessage: security demands less, look: was ApiKeyAuth, is ApiKeyAuth or open to all",
    ),
    (
        "components > securitySchemes > ApiKeyAuth > name",
        "X-Key",
        'security scheme ApiKeyAuth: name was "apikey", is "X-Key"',
    ),
]

OF_MESSAGE_SCHEMAS: list[tuple[str, Any, str]] = [
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

OF_SYNC: list[tuple[str, Any, str]] = [
    ("paths > /v1/abonnement/sync", GONE, "/v1/abonnement/sync: no longer there"),
    (
        f"{SYNC} > operationId",
        "sync",
        'syncWebhookAbonnementer: operationId was "syncWebhookAbonnementer", is "sync"',
    ),
    (
        f"{SYNC} > requestBody > content > application/json",
        GONE,
        "syncWebhookAbonnementer body application/json: no longer there",
    ),
    (f"{SYNC} > responses > 500", GONE, "syncWebhookAbonnementer 500: no longer there"),
    (
        f"{SCHEMAS} > Error > properties > entitytype",
        GONE,
        "answers Error.entitytype: no longer there",
    ),
    (
        f"{SCHEMAS} > Error > properties > errorCode > type",
        "string",
        'answers Error.errorCode: type was "integer", is "string"',
    ),
    (
        f"{SCHEMAS} > Errors > properties > errors > items > $ref",
        "#/components/schemas/Subscription",
        "answers Errors.errors[]: was named Error, is named Subscription",
    ),
    (
        f"{SCHEMAS} > Subscription > required > 0",
        "slutDato",
        "requests Subscription.slutDato: required now",
    ),
]

OF_ADDED_PARTS: list[tuple[str, str, Any, str]] = [
    (
        "web-messages",
        "paths > /webmessages/{id}/attachments/{attachmentId}",
        GONE,
        "/webmessages/{id}/attachments/{attachmentId}: no longer there",
    ),
    (
        "web-messages",
        f"{SCHEMAS} > MessageText > maxLength",
        1000,
        "requests MessageText: maxLength was 16777215, is 1000",
    ),
    (
        "web-messages",
        f"{SCHEMAS} > WebMessage > required > 4",
        GONE,
        "answers WebMessage.created: no longer always there",
    ),
    (
        "web-messages",
        f"{SCHEMAS} > CreateWebMessageRequest > properties > partyId > nullable",
        False,
        "requests CreateWebMessageRequest.partyId: may no longer be null",
    ),
    (
        "web-messages",
        f"{SCHEMAS} > ExternalReferenceRequest > allOf > 0 > anyOf > 0",
        GONE,
        "requests ExternalReferenceRequest: allOf changed, look",
    ),
    (
        "web-messages",
        f"{CREATE} > requestBody > content > multipart/form-data > encoding",
        GONE,
        "createWebMessage body multipart/form-data: encoding changed, look",
    ),
    (
        "web-messages",
        "components > parameters > Limit > schema > maximum",
        100,
        "parameter Limit: maximum was 1000, is 100",
    ),
    (
        "web-messages",
        "components > responses > WebMessages > headers > Link",
        GONE,
        "response WebMessages header Link: no longer there",
    ),
    (
        "subscriptions",
        f"{SCHEMAS} > Error > properties > errorCode > enum > 4",
        GONE,
        "answers Error.errorCode: enum no longer has 1014",
    ),
    (
        "subscriptions",
        f"{SCHEMAS} > Error > properties > errorCode > enum > 0",
        1002,
        "answers Error.errorCode: enum has 1002 now",
    ),
    (
        "subscriptions",
        f"{SCHEMAS} > SyncRequest > properties > abonnementer > maxItems",
        10,
        "requests SyncRequest.abonnementer: maxItems was 50000, is 10",
    ),
    (
        "subscriptions",
        f"{SYNC} > responses > 200 > links > Current",
        GONE,
        "syncWebhookAbonnementer 200 link Current: no longer there",
    ),
    (
        "subscriptions",
        f"{SCHEMAS} > Delivery > properties > oprettet > nullable",
        True,
        "answers Delivery.oprettet: may be null now",
    ),
    (
        "operations",
        "paths > /health/live > get > responses > 200 > headers > x-request-id",
        GONE,
        "getHealthLive 200 header x-request-id: no longer there",
    ),
    (
        "subscriptions",
        "paths > /v1/besked > post > x-scope",
        "admin",
        'opretBesked: x-scope was "publish", is "admin"',
    ),
]


@pytest.mark.parametrize(
    ("name", "place", "value", "line"),
    [
        *(("web-messages", *each) for each in (*OF_MESSAGE_OPERATIONS, *OF_MESSAGE_SCHEMAS)),
        *(("subscriptions", *each) for each in OF_SYNC),
    ],
)
def test_break_of_the_published_contract_is_reported(name: str, place: str, value: Any, line: str) -> None:
    assert line in compare_with_published(name, place, value)
    assert compare_with_current(name, place, value)


@pytest.mark.parametrize(("name", "place", "value", "line"), OF_ADDED_PARTS)
def test_break_of_an_added_part_is_reported(name: str, place: str, value: Any, line: str) -> None:
    assert line in compare_with_current(name, place, value)


@pytest.mark.parametrize("name", OURS)
def test_contract_with_other_descriptions_is_compatible(name: str) -> None:
    assert compare_with_current(name, "info", {"title": "Another", "version": "2"}) == set()


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("web-messages", f"{SCHEMAS} > WebMessage > properties > read", {"type": "boolean"}),
        ("web-messages", f"{SCHEMAS} > CreateWebMessageRequest > properties > urgent", {"type": "boolean"}),
        ("web-messages", f"{SCHEMAS} > MessageText > maxLength", 20000000),
        ("web-messages", f"{CREATE} > responses > 418", {"description": "A teapot."}),
        ("web-messages", f"{CREATE} > description", "Other words."),
        ("subscriptions", f"{SYNC} > parameters > 0", {"name": "trace", "in": "query", "schema": {"type": "string"}}),
        ("subscriptions", "paths > /v1/new", {"get": {"operationId": "getNew", "responses": {}}}),
    ],
)
def test_additions_are_compatible(name: str, place: str, value: Any) -> None:
    assert compare_with_current(name, place, value) == set()
