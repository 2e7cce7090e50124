"""What the owners published of WebMessageSender is still in our contract.

The table is the published contract in short: `spec/web-messages.yaml` may say more, never less.
"""

from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY

SPEC: dict[str, Any] = yaml.safe_load((REPOSITORY / "spec" / "web-messages.yaml").read_text())

JSON = "application/json"
PROBLEM = "application/problem+json"
BOTH = {JSON, PROBLEM}
ANY = {"*/*"}
LENGTH = {"minLength": 3, "maxLength": 128}

OPERATIONS: dict[str, tuple[str, str, dict[str, dict[str, int]], dict[str, set[str]]]] = {
    "createWebMessage": (
        "post",
        "/webmessages",
        {},
        {"201": set(), "400": {PROBLEM}, "404": {PROBLEM}, "500": {PROBLEM}},
    ),
    "getWebMessageById": (
        "get",
        "/webmessages/{id}",
        {"id": {}},
        {"200": BOTH, "400": BOTH, "404": BOTH, "500": BOTH},
    ),
    "deleteWebMessageById": (
        "delete",
        "/webmessages/{id}",
        {"id": {}},
        {"204": set(), "400": ANY, "404": ANY, "500": ANY},
    ),
    "getWebMessagesByPartyId": (
        "get",
        "/webmessages/recipients/{partyId}",
        {"partyId": {}},
        {"200": BOTH, "400": BOTH, "404": BOTH, "500": BOTH},
    ),
    "getWebMessagesByExternalReference": (
        "get",
        "/webmessages/external-references/{key}/{value}",
        {"key": LENGTH, "value": LENGTH},
        {"200": BOTH, "400": BOTH, "404": BOTH, "500": BOTH},
    ),
}
"""Operation id: method, path, path parameters with their limits, answers with their media types."""

SCHEMAS: dict[str, dict[str, str]] = {
    "CreateWebMessageRequest": {"partyId": "string", "message": "string", "externalReferences": "array"},
    "ExternalReference": {"key": "string", "value": "string"},
    "Problem": {
        "instance": "string",
        "type": "string",
        "parameters": "object",
        "status": "object",
        "title": "string",
        "detail": "string",
    },
    "StatusType": {"statusCode": "integer", "reasonPhrase": "string"},
    "WebMessage": {
        "id": "string",
        "partyId": "string",
        "message": "string",
        "externalReferences": "array",
        "created": "string",
    },
}
"""Schema: its properties with their types."""

ANSWERS = {"getWebMessageById": "WebMessage"}
LISTS = {"getWebMessagesByPartyId": "WebMessage", "getWebMessagesByExternalReference": "WebMessage"}


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = SPEC
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def operation(operation_id: str) -> dict[str, Any]:
    method, path, _, _ = OPERATIONS[operation_id]
    found: dict[str, Any] = SPEC["paths"][path][method]
    return found


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_published_operation_is_where_it_was(operation_id: str) -> None:
    assert operation(operation_id)["operationId"] == operation_id
    assert operation(operation_id)["tags"] == ["WebMessages"]


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_published_parameter_is_there_and_no_other_is_required(operation_id: str) -> None:
    published = OPERATIONS[operation_id][2]
    parameters = [resolved(parameter) for parameter in operation(operation_id).get("parameters", [])]
    in_path = {parameter["name"]: parameter for parameter in parameters if parameter["in"] == "path"}
    assert set(in_path) == set(published)
    for name, limits in published.items():
        schema = resolved(in_path[name]["schema"])
        assert (schema["type"], in_path[name]["required"]) == ("string", True)
        assert {key: schema[key] for key in limits} == limits
    assert not any(parameter.get("required") for parameter in parameters if parameter["in"] != "path")


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_published_answer_is_there_in_its_media_types(operation_id: str) -> None:
    answers = operation(operation_id)["responses"]
    for status, media_types in OPERATIONS[operation_id][3].items():
        content = resolved(answers[status]).get("content", {})
        assert media_types <= set(content), status
        if not media_types:
            assert not content, status
        for media_type in media_types:
            schema = content[media_type]["schema"]
            if status != "200":
                assert schema == {"$ref": "#/components/schemas/Problem"}
            elif operation_id in LISTS:
                expected = {"$ref": f"#/components/schemas/{LISTS[operation_id]}"}
                assert (schema["type"], schema["items"]) == ("array", expected)
            else:
                assert schema == {"$ref": f"#/components/schemas/{ANSWERS[operation_id]}"}


def test_a_message_is_posted_as_json_and_its_place_is_told() -> None:
    create = operation("createWebMessage")
    assert create["requestBody"]["required"] is True
    content = create["requestBody"]["content"][JSON]
    assert content["schema"] == {"$ref": "#/components/schemas/CreateWebMessageRequest"}
    location = create["responses"]["201"]["headers"]["Location"]
    assert (location["style"], location["schema"]["type"]) == ("simple", "string")


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_published_property_is_there_with_its_type(name: str) -> None:
    properties = {key: resolved(schema) for key, schema in SPEC["components"]["schemas"][name]["properties"].items()}
    assert {key: properties[key]["type"] for key in SCHEMAS[name]} == SCHEMAS[name]


def test_formats_are_those_that_were_published() -> None:
    schemas = SPEC["components"]["schemas"]
    assert schemas["WebMessage"]["properties"]["created"]["format"] == "date-time"
    assert schemas["WebMessage"]["properties"]["created"]["readOnly"] is True
    assert schemas["StatusType"]["properties"]["statusCode"]["format"] == "int32"
    assert [schemas["Problem"]["properties"][name]["format"] for name in ("instance", "type")] == ["uri", "uri"]


def test_references_are_lists_of_key_and_value() -> None:
    schemas = SPEC["components"]["schemas"]
    assert schemas["WebMessage"]["properties"]["externalReferences"]["items"] == {
        "$ref": "#/components/schemas/ExternalReference"
    }
    request = resolved(schemas["CreateWebMessageRequest"]["properties"]["externalReferences"]["items"])
    assert {name: schema["type"] for name, schema in request["properties"].items()} == SCHEMAS["ExternalReference"]


def test_the_key_stands_in_the_header_that_was_published() -> None:
    assert {"ApiKeyAuth": []} in SPEC["security"]
    scheme = SPEC["components"]["securitySchemes"]["ApiKeyAuth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "apikey")
    for operation_id in OPERATIONS:
        assert operation(operation_id).get("security", SPEC["security"]) == [{"ApiKeyAuth": []}]


def test_what_was_optional_is_required_only_where_the_decision_says_so() -> None:
    """docs/decisions/0002 names these; answers may promise more, requests may not ask for more."""
    request = SPEC["components"]["schemas"]["CreateWebMessageRequest"]
    assert set(request["required"]) == {"message", "externalReferences"}
