"""Servers that break the contract of `Idempotency-Key`."""

from tests.contract_tests.breakages import MESSAGES, Case
from tests.contract_tests.broken_server import Breakage, Forward, Request, ServerResponse

KEY = "idempotency-key"
FILE = "test_web_message_keys.py"


async def without_keys(request: Request, forward: Forward) -> ServerResponse:
    """Ignore the header, as a server whose contract does not have it."""
    return await forward(request.without(KEY))


def _is_valid(request: Request) -> bool:
    key = request.header(KEY)
    return request.path == MESSAGES and key is not None and len(key) == len("81471222-5798-11e9-ae24-57fa13b361e1")


async def keys_validated_and_forgotten(request: Request, forward: Forward) -> ServerResponse:
    return await forward(request.without(KEY) if _is_valid(request) else request)


async def replays_without_mark(request: Request, forward: Forward) -> ServerResponse:
    return (await forward(request)).without("idempotency-replayed")


def first_answer_to_any_content() -> Breakage:
    """Compare only keys."""
    first: dict[str, ServerResponse] = {}

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        response = await forward(request)
        if not _is_valid(request):
            return response
        key = request.header(KEY) or ""
        if response.status == 422 and key in first:
            return first[key].with_header("idempotency-replayed", "true")
        if response.status == 201:
            first.setdefault(key, response)
        return response

    return breakage


def keys_of_rejected_messages_used() -> Breakage:
    """Store a key before the validation."""
    used: set[str] = set()

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        key = request.header(KEY) or ""
        response = await forward(request)
        if _is_valid(request) and response.status == 400:
            used.add(key)
        if key in used and response.status == 201:
            value = {"title": "Unprocessable Content", "status": {"statusCode": 422, "reasonPhrase": "x"}}
            return (
                ServerResponse(422, response.headers, b"")
                .without("location")
                .with_json(value)
                .with_header("content-type", "application/problem+json")
            )
        return response

    return breakage


def keys_freed_by_deletion() -> Breakage:
    """Keep keys in the row of the message."""
    keys: dict[str, str] = {}
    freed: set[str] = set()

    async def breakage(request: Request, forward: Forward) -> ServerResponse:
        key = request.header(KEY) or ""
        if key in freed:
            request = request.without(KEY)
        response = await forward(request)
        if key and response.status == 201:
            keys[response.header("location") or ""] = key
        if request.method == "DELETE" and request.path in keys:
            freed.add(keys[request.path])
        return response

    return breakage


OF_KEYS = {
    "keys are validated and forgotten": Case(
        keys_validated_and_forgotten,
        "web-messages",
        f"{FILE}::test_repetition_gets_the_first_answer",
        "a repetition must get the Location of message",
    ),
    "a replay has no mark": Case(
        replays_without_mark,
        "web-messages",
        f"{FILE}::test_repetition_gets_the_first_answer",
        "must have the header Idempotency-Replayed: true",
    ),
    "any content gets the first answer": Case(
        first_answer_to_any_content(),
        "web-messages",
        f"{FILE}::test_key_with_other_content_is_refused",
        "expected 422, but the response to POST /webmessages",
    ),
    "a rejected message uses its key": Case(
        keys_of_rejected_messages_used(),
        "web-messages",
        f"{FILE}::test_rejected_message_leaves_its_key_free",
        "a valid message must get a 201, but got 422",
    ),
    "a deletion frees the key": Case(
        keys_freed_by_deletion(),
        "web-messages",
        f"{FILE}::test_deleted_message_keeps_its_key",
        "a repetition must get the Location of message",
    ),
}
