"""The operations of spec/web-messages.yaml."""

from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from domain import web_messages as rules
from domain.errors import NotFound
from domain.web_messages import Attachment, ExternalReference, OepInstance, WebMessage
from handlers import message_deletion, message_lists
from handlers.message_json import MessageFormat, compute_length, insert_contents, write_time
from handlers.message_requests import build_attachments, parse_references, read_contents
from handlers.publications import creation, idempotency_keys
from handlers.requests import Request
from openapi import replies
from persistence import web_message_lists as lists
from persistence import web_messages as stored
from persistence.web_message_lists import Position


async def create_web_message(request: Request) -> Response:
    """Store a message. If it has a case, publish it first."""
    references = parse_references(request)
    contents = read_contents(request)
    if request.is_clean("message") and "message" in request.body:
        request.violations += rules.validate_message(request.body["message"])
    request.violations += rules.validate_references(references)
    request.raise_violations()

    message = _build_message(request, references, await build_attachments(request, contents))
    message_id = await creation.create(request, message)
    replayed = idempotency_keys.REPLAYED if message_id != message.id else None
    return replies.created(f"/webmessages/{message_id}", replayed)


async def get_web_message_by_id(request: Request) -> Response:
    """Return a message with the content of its attachments."""
    request.raise_violations()
    message_id = request.parameters["id"].lower()
    try:
        message = await stored.get(request.services.database, message_id)
    except NotFound as exc:
        raise await message_deletion.explain_not_found(request, message_id, exc) from exc
    message_lists.count_read(request, [message])
    if not message.attachments:
        return replies.ok_json(await FORMAT.write(message))
    segments = await FORMAT.split_around_contents(message)
    pieces = insert_contents(request.services.database, message, segments)
    return replies.ok_stream(pieces, compute_length(message, segments))


async def delete_web_message_by_id(request: Request) -> Response:
    """Delete a stored message, or one in doubt. A published copy in Open-E is kept."""
    request.raise_violations()
    await message_deletion.delete(request, request.parameters["id"].lower())
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
        raise await message_deletion.explain_not_found(request, message_id, exc) from exc
    message_lists.count_read(request, [message])
    pieces = stored.read_attachment(database, attachment)
    return replies.download(pieces, attachment.mime_type, attachment.size, attachment.file_name)


async def get_web_messages_by_party_id(request: Request) -> Response:
    """Return the messages to a party."""
    request.raise_violations()
    party_id = request.parameters["partyId"].lower()

    def read(limit: int, after: Position | None) -> Awaitable[list[WebMessage]]:
        return lists.list_by_party(request.services.database, party_id, limit, after)

    return await message_lists.respond_with_list(request, f"/webmessages/recipients/{party_id}", read, FORMAT)


async def get_web_messages_by_external_reference(request: Request) -> Response:
    """Return the messages with a reference."""
    request.raise_violations()
    reference = ExternalReference(request.parameters["key"], request.parameters["value"])

    def read(limit: int, after: Position | None) -> Awaitable[list[WebMessage]]:
        return lists.list_by_reference(request.services.database, reference, limit, after)

    path = f"/webmessages/external-references/{quote(reference.key, safe='')}/{quote(reference.value, safe='')}"
    return await message_lists.respond_with_list(request, path, read, FORMAT)


def _build_message(
    request: Request, references: list[ExternalReference], attachments: tuple[Attachment, ...]
) -> WebMessage:
    body: dict[str, Any] = request.body
    return WebMessage(
        id=request.services.new_id(),
        party_id=body["partyId"].lower() if body.get("partyId") else None,
        message=body["message"],
        external_references=rules.normalise_references(references),
        sender_user_id=(body.get("sender") or {}).get("userId"),
        oep_instance=OepInstance(body.get("oepInstance") or OepInstance.EXTERNAL),
        attachments=attachments,
    )


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
        value["created"] = write_time(message.created)
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


FORMAT = MessageFormat(_to_value, _attachment_to_value)
"""The format of messages in this contract."""
