"""Create messages: store them and, if they have a case, publish them first, exactly once (decision 0007)."""

from collections.abc import Awaitable, Callable

from domain.errors import (
    BackendRefused,
    BackendUnavailable,
    BudkavleError,
    KeyInUse,
    NotFound,
    OutcomeUnknown,
    StorageUncertain,
)
from domain.idempotency_keys import IdempotencyKey
from domain.publications import PublicationOutcome
from domain.web_messages import MessageState, WebMessage
from handlers.publications import idempotency_keys
from handlers.requests import Request
from persistence import web_messages as stored

RACES = 3
"""Maximum attempts to use an idempotency key that others use and free at the same time."""

Complete = Callable[[WebMessage], Awaitable[WebMessage]]
"""Returns a message with what only its publication needs. This is no part of the fingerprint of the content."""


async def create(request: Request, message: WebMessage, complete: Complete | None = None) -> str:
    """Store a message and, if it has a case, publish it first. Return its id.

    `complete` is called before a publication, but not for a repetition. If an earlier request had the same
    `Idempotency-Key`, return the id of its message instead; the log of the request then has `is_replayed`. Raises
    `KeyReused` and `KeyInUse`, and the errors of `OpenE.add_message` and `complete`.
    """
    request.log["message_id"] = message.id
    key = await idempotency_keys.read_key(request, message)
    # A repetition for a case needs no slot for a call to Open-E, so look for the first message before. Others are rare,
    # so look only after the key has been found to be used.
    is_created = (key is None or message.flow_instance_id is None) and await _create(request, message, key, complete)
    if key and not is_created and (first_id := await _create_once(request, message, key, complete)) != message.id:
        request.log |= {"message_id": first_id, "is_replayed": True}
        return first_id
    request.services.wake_worker_for_message()
    return message.id


async def _create(request: Request, message: WebMessage, key: IdempotencyKey | None, complete: Complete | None) -> bool:
    """Store a message and, if it has a case, publish it first. Return False, and do nothing, if the key is used."""
    if message.flow_instance_id is None:
        services = request.services
        return await stored.store(services.database, message, key, request.request_id, created=services.now())
    return await _publish(request, message if complete is None else await complete(message), key)


async def _create_once(request: Request, message: WebMessage, key: IdempotencyKey, complete: Complete | None) -> str:
    """Create a message unless an earlier request with this key did. Return the id of the message of the key.

    Raises `KeyReused` and `KeyInUse`.
    """
    for _ in range(RACES):
        if (first_id := await idempotency_keys.find_first_message(request, key)) is not None:
            return first_id
        if await _create(request, message, key, complete):
            return message.id
    raise KeyInUse


async def _publish(request: Request, message: WebMessage, key: IdempotencyKey | None) -> bool:
    """Publish a message on its case, exactly once, and record the outcome (decision 0007).

    Return False, and do nothing, if the key is used.
    """
    services = request.services
    error: BudkavleError | None = None
    async with services.open_e.slot(message.open_e):
        sent = services.now()
        try:
            if not await stored.begin_sending(services.database, message, sent, key, request.request_id):
                return False
        except StorageUncertain:
            services.outcomes.revoke(message, sent)
            raise
        try:
            open_e_id = await services.open_e.add_message(
                message, added=sent, request_id=request.request_id, trace_parent=request.trace_parent
            )
            outcome = PublicationOutcome(message, sent, MessageState.PUBLISHED, open_e_id)
        except OutcomeUnknown as exc:
            outcome = PublicationOutcome(message, sent, MessageState.UNKNOWN)
            error = OutcomeUnknown(f"{exc}. Whether message '{message.id}' was published is unknown")
            error.__cause__ = exc
        except (NotFound, BackendRefused, BackendUnavailable) as exc:
            outcome, error = PublicationOutcome(message, sent, None), exc
    # Release the slot first: a failing database must not block other calls to Open-E.
    is_recorded = await services.outcomes.record(outcome)
    if error is not None:
        raise error
    if not is_recorded:
        raise OutcomeUnknown(
            f"Open-E has published message '{message.id}', but the database has not recorded that yet. "
            "Do not send it again: it becomes readable once the database answers"
        )
    return True
