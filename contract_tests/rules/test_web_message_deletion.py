"""A deleted message is no longer in any response."""

import pytest

from contract_tests.api import Api
from contract_tests.rules.answers import describe_response, expect, expect_problem
from contract_tests.rules.messages import file

pytestmark = pytest.mark.needs("sender")


def expect_no_such_message(api: Api, method: str, id_: str) -> None:
    value = expect_problem(api.call(method, f"/webmessages/{id_}"), 404)
    wanted = f"WebMessage with id '{id_.lower()}' not found"
    assert value.get("detail") == wanted, f"expected the published detail {wanted!r}, but got {value}"


def test_deleted_message_is_not_returned(api: Api) -> None:
    party = api.unused_uuid()
    about = {"key": "contract-check", "value": party}
    id_ = api.create_message(api.message(partyId=party, externalReferences=[about], attachments=[file()]))
    attachment = f"/webmessages/{id_}/attachments/{api.read_message(id_)['attachments'][0]['id']}"
    lists = [f"/webmessages/recipients/{party}", f"/webmessages/external-references/{about['key']}/{about['value']}"]
    # Read before the deletion, because the service may cache responses.
    for path in (attachment, *lists):
        expect(api.call("GET", path), 200)
    response = expect(api.call("DELETE", f"/webmessages/{id_}"), 204)
    assert response.content == b"", f"a 204 must have no body, but {describe_response(response)}"
    expect_no_such_message(api, "GET", id_)
    expect_problem(api.call("GET", attachment), 404)
    for path in lists:
        response = expect(api.call("GET", path), 200)
        assert response.json() == [], f"a deleted message must be in no list, but {describe_response(response)}"


def test_second_deletion_is_not_found(api: Api) -> None:
    id_ = api.create_message(api.message())
    expect(api.call("DELETE", f"/webmessages/{id_.upper()}"), 204)
    expect_no_such_message(api, "DELETE", id_)


def test_deletion_keeps_other_messages(api: Api) -> None:
    about = api.reference()
    kept, dropped = (
        api.create_message(api.message(externalReferences=[about], attachments=[file()])) for _ in range(2)
    )
    before = api.read_message(kept)
    expect(api.call("DELETE", f"/webmessages/{dropped}"), 204)
    assert api.read_message(kept) == before


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_error_of_an_unknown_message_contains_its_id(method: str, api: Api) -> None:
    id_ = api.uuid()
    expect_no_such_message(api, method, id_)
    expect_no_such_message(api, method, id_.upper())
