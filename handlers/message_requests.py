"""Decode requests that create messages: their references, and the contents of their files."""

import asyncio

from domain.attachments import Content, read_base64
from domain.errors import Violation
from domain.media_types import detect_media_type
from domain.web_messages import Attachment, ExternalReference
from handlers.requests import Request
from openapi.schemas import MAX_FAULTS


def parse_references(request: Request) -> list[ExternalReference]:
    """Return the references that could be parsed, even if others could not."""
    items = request.body.get("externalReferences") if isinstance(request.body, dict) else None
    return [
        ExternalReference(item["key"], item["value"])
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict) and isinstance(item.get("key"), str) and isinstance(item.get("value"), str)
    ]


def read_contents(request: Request) -> list[Content]:
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


async def build_attachments(request: Request, contents: list[Content]) -> tuple[Attachment, ...]:
    """Return the attachments of a valid request, with new ids and detected media types."""
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
