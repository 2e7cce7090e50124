"""Web messages of WebMessageSender 3.2: its forms, texts and headers."""

import re
from typing import Any

import pytest

from contract_tests.api import MAX_LEFT, Api
from contract_tests.rules.answers import BLANK, NO_CASE, NO_UUID, REFERENCES, SIZE, describe_response, expect
from contract_tests.rules.messages import file
from contract_tests.rules.municipal_answers import NO_MUNICIPALITY, expect_problem, expect_violations

pytestmark = pytest.mark.needs("sender")

INSTANCE = "instance can only be 'internal' or 'external'"
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:\d\d)")


def build_path(api: Api, rest: str = "") -> str:
    return f"/{api.target.municipality}/webmessages{rest}"


def build_body(api: Api, **changes: Any) -> dict[str, Any]:
    """Return a valid message with changes. The value `...` removes a property."""
    return api.message(**{"oepInstance": "external"} | changes)


def create(api: Api, body: Any) -> str:
    """Create a message, which must succeed, and return its path."""
    response = expect(api.call("POST", build_path(api), body=body), 201)
    location = response.headers.get("Location", "")
    assert re.fullmatch(f"{build_path(api)}/[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}", location), (
        f"the Location of a 201 is {build_path(api)}/{{id}}, but was {location!r}"
    )
    assert response.content == b"", f"a 201 must have no body, but {describe_response(response)}"
    return location


def find_unused_reference(api: Api) -> dict[str, str]:
    """Return a reference that no message has. A killed run may have left messages of the same seed."""
    for _ in range(MAX_LEFT):
        reference = api.reference()
        if read(api, build_path(api, f"/external-references/{reference['key']}/{reference['value']}")) == []:
            return reference
    raise AssertionError(f"all {MAX_LEFT} generated references have messages")


def read(api: Api, path: str) -> Any:
    return expect(api.call("GET", path), 200).json()


def test_message_is_returned_with_its_files_as_the_caller_wrote_it(api: Api) -> None:
    about = find_unused_reference(api)
    party = about["value"]
    body = build_body(
        api,
        partyId=party,
        oepInstance="ExTernal",
        externalReferences=[about],
        sender={"userId": "joe01doe"},
        attachments=[file() | {"mimeType": "image/png"}],
        unknown=[1],
    )
    path = create(api, body)
    value = read(api, path)
    created = value.pop("created", "")
    assert CREATED.fullmatch(created), f"created must have an offset, but was {created!r}"
    wanted = {
        "id": path.rpartition("/")[2],
        "municipalityId": api.target.municipality,
        "partyId": party,
        "message": body["message"],
        "oepInstance": "ExTernal",
        "externalReferences": [about],
        "sender": {"userId": "joe01doe"},
        "attachments": [{**file(), "mimeType": "text/plain"}],
    }
    assert value == wanted, f"expected {wanted}, but was {value}"
    whole = read(api, path)
    for place in (f"/recipients/{party}", f"/external-references/{about['key']}/{about['value']}"):
        found = read(api, build_path(api, place))
        assert found == [whole], f"a list must contain the whole message, with its files, but was {found}"


def test_properties_without_value_are_omitted(api: Api) -> None:
    value = read(api, create(api, build_body(api, message=None, partyId=None)))
    assert None not in value.values(), f"nulls must be left out, but was {value}"
    assert not {"message", "partyId", "sender"} & set(value), f"absent properties must be left out, but was {value}"


def test_list_is_sorted_by_created(api: Api) -> None:
    about = find_unused_reference(api)
    paths = [create(api, build_body(api, externalReferences=[about])) for _ in range(3)]
    found = read(api, build_path(api, f"/external-references/{about['key']}/{about['value']}"))
    assert [each["id"] for each in found] == [path.rpartition("/")[2] for path in paths]
    nothing = read(api, build_path(api, f"/recipients/{find_unused_reference(api)['value']}"))
    assert nothing == [], f"a list without messages must be [], but was {nothing}"


def test_deleted_message_is_not_found(api: Api) -> None:
    path = create(api, build_body(api))
    response = expect(api.call("DELETE", path), 204)
    assert response.content == b"", f"a 204 must have no body, but {describe_response(response)}"
    for method in ("GET", "DELETE"):
        value = expect_problem(api.call(method, path), 404, "Not Found")
        wanted = f"WebMessage with id '{path.rpartition('/')[2]}' not found"
        assert value.get("detail") == wanted, f"expected the detail {wanted!r}, but got {value}"


def test_faults_have_the_published_texts(api: Api) -> None:
    case = {"key": "FlowInstanceId", "value": "356t4r34f1068"}
    for body, wanted in (
        ({}, [("externalReferences", REFERENCES), ("oepInstance", INSTANCE)]),
        (build_body(api, oepInstance="outside"), [("oepInstance", INSTANCE)]),
        (build_body(api, externalReferences=[]), [("externalReferences", REFERENCES)]),
        (build_body(api, externalReferences=[{"key": " ", "value": "1"}]), [("externalReferences", REFERENCES)]),
        (build_body(api, externalReferences=[case]), [("externalReferences", NO_CASE)]),
        (build_body(api, partyId="1-1-1-1"), [("partyId", NO_UUID)]),
        (build_body(api, attachments=[file(name=" ")]), [("attachments[0].fileName", BLANK)]),
    ):
        expect_violations(api.call("POST", build_path(api), body=body), wanted)


def test_faults_of_a_path_have_the_published_texts(api: Api) -> None:
    prefix = "getWebMessagesByExternalReference"
    for method, path, wanted in (
        ("GET", build_path(api, "/x"), [("getWebMessageById.id", NO_UUID)]),
        ("DELETE", build_path(api, "/x"), [("deleteWebMessageById.id", NO_UUID)]),
        ("GET", build_path(api, "/recipients/x"), [("getWebMessagesByPartyId.partyId", NO_UUID)]),
        ("GET", build_path(api, "/external-references/a/b"), [(f"{prefix}.key", SIZE), (f"{prefix}.value", SIZE)]),
        ("GET", f"/0000/webmessages/{api.uuid()}", [("getWebMessageById.municipalityId", NO_MUNICIPALITY)]),
    ):
        expect_violations(api.call(method, path), wanted)


def test_java_forms_of_uuids_are_accepted(api: Api) -> None:
    expect_problem(api.call("GET", build_path(api, "/1-1-1-1-1")), 404, "Not Found")
    expect(api.call("GET", build_path(api, "/recipients/1-1-1-1-1")), 200)
    create(api, build_body(api, partyId="1-1-1-1-1"))


def test_responses_are_not_cached(api: Api) -> None:
    for response in (
        expect(api.call("POST", build_path(api), body=build_body(api)), 201),
        expect(api.call("GET", build_path(api, f"/recipients/{api.uuid()}")), 200),
        expect(api.call("GET", build_path(api, f"/{api.uuid()}")), 404),
    ):
        for name, wanted in (("Expires", "0"), ("Pragma", "no-cache")):
            value = response.headers.get(name)
            assert value == wanted, f"{name} must be {wanted!r}, but was {value!r}; {describe_response(response)}"
        assert "no-store" in response.headers.get("Cache-Control", ""), describe_response(response)


@pytest.mark.needs("accepts_keys")
def test_repetition_with_a_key_creates_nothing(api: Api) -> None:
    body, key = build_body(api), {"Idempotency-Key": api.uuid()}
    responses = [expect(api.call("POST", build_path(api), body=body, headers=key), 201) for _ in range(2)]
    first, second = (response.headers["Location"] for response in responses)
    assert first == second, f"a repetition must get the first Location {first!r}, but got {second!r}"
