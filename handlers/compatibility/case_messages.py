"""The operations of spec/oep-integrator-1.5.yaml."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response

from domain import web_messages as rules
from domain.case_messages import CASE_REQUIRED, ShownAttachment, ShownMessage
from domain.errors import CaseMissing, NotOffered, OutcomeUnknown, Violation
from domain.java_uuids import parse_java_uuid
from domain.media_types import detect_media_type
from domain.web_messages import Attachment, ExternalReference, OepInstance, OpenEName, WebMessage
from handlers.compatibility.municipality_ids import read_municipality_id
from handlers.compatibility.sent_by import read_sent_by
from handlers.message_lists import count_read
from handlers.message_requests import build_attachments, parse_references, read_contents
from handlers.publications import creation, idempotency_keys
from handlers.requests import CaseReader, Request
from openapi import replies
from persistence import publication_statuses

_SENDERS = ("userId", "administratorId", "partyId")


async def create_case_web_message(request: Request) -> Response:
    """Publish a message on its case, as the staff or as the owner of the case, and store it."""
    municipality_id = read_municipality_id(request)
    references = parse_references(request)
    contents = read_contents(request)
    if request.is_clean("message") and "message" in request.body:
        request.violations += rules.validate_message(request.body["message"])
    senders = _read_senders(request)
    if len(senders) > 1:
        request.violations.append(Violation("sender", "only one of the attributes can be set at a time"))
    request.raise_violations()
    if "partyId" in senders and request.services.parties is None:
        raise NotOffered("Not implemented for sender.partyId: this service has no party service to ask; send a userId")

    read_sent_by(request)
    instance = _read_instance(request, municipality_id)
    attachments = await build_attachments(request, contents)
    message = _build_message(request, instance, senders, references, attachments)
    if message.flow_instance_id is None:
        raise CaseMissing(CASE_REQUIRED)
    message_id = await creation.create(request, message, lambda given: _add_legal_id(request, given))
    replayed = idempotency_keys.REPLAYED if message_id != message.id else None
    open_e_id = await _find_open_e_id(request, message_id)
    return replies.created(f"/{municipality_id}/webmessages/{open_e_id}", replayed)


async def get_case_web_messages(request: Request) -> Response:
    """Return the messages on a case."""
    municipality_id = read_municipality_id(request)
    begin, end = _read_period(request)
    request.raise_violations()
    instance, number = _read_instance(request, municipality_id), int(request.parameters["flowInstanceId"])
    messages = await _get_reader(request).list_by_case(instance.open_e, number, begin, end)
    _count_read(request, messages)
    return await _respond_with_messages(request, messages, instance)


async def get_family_web_messages(request: Request) -> Response:
    """Return the messages on the cases of a flow family."""
    municipality_id = read_municipality_id(request)
    begin, end = _read_period(request)
    request.raise_violations()
    instance, family_id = _read_instance(request, municipality_id), request.parameters["familyId"]
    messages = await _get_reader(request).list_by_family(instance.open_e, int(family_id), begin, end)
    _count_read(request, messages)
    return await _respond_with_messages(request, messages, instance, familyId=family_id)


async def get_case_web_message_attachment(request: Request) -> Response:
    """Return a file of a message, to be saved."""
    municipality_id = read_municipality_id(request)
    request.raise_violations()
    instance, attachment_id = _read_instance(request, municipality_id), int(request.parameters["attachmentId"])
    file = await _get_reader(request).read_file(instance.open_e, attachment_id)
    headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
    response = Response(file.data, headers={"Content-Type": file.media_type, **headers})
    return await replies.reserve(response, request.services.content_budget)


@dataclass(frozen=True, slots=True)
class _Instance:
    """The Open-E instance in the path of a request: that of the municipality, or the shared one."""

    municipality_id: str
    type: OepInstance
    own_open_e: OpenEName | None

    @property
    def open_e(self) -> OpenEName:
        return self.own_open_e or self.type


def _read_instance(request: Request, municipality_id: str) -> _Instance:
    type_ = OepInstance(request.parameters["instanceType"].lower())
    own = request.services.municipalities.find_own_open_e(municipality_id, type_)
    return _Instance(municipality_id, type_, own)


def _read_senders(request: Request) -> dict[str, str]:
    """Return the attributes of the sender that are not blank."""
    sender = request.body.get("sender") if isinstance(request.body, dict) else None
    given = {name: sender.get(name) for name in _SENDERS} if isinstance(sender, dict) else {}
    return {name: value for name, value in given.items() if isinstance(value, str) and value.strip()}


def _build_message(
    request: Request,
    instance: _Instance,
    senders: dict[str, str],
    references: list[ExternalReference],
    attachments: tuple[Attachment, ...],
) -> WebMessage:
    return WebMessage(
        id=request.services.new_id(),
        message=request.body["message"],
        external_references=rules.normalise_case_numbers(references),
        sender_user_id=senders.get("userId") or senders.get("administratorId"),
        oep_instance=instance.type,
        attachments=attachments,
        municipality_id=instance.municipality_id,
        own_open_e=instance.own_open_e,
        is_from_owner="userId" in senders or "partyId" in senders,
        sender_party_id=parse_java_uuid(senders["partyId"]) if "partyId" in senders else None,
    )


async def _add_legal_id(request: Request, message: WebMessage) -> WebMessage:
    """Return the message with the legal id of its sender if that is a party."""
    municipality_id, party_id = message.municipality_id, message.sender_party_id
    if municipality_id is None or party_id is None:
        return message
    parties = request.services.parties
    assert parties is not None  # noqa: S101  # Otherwise the message was refused.
    return replace(message, citizen_id=await parties.find_legal_id(municipality_id, party_id, request.request_id))


async def _find_open_e_id(request: Request, message_id: str) -> int:
    """Return the id that Open-E gave a message that was published, maybe by an earlier request."""
    open_e_id = await publication_statuses.find_open_e_id(request.services.database, message_id)
    if open_e_id is None:
        raise OutcomeUnknown("Open-E has the message, but its id there is not known. Do not send it again")
    return open_e_id


def _read_period(request: Request) -> tuple[str, str]:
    """Return the minutes of the period, empty for a limit that is absent."""
    given = (request.parameters.get(name, "") for name in ("fromDateTime", "toDateTime"))
    begin, end = (value[:16].replace("T", " ") for value in given)
    return begin, end


def _get_reader(request: Request) -> CaseReader:
    reader = request.services.case_reader
    assert reader is not None  # noqa: S101  # The contract is served only with a reader.
    return reader


def _count_read(request: Request, messages: Sequence[ShownMessage]) -> None:
    """Count the read of messages for the audit, under the reference to their case."""
    cases = dict.fromkeys(message.flow_instance_id for message in messages if message.flow_instance_id)
    read = [WebMessage("", "", (ExternalReference(rules.FLOW_INSTANCE_ID, case),)) for case in cases]
    count_read(request, read)


async def _respond_with_messages(
    request: Request, messages: Sequence[ShownMessage], instance: _Instance, **added: str
) -> Response:
    """Return a list of messages, each with the `added` properties."""

    def encode() -> bytes:
        return b"[%s]" % b",".join(replies.to_json({**_to_value(message, instance), **added}) for message in messages)

    response = replies.ok_json(await asyncio.to_thread(encode))
    return await replies.reserve(response, request.services.content_budget)


def _to_value(message: ShownMessage, instance: _Instance) -> dict[str, Any]:
    """Return a message in the format of the contract. Properties without a value are omitted."""
    value: dict[str, Any] = {
        "direction": "OUTBOUND" if message.is_of_staff else "INBOUND",
        "municipalityId": instance.municipality_id,
        "externalCaseId": message.flow_instance_id,
        "message": message.text,
        "messageId": str(message.id),
        "sent": f"{message.added.replace(' ', 'T')}:00" if message.added else "",
    }
    if message.poster is not None:
        poster = message.poster
        value |= {"username": poster.username, "firstName": poster.first_name, "lastName": poster.last_name}
        value |= {"email": poster.email, "userId": poster.user_id}
    value["attachments"] = [_attachment_to_value(attachment) for attachment in message.attachments]
    value["instance"] = instance.type.name
    return {name: inner for name, inner in value.items() if inner}


def _attachment_to_value(attachment: ShownAttachment) -> dict[str, Any]:
    return {
        "attachmentId": attachment.id,
        "name": attachment.name,
        "extension": attachment.name.rpartition(".")[2] if "." in attachment.name else "",
        "mimeType": detect_media_type(b"", attachment.name),
    }
