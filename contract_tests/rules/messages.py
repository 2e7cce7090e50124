"""Parts of web messages that checks put together."""

import base64
from typing import Any

from contract_tests.api import Api

JSONObject = dict[str, Any]

ABSENT = {"id", "message", "externalReferences", "oepInstance", "created"}
"""What a message has of which nothing else was said."""


def file(content: bytes = b"Hello\n", name: str = "hello.txt") -> JSONObject:
    """An attachment as JSON carries it."""
    return {"fileName": name, "base64Data": base64.b64encode(content).decode()}


def reference(key: Any, value: Any) -> JSONObject:
    return {"key": key, "value": value}


def part(disposition: str, content: bytes, content_type: str | None = None) -> bytes:
    """One part of a form with the boundary XX."""
    head = f"--XX\r\nContent-Disposition: {disposition}\r\n"
    head += f"Content-Type: {content_type}\r\n\r\n" if content_type else "\r\n"
    return head.encode() + content + b"\r\n"


def file_part(content: bytes = b"Hello\n", name: str = 'filename="hello.txt"') -> bytes:
    """A file; `name` is the whole parameter."""
    return part(f'form-data; name="attachments"; {name}', content, "text/plain")


def as_sent(message: JSONObject) -> JSONObject:
    """A stored message as it could be sent: without what the service has made."""
    value = {name: inner for name, inner in message.items() if name not in {"id", "created"}}
    if "attachments" in value:
        value["attachments"] = [
            {name: attachment[name] for name in ("fileName", "base64Data")} for attachment in value["attachments"]
        ]
    return value


def ids_of(messages: list[JSONObject]) -> list[str]:
    return [message["id"] for message in messages]


def create_about(api: Api, about: JSONObject, count: int, **changes: Any) -> list[str]:
    """Messages with one reference; their ids in the order of their creation."""
    return [api.create_message(api.message(externalReferences=[about], **changes)) for _ in range(count)]
