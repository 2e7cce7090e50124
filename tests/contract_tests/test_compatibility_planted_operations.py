"""Breaks planted in the operations of our web messages, beside what was published."""

from typing import Any

import pytest

from tests.contract_tests.real_contracts import since_now, since_published
from tests.contract_tests.small_contracts import GONE

MESSAGE = "paths > /webmessages/{id}"
CREATE = "paths > /webmessages > post"
BY_REFERENCE = "paths > /webmessages/external-references/{key}/{value} > get"

BREAKS: list[tuple[str, Any, str]] = [
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


@pytest.mark.parametrize(("place", "value", "line"), BREAKS)
def test_a_break_of_what_was_published_is_told(place: str, value: Any, line: str) -> None:
    assert line in since_published("web-messages", place, value)
    assert since_now("web-messages", place, value)
