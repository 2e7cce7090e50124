"""A post that is repeated with its `Idempotency-Key` creates one message. Targets without keys skip these rules."""

import json

import pytest
import requests

from contract_tests.api import FORM, Api, created_id
from contract_tests.rules.answers import describe_response, expect_problem, expect_violations
from contract_tests.rules.messages import JSONObject, file, file_part, list_ids, part

pytestmark = pytest.mark.needs("sender", "accepts_keys")


def unused_key(api: Api) -> str:
    """Return a key that no earlier run with the same seed has used: the id of a new message."""
    return api.create_message(api.message())


def post(api: Api, message: JSONObject, key: str) -> requests.Response:
    return api.post_message(message, headers={"Idempotency-Key": key})


def expect_first(response: requests.Response) -> str:
    """Return the id in the answer to a first request."""
    assert "Idempotency-Replayed" not in response.headers, (
        f"a first request is no repetition, but {describe_response(response)}"
    )
    return created_id(response)


def expect_replayed(response: requests.Response, id_: str) -> None:
    assert created_id(response) == id_, (
        f"a repetition must get the Location of message {id_}, but got {response.headers['Location']}"
    )
    assert response.headers.get("Idempotency-Replayed") == "true", (
        "a repetition must have the header Idempotency-Replayed: true, "
        f"but had {response.headers.get('Idempotency-Replayed')!r}"
    )


@pytest.mark.parametrize("files", [False, True], ids=["without-files", "with-files"])
def test_repetition_gets_the_first_answer(api: Api, *, files: bool) -> None:
    key, about = unused_key(api), api.reference()
    attachments = {"attachments": [file(), file(name="b.txt")]} if files else {}
    message = api.message(externalReferences=[about], **attachments)
    id_ = expect_first(post(api, message, key))
    expect_replayed(post(api, message, key), id_)
    expect_replayed(post(api, message, f'"{key}"'), id_)
    found = list_ids(api.read_messages(about["key"], about["value"]))
    assert found == [id_], f"a repetition must create no message, but there are {found}"


def test_same_content_in_another_form_is_a_repetition(api: Api) -> None:
    key, message = unused_key(api), api.message()
    id_ = expect_first(post(api, message | {"attachments": [file()]}, key))
    content = json.dumps(dict(reversed(message.items()))).encode()
    body = part('form-data; name="message"', content, "application/json") + file_part() + b"--XX--\r\n"
    headers = {"Idempotency-Key": key}
    expect_replayed(api.call("POST", "/webmessages", body=body, content_type=FORM, headers=headers), id_)


def test_key_with_other_content_is_refused(api: Api) -> None:
    key, about = unused_key(api), api.reference()
    message = api.message(externalReferences=[about], attachments=[file(), file(name="b.txt")])
    id_ = expect_first(post(api, message, key))
    for change in ({"message": "Other"}, {"attachments": message["attachments"][::-1]}, {"attachments": [file()]}):
        expect_problem(post(api, message | change, key), 422)
    found = list_ids(api.read_messages(about["key"], about["value"]))
    assert found == [id_], f"a key that is used with other content must create no message, but there are {found}"


def test_rejected_message_leaves_its_key_free(api: Api) -> None:
    key, message = unused_key(api), api.message()
    expect_problem(post(api, message | {"message": ""}, key), 400)
    expect_first(post(api, message, key))


def test_deleted_message_keeps_its_key(api: Api) -> None:
    key, message = unused_key(api), api.message()
    id_ = expect_first(post(api, message, key))
    api.call("DELETE", f"/webmessages/{id_}")
    expect_replayed(post(api, message, key), id_)
    expect_problem(api.get_message(id_), 404)


@pytest.mark.needs("case")
def test_repetition_is_not_published_again(api: Api) -> None:
    key = unused_key(api)
    message = api.message(externalReferences=[{"key": "flowInstanceId", "value": str(api.target.case)}])
    id_ = expect_first(post(api, message, key))
    expect_replayed(post(api, message, key), id_)


INVALID = ["", '""', "a b", "a,b", "a;b=1", '"a', 'a"b', r'"\a"', "k" * 256, f'"{"k" * 256}"']


@pytest.mark.parametrize("key", INVALID)
def test_invalid_key_is_a_fault_among_the_others(api: Api, key: str) -> None:
    fault = ("createWebMessage.Idempotency-Key", None)
    expect_violations(post(api, api.message(), key), fault)
    expect_violations(post(api, api.message(message=""), key), fault, ("message", "must not be blank"))


@pytest.mark.parametrize("key", ["k", "k" * 255, '"a b, c;"', r'"\"\\"', "!#$%&'()*+-./:<=>?@[]^_`{|}~"])
def test_valid_key_is_accepted(api: Api, key: str) -> None:
    """The key may be used already."""
    response = post(api, api.message(), key)
    if response.status_code != requests.codes.unprocessable:
        created_id(response)
