"""The generated Python client of the web messages: every operation and every response."""

import hashlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import pytest

from conftest import MESSAGES_KEY, PUBLISH_KEY, RunningService
from mock_open_e import MockOpenE
from tests.clients.conftest import CASE
from tests.clients.generating import Generated, as_text, read_next_page
from tests.clients.response_cases import ResponseCase, ResponseCases
from tests.clients.web_messages_api import (
    ALL,
    BY_ID,
    BY_PARTY,
    BY_REFERENCE,
    CREATE,
    DELETE,
    FILE,
    LISTS,
    WebMessagesApi,
)
from tests.processes import REPOSITORY
from tests.shown_commands import read_blocks

TOO_MUCH = 157286400
FILES = {"hello.txt": b"Hello\n", "å.bin": bytes(range(256)) * 100}

RESPONSE_CASES = ResponseCases()
RESPONSE_CASES.exclude(500, sorted(set(ALL) - {CREATE}), because="a fault of the service itself")
RESPONSE_CASES.exclude(404, LISTS, because="where nothing is found the answer is an empty list")
RESPONSE_CASES.exclude(
    429, ALL, because="it needs many failures in a second: tests/openapi/observation/test_source_limits.py"
)


@pytest.fixture
def api(
    generate: Callable[[str], Generated], running: RunningService, broken: RunningService, open_e_of_clients: MockOpenE
) -> WebMessagesApi:
    return WebMessagesApi(generate("web-messages"), running, broken, open_e_of_clients)


@RESPONSE_CASES.register(201, CREATE)
def json_to_a_case(call: Any, api: WebMessagesApi) -> Any:
    api.open_e.reset()
    models, party_id = api.models, uuid4()
    message = api.message(
        CASE,
        party_id=party_id,
        sender=models.SenderRequest(user_id="joe01doe"),
        oep_instance=models.CreateWebMessageRequestOepInstance.INTERNAL,
        attachments=[models.AttachmentRequest(file_name="hello.txt", base_64_data="SGVsbG8K")],
    )
    response = call(body=message, x_request_id="named-by-the-client")
    assert response.headers["x-request-id"] == "named-by-the-client"
    stored = api.get(UUID(response.headers["Location"].rpartition("/")[2]))
    assert (stored.party_id, stored.sender.user_id) == (party_id, "joe01doe")
    assert stored.oep_instance is models.WebMessageOepInstance.INTERNAL
    assert [(file.file_name, file.base_64_data) for file in stored.attachments] == [("hello.txt", "SGVsbG8K")]
    assert stored.created.tzinfo is not None
    (sent,) = api.open_e.messages
    assert (sent["instance"], sent["flowInstanceID"], sent["userID"]) == ("internal", CASE, "joe01doe")
    return response


@RESPONSE_CASES.register(201, CREATE)
def form_with_files(call: Any, api: WebMessagesApi) -> Any:
    files = [api.generated.types.File(BytesIO(data), name) for name, data in FILES.items()]
    part = api.models.CreateWebMessagePart.from_dict(api.message().to_dict())
    response = call(body=api.models.CreateWebMessageForm(message=part, attachments=files))
    stored = api.get(UUID(response.headers["Location"].rpartition("/")[2]))
    assert {file.file_name: file.sha256 for file in stored.attachments} == {
        name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()
    }
    for file in stored.attachments:
        found = api.generated.operation(FILE).sync(client=api.client(), id=stored.id, attachment_id=file.id)
        assert found.payload.read() == FILES[file.file_name]
    return response


@RESPONSE_CASES.register(201, CREATE)
def repeated_with_a_key(call: Any, api: WebMessagesApi) -> Any:
    body, key = api.message(), f'"{uuid4()}"'
    first, second = (call(body=body, idempotency_key=key) for _ in range(2))
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["Location"] == first.headers["Location"]
    return second


@RESPONSE_CASES.register(409, CREATE)
def key_of_a_message_in_doubt(call: Any, api: WebMessagesApi) -> Any:
    api.open_e.reset()
    # Open-E does not have the message, so it stays in doubt until it can no longer arrive.
    api.open_e.fail("Reset")
    body, key = api.message(CASE), str(uuid4())
    assert call(body=body, idempotency_key=key).status_code == 500
    response = call(body=body, idempotency_key=key)
    assert response.parsed.title == "Conflict"
    assert response.headers["Retry-After"] == "2"
    return response


@RESPONSE_CASES.register(422, CREATE)
def key_of_another_message(call: Any, api: WebMessagesApi) -> Any:
    key = str(uuid4())
    assert call(body=api.message(), idempotency_key=key).status_code == 201
    response = call(body=api.message(message="Other"), idempotency_key=key)
    assert response.parsed.title == "Unprocessable Content"
    return response


@RESPONSE_CASES.register(400, CREATE)
def invalid_key(call: Any, api: WebMessagesApi) -> Any:
    response = call(idempotency_key="a b")
    assert [violation.field for violation in response.parsed.violations] == ["createWebMessage.Idempotency-Key"]
    return response


@RESPONSE_CASES.register(400, CREATE)
def faults_of_a_body(call: Any, api: WebMessagesApi) -> Any:
    response = call(body=api.message("no case", message="", party_id="no party"))
    assert response.parsed.title == "Constraint Violation"
    assert response.parsed.status.status_code == 400
    fields = [violation.field for violation in response.parsed.violations]
    assert fields == ["externalReferences", "message", "partyId"]
    assert all(violation.message for violation in response.parsed.violations)
    return response


@RESPONSE_CASES.register(400, BY_ID, DELETE, FILE)
def no_id(call: Any, api: WebMessagesApi) -> Any:
    response = call(id="no-id")
    assert [(violation.field.rpartition(".")[2]) for violation in response.parsed.violations] == ["id"]
    return response


@RESPONSE_CASES.register(400, *LISTS)
def no_limit(call: Any, api: WebMessagesApi) -> Any:
    response = call(limit=0, after="nowhere")
    fields = [violation.field.rpartition(".")[2] for violation in response.parsed.violations]
    assert fields == ["after", "limit"]
    return response


@RESPONSE_CASES.register(401, *ALL)
def unknown_key(call: Any, api: WebMessagesApi) -> Any:
    response = call(client=api.client("nobody-knows-it"))
    assert response.parsed.status.reason_phrase == "Unauthorized"
    return response


@RESPONSE_CASES.register(403, *ALL)
def key_of_another_scope(call: Any, api: WebMessagesApi) -> Any:
    response = call(client=api.client(PUBLISH_KEY))
    assert response.parsed.detail.startswith("The key lacks the scope messages.")
    return response


@RESPONSE_CASES.register(404, CREATE)
def unknown_case(call: Any, api: WebMessagesApi) -> Any:
    response = call(body=api.message(7))
    assert response.parsed.detail == "The requested flow instance with ID 7 was not found"
    return response


@RESPONSE_CASES.register(404, BY_ID, DELETE, FILE)
def unknown_id(call: Any, api: WebMessagesApi) -> Any:
    response = call()
    assert response.parsed.status.status_code == 404
    return response


@RESPONSE_CASES.register(413, CREATE)
def too_large(call: Any, api: WebMessagesApi) -> Any:
    part = api.models.CreateWebMessagePart.from_dict(api.message().to_dict())
    file = api.generated.types.File(BytesIO(bytes(TOO_MUCH)), "zeros.bin")
    response = call(body=api.models.CreateWebMessageForm(message=part, attachments=[file]))
    assert response.parsed.detail == f"The body must be at most {TOO_MUCH} bytes"
    return response


@RESPONSE_CASES.register(415, CREATE)
def text_body(call: Any, api: WebMessagesApi) -> Any:
    return call(client=api.client(change=as_text))


@RESPONSE_CASES.register(500, CREATE)
def open_e_fails(call: Any, api: WebMessagesApi) -> Any:
    api.open_e.fail("AcceptedAnswerLost")
    response = call(body=api.message(CASE))
    assert "unknown" in response.parsed.detail
    return response


@RESPONSE_CASES.register(503, *ALL)
def no_database(call: Any, api: WebMessagesApi) -> Any:
    response = call(client=api.generated.caller(api.broken.url, MESSAGES_KEY))
    assert response.parsed.title == "Service Unavailable"
    assert response.headers["Retry-After"] == "5"
    return response


@RESPONSE_CASES.register(200, BY_ID)
def message(call: Any, api: WebMessagesApi) -> Any:
    message_id = api.post(message="Grüße å")
    response = call(id=message_id)
    assert (response.parsed.id, response.parsed.message) == (message_id, "Grüße å")
    assert not response.parsed.attachments
    return response


@RESPONSE_CASES.register(204, DELETE)
def deleted(call: Any, api: WebMessagesApi) -> Any:
    message_id = api.post()
    response = call(id=message_id)
    assert api.generated.operation(BY_ID).sync(client=api.client(), id=message_id).title == "Not Found"
    return response


@RESPONSE_CASES.register(200, FILE)
def file(call: Any, api: WebMessagesApi) -> Any:
    file = api.models.AttachmentRequest(file_name="hello.txt", base_64_data="SGVsbG8K")
    message_id = api.post(attachments=[file])
    response = call(id=message_id, attachment_id=api.get(message_id).attachments[0].id)
    assert response.parsed.payload.read() == b"Hello\n"
    assert "hello.txt" in response.headers["Content-Disposition"]
    return response


@RESPONSE_CASES.register(200, BY_PARTY)
def pages_of_a_party(call: Any, api: WebMessagesApi) -> Any:
    party_id = uuid4()
    posted = [api.post(party_id=party_id) for _ in range(3)]
    first = call(party_id=party_id, limit=2)
    last = call(party_id=party_id, limit=2, after=read_next_page(first))
    assert [found.id for found in first.parsed + last.parsed] == posted
    assert "link" not in last.headers
    return last


@RESPONSE_CASES.register(200, BY_REFERENCE)
def pages_of_a_reference(call: Any, api: WebMessagesApi) -> Any:
    # The client must percent-encode a slash and a percent sign in a path.
    value = f"{uuid4()}/50 %"
    reference = api.models.ExternalReferenceRequest(key="errand/number", value=value)
    posted = [api.post(external_references=[reference]) for _ in range(2)]
    first = call(key="errand/number", value=value, limit=1)
    assert [found.id for found in first.parsed] == posted[:1]
    return call(key="errand/number", value=value, after=read_next_page(first))


@pytest.mark.parametrize("case", RESPONSE_CASES.cases, ids=str)
def test_each_response_is_parsed_to_its_type(case: ResponseCase, api: WebMessagesApi) -> None:
    case.check(api)


def test_every_response_has_a_case(generate: Callable[[str], Generated]) -> None:
    RESPONSE_CASES.assert_complete(generate("web-messages"))


def test_responses_that_no_caller_can_cause_are_parsed(api: WebMessagesApi) -> None:
    RESPONSE_CASES.assert_examples_are_parsed(api)


def test_async_client_works(api: WebMessagesApi, run: Callable[[Any], Any]) -> None:
    async def post_and_get() -> Any:
        async with api.client() as client:
            created = await api.generated.operation(CREATE).asyncio_detailed(client=client, body=api.message())
            message_id = UUID(created.headers["Location"].rpartition("/")[2])
            return await api.generated.operation(BY_ID).asyncio(client=client, id=message_id)

    assert run(post_and_get()).message == "This is a message"


def test_example_of_the_guide_runs(api: WebMessagesApi) -> None:
    guide = REPOSITORY / "docs" / "how-to" / "generate-a-client.md"
    (example,) = (block.text for block in read_blocks(guide) if block.language == "python")
    client = api.generated.module("client").AuthenticatedClient
    names = {
        # A proxy of the environment cannot reach this machine.
        "AuthenticatedClient": partial(client, httpx_args={"trust_env": False}),
        "get_web_message_by_id": api.generated.operation(BY_ID),
        "url": api.running.url,
        "key": MESSAGES_KEY,
        "message_id": api.post(),
    }
    exec(example, names)
    names["client"].get_httpx_client().close()
    assert names["response"].message == "This is a message"
