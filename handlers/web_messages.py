"""The operations of spec/web-messages.yaml."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from domain import web_messages as rules
from domain.attachments import Content, read_base64
from domain.audit import WEB_MESSAGES, AuditEntry
from domain.errors import (
    BackendRefused,
    BackendUnavailable,
    BudkavleError,
    KeyInUse,
    NotFound,
    OutcomeUnknown,
    StorageUncertain,
    Violation,
)
from domain.idempotency_keys import IdempotencyKey
from domain.media_types import detect_media_type
from domain.message_reads import Subject
from domain.web_messages import Attachment, ExternalReference, MessageState, OepInstance, WebMessage
from handlers import idempotency_keys, paging
from handlers.publication_outcomes import Outcome
from handlers.requests import Request
from openapi import replies
from openapi.schemas import MAX_FAULTS
from persistence import publication_decisions, publications
from persistence import web_messages as stored
from persistence.web_messages import Position

PAGE = 200
"""Messages per page."""

TURNS = 4
"""Iterations of the event loop for other tasks between two pages."""

LONG_TEXT = 256 * 1024
"""Longer messages are encoded in a thread, in pieces: the JSON encoder holds the GIL while it runs."""

TEXT_PIECE = 64 * 1024

RACES = 3
"""Maximum attempts to use an idempotency key that others use and free at the same time."""

ReadPage = Callable[[int, Position | None], Awaitable[list[WebMessage]]]


async def create_web_message(request: Request) -> Response:
    """Store a message. If it has a case, publish it first."""
    references = _parse_references(request)
    contents = _read_contents(request)
    if request.is_clean("message") and "message" in request.body:
        request.violations += rules.validate_message(request.body["message"])
    request.violations += rules.validate_references(references)
    request.raise_violations()

    message = _build_message(request, references, await _build_attachments(request, contents))
    request.log["message_id"] = message.id
    key = await idempotency_keys.read_key(request, message)
    # A repetition for a case needs no slot for a call to Open-E, so look for the first message before. Others are rare,
    # so look only after the key has been found to be used.
    is_created = (key is None or message.flow_instance_id is None) and await _create(request, message, key)
    if key and not is_created and (first_id := await _create_once(request, message, key)) != message.id:
        request.log |= {"message_id": first_id, "is_replayed": True}
        return replies.created(f"/webmessages/{first_id}", idempotency_keys.REPLAYED)
    request.services.wake_worker_for_message()
    return replies.created(f"/webmessages/{message.id}")


async def get_web_message_by_id(request: Request) -> Response:
    """Return a message with the content of its attachments."""
    request.raise_violations()
    message_id = request.parameters["id"].lower()
    try:
        message = await stored.get(request.services.database, message_id)
    except NotFound as exc:
        raise await _explain_not_found(request, message_id, exc) from exc
    _count_read(request, [message])
    if not message.attachments:
        return replies.ok_json(await _write(message))
    segments = await _split_around_contents(message)
    length = sum(map(len, segments)) + sum(
        _compute_encoded_length(attachment.size) for attachment in message.attachments
    )
    return replies.ok_stream(_insert_contents(request, message, segments), length)


async def delete_web_message_by_id(request: Request) -> Response:
    """Delete a stored message, or one in doubt. A published copy in Open-E is kept."""
    request.raise_violations()
    message_id = request.parameters["id"].lower()
    try:
        await stored.delete(request.services.database, message_id, _build_deletion_entry(request, "deleted"))
    except NotFound as exc:
        if not await _delete_unreadable(request, message_id):
            raise await _explain_not_found(request, message_id, exc) from exc
    return replies.no_content()


async def get_web_message_attachment(request: Request) -> Response:
    """Return an attachment, to be saved."""
    request.raise_violations()
    database = request.services.database
    message_id, attachment_id = request.parameters["id"].lower(), request.parameters["attachmentId"].lower()
    try:
        message = await stored.get(database, message_id)
        attachment = stored.find_attachment(message, attachment_id)
    except NotFound as exc:
        raise await _explain_not_found(request, message_id, exc) from exc
    _count_read(request, [message])
    pieces = stored.read_attachment(database, attachment)
    return replies.download(pieces, attachment.mime_type, attachment.size, attachment.file_name)


async def get_web_messages_by_party_id(request: Request) -> Response:
    """Return the messages to a party."""
    request.raise_violations()
    party_id = request.parameters["partyId"].lower()

    def read(limit: int, after: Position | None) -> Awaitable[list[WebMessage]]:
        return stored.list_by_party(request.services.database, party_id, limit, after)

    return await _respond_with_list(request, f"/webmessages/recipients/{party_id}", read)


async def get_web_messages_by_external_reference(request: Request) -> Response:
    """Return the messages with a reference."""
    request.raise_violations()
    reference = ExternalReference(request.parameters["key"], request.parameters["value"])

    def read(limit: int, after: Position | None) -> Awaitable[list[WebMessage]]:
        return stored.list_by_reference(request.services.database, reference, limit, after)

    path = f"/webmessages/external-references/{quote(reference.key, safe='')}/{quote(reference.value, safe='')}"
    return await _respond_with_list(request, path, read)


def _count_read(request: Request, messages: Sequence[WebMessage], counted: set[Subject] | None = None) -> None:
    """Count the read of messages for the audit. Subjects in `counted` have been counted for this request."""
    tally = request.services.read_tally
    if tally is not None:
        tally.count(request.caller.name, request.operation_id, messages, counted)


async def _explain_not_found(request: Request, message_id: str, error: NotFound) -> NotFound:
    """Return the error for a message that cannot be read: the given one, unless the message is in doubt."""
    if not await publications.is_unsettled(request.services.database, message_id):
        return error
    return NotFound(f"WebMessage with id '{message_id}' is in doubt: it is not known yet whether Open-E published it")


async def _delete_unreadable(request: Request, message_id: str) -> bool:
    """Delete a message in doubt, and record who did it, or one that was settled since. Return whether there was one."""
    services = request.services
    if await publications.is_unsettled(services.database, message_id):
        entry = _build_deletion_entry(request, "deleted_in_doubt", remark="the case in Open-E may have the message")
        before = entry.time - services.call_times.longest_call
        if await publication_decisions.delete_in_doubt(services.database, message_id, before, entry):
            return True
    with suppress(NotFound):
        # It has become readable since the first attempt.
        await stored.delete(services.database, message_id, _build_deletion_entry(request, "deleted"))
        return True
    return False


def _build_deletion_entry(request: Request, outcome: str, **detail: str) -> AuditEntry:
    """Return an entry for the audit about a deleted message. The id of the message is added to its detail."""
    return AuditEntry(
        chain=WEB_MESSAGES,
        kind="change",
        time=request.services.now(),
        operation=request.operation_id,
        caller=request.caller.name,
        outcome=outcome,
        request_id=request.request_id,
        detail=detail,
    )


async def _create_once(request: Request, message: WebMessage, key: IdempotencyKey) -> str:
    """Create a message unless an earlier request with this key did. Return the id of the message of the key.

    Raises `KeyReused` and `KeyInUse`.
    """
    for _ in range(RACES):
        if (first_id := await idempotency_keys.find_first_message(request, key)) is not None:
            return first_id
        if await _create(request, message, key):
            return message.id
    raise KeyInUse


async def _create(request: Request, message: WebMessage, key: IdempotencyKey | None = None) -> bool:
    """Store a message and, if it has a case, publish it first. Return False, and do nothing, if the key is used."""
    if message.flow_instance_id is None:
        return await stored.store(request.services.database, _set_created(request, message), key)
    return await _publish(request, message, key)


async def _publish(request: Request, message: WebMessage, key: IdempotencyKey | None) -> bool:
    """Publish a message on its case, exactly once, and record the outcome (decision 0007).

    Return False, and do nothing, if the key is used.
    """
    services = request.services
    error: BudkavleError | None = None
    async with services.open_e.slot(message.open_e):
        sent = services.now()
        try:
            if not await stored.begin_sending(services.database, message, sent, key):
                return False
        except StorageUncertain:
            services.outcomes.revoke(message, sent)
            raise
        try:
            open_e_id = await services.open_e.add_message(
                message, added=sent, request_id=request.request_id, trace_parent=request.trace_parent
            )
            outcome = Outcome(message, sent, MessageState.PUBLISHED, open_e_id)
        except OutcomeUnknown as exc:
            outcome = Outcome(message, sent, MessageState.UNKNOWN)
            error = OutcomeUnknown(f"{exc}. Whether message '{message.id}' was published is unknown")
            error.__cause__ = exc
        except (NotFound, BackendRefused, BackendUnavailable) as exc:
            outcome, error = Outcome(message, sent, None), exc
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


def _parse_references(request: Request) -> list[ExternalReference]:
    """Return the references that could be parsed, even if others could not."""
    items = request.body.get("externalReferences") if isinstance(request.body, dict) else None
    return [
        ExternalReference(item["key"], item["value"])
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and isinstance(item.get("key"), str) and isinstance(item.get("value"), str)
    ]


def _read_contents(request: Request) -> list[Content]:
    """Return the contents of the attachments, and add their faults to the violations."""
    items = request.body.get("attachments") if isinstance(request.body, dict) else None
    contents = []
    for index, item in enumerate(items[:MAX_FAULTS] if isinstance(items, list) else ()):
        if len(request.violations) >= MAX_FAULTS:
            break
        field = f"attachments[{index}].base64Data"
        if not isinstance(item, dict) or "base64Data" not in item or not request.is_clean(field):
            continue
        content = request.contents.get(item["base64Data"])
        if content is None and not request.is_form:
            content = read_base64(item["base64Data"])
        if content is None:
            # The number of files exceeds the maximum, which is reported already.
            continue
        if content.fault is not None:
            request.violations.append(Violation(f"attachments[{index}]" if request.is_form else field, content.fault))
        contents.append(content)
    return contents


async def _build_attachments(request: Request, contents: list[Content]) -> tuple[Attachment, ...]:
    if not contents:
        return ()
    names = [item["fileName"] for item in request.body["attachments"]]

    def describe() -> tuple[Attachment, ...]:
        return tuple(
            Attachment(
                id=request.services.new_id(),
                file_name=name,
                mime_type=detect_media_type(content.data, name),
                size=len(content.data),
                sha256=content.sha256,
                data=content.data,
            )
            for name, content in zip(names, contents, strict=True)
        )

    return await asyncio.to_thread(describe)


def _build_message(
    request: Request, references: list[ExternalReference], attachments: tuple[Attachment, ...]
) -> WebMessage:
    body: dict[str, Any] = request.body
    return WebMessage(
        id=request.services.new_id(),
        party_id=body["partyId"].lower() if body.get("partyId") else None,
        message=body["message"],
        external_references=rules.normalize_references(references),
        sender_user_id=(body.get("sender") or {}).get("userId"),
        oep_instance=OepInstance(body.get("oepInstance") or OepInstance.EXTERNAL),
        attachments=attachments,
    )


def _set_created(request: Request, message: WebMessage) -> WebMessage:
    return replace(message, created=request.services.now())


async def _respond_with_list(request: Request, path: str, read: ReadPage) -> Response:
    limit: int | None = request.parameters.get("limit")
    after = paging.decode(request.parameters["after"]) if "after" in request.parameters else None
    if limit is None:
        return await _list_all(_count_pages(request, read), after)
    found = await _read_up_to(limit + 1, read, after)
    _count_read(request, found[:limit])
    pages = [await _write_all(found[start : min(start + PAGE, limit)]) for start in range(0, limit, PAGE)]
    response = replies.ok_json(b"[%s]" % b",".join(filter(None, pages)))
    if len(found) > limit:
        response.headers["Link"] = f'<{path}?limit={limit}&after={paging.encode(found[limit - 1])}>; rel="next"'
    return response


async def _read_up_to(limit: int, read: ReadPage, after: Position | None) -> list[WebMessage]:
    """Return at most `limit` messages, read in pages."""
    found: list[WebMessage] = []
    is_last = False
    while not is_last:
        page_size = min(PAGE, limit - len(found))
        page = await _read_next(read, page_size, after)
        found += page
        is_last = len(found) == limit or stored.is_last_page(page, page_size)
        after = paging.get_position(page[-1]) if page else after
    return found


def _count_pages(request: Request, read: ReadPage) -> ReadPage:
    """Return `read`, which also counts for the audit each subject that one of its pages contains, once."""
    counted: set[Subject] = set()

    async def read_and_count(limit: int, after: Position | None) -> list[WebMessage]:
        page = await read(limit, after)
        _count_read(request, page, counted)
        return page

    return read_and_count


async def _list_all(read: ReadPage, after: Position | None) -> Response:
    first = await read(PAGE, after)
    if stored.is_last_page(first, PAGE):
        return replies.ok_json(b"[%s]" % await _write_all(first))

    async def render_pages() -> AsyncIterator[bytes]:
        page, separator = first, b"["
        while page:
            yield separator + await _write_all(page)
            separator = b","
            is_last, last = stored.is_last_page(page, PAGE), paging.get_position(page[-1])
            page = [] if is_last else await _read_next(read, PAGE, last)
        yield b"]"

    return replies.ok_stream(render_pages(), None)


async def _read_next(read: ReadPage, limit: int, after: Position | None) -> list[WebMessage]:
    # Yield to other tasks, since nothing else does on SQLite. A response to another caller takes several iterations.
    for _ in range(TURNS):
        await asyncio.sleep(0)
    page = await read(limit, after)
    if page and paging.get_position(page[-1]) == after:
        raise RuntimeError("the list does not advance")
    return page


async def _write_all(page: Sequence[WebMessage]) -> bytes:
    """Return messages as JSON, separated by commas."""
    if any(len(message.message) > LONG_TEXT for message in page):
        return b",".join([await _write(message) for message in page])
    return replies.to_json([_to_value(message) for message in page])[1:-1]


async def _write(message: WebMessage) -> bytes:
    """Return a message as JSON, without the contents of its attachments."""
    if len(message.message) <= LONG_TEXT:
        return replies.to_json(_to_value(message))
    return await asyncio.to_thread(_write_long, message)


def _write_long(message: WebMessage) -> bytes:
    text = message.message
    pieces = (replies.to_json(text[start : start + TEXT_PIECE])[1:-1] for start in range(0, len(text), TEXT_PIECE))
    # Only ids precede the text.
    head, _, tail = replies.to_json(_to_value(replace(message, message=""))).partition(b'"message":""')
    return b'%s"message":"%s"%s' % (head, b"".join(pieces), tail)


def _to_value(message: WebMessage) -> dict[str, Any]:
    """Return a message in the format of the contract. Absent properties are omitted."""
    value: dict[str, Any] = {"id": message.id}
    if message.party_id is not None:
        value["partyId"] = message.party_id
    value["message"] = message.message
    value["externalReferences"] = [
        {"key": reference.key, "value": reference.value} for reference in message.external_references
    ]
    if message.sender_user_id is not None:
        value["sender"] = {"userId": message.sender_user_id}
    value["oepInstance"] = str(message.oep_instance)
    if message.created is not None:
        value["created"] = message.created.isoformat(timespec="milliseconds")
    if message.attachments:
        value["attachments"] = [_attachment_to_value(attachment) for attachment in message.attachments]
    return value


def _attachment_to_value(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.id,
        "fileName": attachment.file_name,
        "mimeType": attachment.mime_type,
        "size": attachment.size,
        "sha256": attachment.sha256,
    }


async def _split_around_contents(message: WebMessage) -> list[bytes]:
    """Return the JSON of a message, split where the base64 texts are inserted."""
    attachments = [replies.to_json(_attachment_to_value(attachment)) for attachment in message.attachments]
    heads = [attachment[:-1] + b',"base64Data":"' for attachment in attachments]
    segments = [(await _write(replace(message, attachments=())))[:-1] + b',"attachments":[' + heads[0]]
    segments += [b'"},' + head for head in heads[1:]]
    return [*segments, b'"}]}']


async def _insert_contents(request: Request, message: WebMessage, segments: list[bytes]) -> AsyncIterator[bytes]:
    for segment, attachment in zip(segments[:-1], message.attachments, strict=True):
        yield segment
        async for piece in stored.read_attachment(request.services.database, attachment):
            yield base64.b64encode(piece)
    yield segments[-1]


def _compute_encoded_length(size: int) -> int:
    return (size + 2) // 3 * 4
