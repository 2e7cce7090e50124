"""Build parts of web messages."""

import base64
from typing import Any

from contract_tests.api import Api

JSONObject = dict[str, Any]

ABSENT = {"id", "message", "externalReferences", "oepInstance", "created"}
"""The default values of a message."""


def file(content: bytes = b"Hello\n", name: str = "hello.txt") -> JSONObject:
    """Return an attachment as JSON."""
    return {"fileName": name, "base64Data": base64.b64encode(content).decode()}


def reference(key: Any, value: Any) -> JSONObject:
    return {"key": key, "value": value}


def part(disposition: str, content: bytes, content_type: str | None = None) -> bytes:
    """Return one part of a form with the boundary XX."""
    head = f"--XX\r\nContent-Disposition: {disposition}\r\n"
    head += f"Content-Type: {content_type}\r\n\r\n" if content_type else "\r\n"
    return head.encode() + content + b"\r\n"


def file_part(content: bytes = b"Hello\n", name: str = 'filename="hello.txt"') -> bytes:
    """Return a file part of a form. `name` is the whole parameter."""
    return part(f'form-data; name="attachments"; {name}', content, "text/plain")


def strip_generated(message: JSONObject) -> JSONObject:
    """Return a stored message without the properties that the service generates."""
    value = {name: inner for name, inner in message.items() if name not in {"id", "created"}}
    if "attachments" in value:
        value["attachments"] = [
            {name: attachment[name] for name in ("fileName", "base64Data")} for attachment in value["attachments"]
        ]
    return value


def list_ids(messages: list[JSONObject]) -> list[str]:
    return [message["id"] for message in messages]


def create_messages(api: Api, about: JSONObject, count: int, **changes: Any) -> list[str]:
    """Create messages with one reference, and return their ids in the order of creation."""
    return [api.create_message(api.message(externalReferences=[about], **changes)) for _ in range(count)]
