"""Breaks of what our contracts have beside what was published, and changes that break nothing."""

from typing import Any

import pytest

from tests.contract_tests.real_contracts import OURS, since_now
from tests.contract_tests.small_contracts import GONE

SCHEMAS = "components > schemas"
CREATE = "paths > /webmessages > post"
SYNC = "paths > /v1/abonnement/sync > post"

BREAKS: list[tuple[str, str, Any, str]] = [
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
        "components > securitySchemes > PublishKeyAuth > x-scope",
        "admin",
        'security scheme PublishKeyAuth: x-scope was "publish", is "admin"',
    ),
]


@pytest.mark.parametrize(("name", "place", "value", "line"), BREAKS)
def test_a_break_of_what_was_added_since_is_told(name: str, place: str, value: Any, line: str) -> None:
    assert line in since_now(name, place, value)


@pytest.mark.parametrize("name", OURS)
def test_a_contract_in_other_words_is_the_same(name: str) -> None:
    assert since_now(name, "info", {"title": "Another", "version": "2"}) == set()


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
def test_what_is_only_added_is_compatible(name: str, place: str, value: Any) -> None:
    assert since_now(name, place, value) == set()
