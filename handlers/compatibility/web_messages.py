"""The operations of spec/web-messages-3.2.yaml."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from domain import web_messages as rules
from domain.errors import NotFound
from domain.java_uuids import parse_java_uuid
from domain.web_messages import FLOW_INSTANCE_ID, Attachment, ExternalReference, OepInstance, WebMessage
from handlers import message_deletion, message_lists
from handlers.compatibility.municipality_ids import read_municipality_id
from handlers.compatibility.sent_by import read_sent_by
from handlers.message_json import MessageFormat, compute_length, insert_contents, write_time
from handlers.message_lists import PAGE, ReadPage, render_unless_deleted
from handlers.message_requests import build_attachments, parse_references, read_contents
from handlers.publications import creation, idempotency_keys
from handlers.requests import Request
from openapi import replies
from persistence import web_message_lists as lists
from persistence import web_messages as stored
from persistence.web_message_lists import Position


async def create_municipal_web_message(request: Request) -> Response:
    """Store a message. If it has a case, publish it first."""
    municipality_id = read_municipality_id(request)
    references = parse_references(request)
    contents = read_contents(request)
    if request.is_clean("message") and request.body.get("message"):
        request.violations += rules.validate_message(request.body["message"])
    request.raise_violations()

    read_sent_by(request)
    attachments = await build_attachments(request, contents)
    message = _build_message(request, municipality_id, references, attachments)
    message_id = await creation.create(request, message)
    replayed = idempotency_keys.REPLAYED if message_id != message.id else None
    return replies.created(f"/{municipality_id}/webmessages/{message_id}", replayed)


async def get_municipal_web_message_by_id(request: Request) -> Response:
    """Return a message of a municipality with the content of its attachments."""
    municipality_id = read_municipality_id(request)
    request.raise_violations()
    message = await _find(request, municipality_id)
    message_lists.count_read(request, [message])
    segments = await FORMAT.split_around_contents(message)
    pieces = insert_contents(request.services.database, message, segments)
    return replies.ok_stream(pieces, compute_length(message, segments))


async def delete_municipal_web_message_by_id(request: Request) -> Response:
    """Delete a message of a municipality, also one in doubt. A published copy in Open-E is kept."""
    municipality_id = read_municipality_id(request)
    request.raise_violations()
    sent_by = read_sent_by(request)
    message = await _find(request, municipality_id, is_unsettled_too=True)
    await message_deletion.delete(request, message.id, **sent_by)
    return replies.no_content()


async def get_municipal_web_messages_by_party_id(request: Request) -> Response:
    """Return the messages of a municipality to a party."""
    municipality_id = read_municipality_id(request)
    request.raise_violations()
    party_id = parse_java_uuid(request.parameters["partyId"])

    def read(limit: int, after: Position | None) -> Awaitable[list[WebMessage]]:
        return lists.list_by_party(request.services.database, party_id, limit, after, municipality_id)

    return await _respond_with_list(request, read)


async def get_municipal_web_messages_by_external_reference(request: Request) -> Response:
    """Return the messages of a municipality with a reference."""
    municipality_id = read_municipality_id(request)
    request.raise_violations()
    given = ExternalReference(request.parameters["key"], request.parameters["value"])
    reference = _normalise(given)

    def read(limit: int, after: Position | None) -> Awaitable[list[WebMessage]]:
        return lists.list_by_reference(request.services.database, reference, limit, after, municipality_id)

    return await _respond_with_list(request, read)


async def get_api_docs(request: Request) -> Response:
    """Return the contract."""
    return Response(request.services.api_docs, media_type="application/yaml")


async def _find(request: Request, municipality_id: str, *, is_unsettled_too: bool = False) -> WebMessage:
    """Return the message of a request, optionally also one that only operators can read.

    Raises `NotFound`, with the id as the caller wrote it, also for a message of another municipality.
    """
    database, given = request.services.database, request.parameters["id"]
    message_id = parse_java_uuid(given)
    message: WebMessage | None = None
    with suppress(NotFound):
        message = await stored.get(database, message_id)
    if message is None and is_unsettled_too:
        message = await stored.find_unsettled(database, message_id)
    if message is None or message.municipality_id != municipality_id:
        raise NotFound(f"WebMessage with id '{given}' not found")
    return message


def _build_message(
    request: Request,
    municipality_id: str,
    references: list[ExternalReference],
    attachments: tuple[Attachment, ...],
) -> WebMessage:
    body: dict[str, Any] = request.body
    instance = OepInstance(body["oepInstance"].lower())
    user_id: str = (body.get("sender") or {}).get("userId") or ""
    return WebMessage(
        id=request.services.new_id(),
        party_id=parse_java_uuid(body["partyId"]) if body.get("partyId") else None,
        message=body.get("message") or "",
        external_references=rules.normalise_case_numbers(references),
        sender_user_id=user_id if user_id.strip() else None,
        oep_instance=instance,
        attachments=attachments,
        municipality_id=municipality_id,
        oep_instance_as_sent=body["oepInstance"] if body["oepInstance"] != instance else None,
        own_open_e=request.services.municipalities.find_own_open_e(municipality_id, instance),
    )


def _normalise(reference: ExternalReference) -> ExternalReference:
    """Return a reference as it is stored."""
    is_case = reference.key.lower() == FLOW_INSTANCE_ID.lower() and reference.value.isascii()
    if not is_case or not reference.value.isdigit():
        return reference
    [normalised] = rules.normalise_case_numbers([reference])
    return normalised


async def _respond_with_list(request: Request, read: ReadPage) -> Response:
    """Return all messages of a list with the contents of their attachments."""
    read = message_lists.count_pages(request, read)
    first = await read(PAGE, None)
    return replies.ok_stream(_render_list(request, message_lists.iterate_pages(read, first)), None)


async def _render_list(request: Request, pages: AsyncIterator[list[WebMessage]]) -> AsyncIterator[bytes]:
    separator = b"["
    async for page in pages:
        for message in page:
            async for piece in render_unless_deleted(request, message, FORMAT):
                yield separator + piece
                separator = b""
            separator = separator or b","
    yield b"]" if separator == b"," else b"[]"


def _to_value(message: WebMessage) -> dict[str, Any]:
    """Return a message in the format of the contract, without its attachments. Absent properties are omitted."""
    value: dict[str, Any] = {"id": message.id, "municipalityId": message.municipality_id}
    if message.sender_user_id is not None:
        value["sender"] = {"userId": message.sender_user_id}
    if message.party_id is not None:
        value["partyId"] = message.party_id
    if message.message:
        value["message"] = message.message
    instance = str(message.oep_instance) if message.oep_instance_as_sent is None else message.oep_instance_as_sent
    if instance:
        value["oepInstance"] = instance
    value["externalReferences"] = [
        {"key": reference.key, "value": reference.value} for reference in message.external_references
    ]
    if message.created is not None:
        value["created"] = write_time(message.created)
    return value


def _attachment_to_value(attachment: Attachment) -> dict[str, Any]:
    name = {"fileName": attachment.file_name} if attachment.file_name else {}
    return {**name, "mimeType": attachment.mime_type}


FORMAT = MessageFormat(_to_value, _attachment_to_value)
"""The format of messages in this contract."""
