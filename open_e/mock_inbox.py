"""The inbox page of the mock Open-E: what was sent, newest first, as plain HTML without scripts."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

_MOST_MESSAGES = 100
_LONGEST_TEXT = 2000

_STYLE = (
    "body{font-family:sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "article{border-top:1px solid;padding:1rem 0}p{white-space:pre-wrap;overflow-wrap:anywhere}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers that the page must be sent with."""


def page(messages: Sequence[dict[str, Any]]) -> str:
    """The page for messages in the form of the control API, oldest first: the last 100, each text cut at 2000."""
    shown = "".join(_article(message) for message in reversed(messages[-_MOST_MESSAGES:]))
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Mock Open-E</title><style>{_STYLE}</style>'
        f"</head><body><h1>Mock Open-E: {len(messages)} messages</h1>{shown or '<p>Nothing was sent yet.</p>'}"
        '<footer><a href="/control/messages">As JSON</a></footer></body></html>'
    )


def _article(message: dict[str, Any]) -> str:
    text = message["message"]
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "…"
    sender = f", from {message['userID']}" if message["userID"] is not None else ""
    title = f"{message['instance']} message {message['messageID']} on case {message['flowInstanceID']}"
    files = "".join(f"<li>{escape(file['filename'])} ({file['size']} bytes)</li>" for file in message["attachments"])
    return (
        f"<article><h2>{escape(title)}</h2><div>{escape(message['added'] + sender)}</div>"
        f"<p>{escape(text)}</p>{f'<ul>{files}</ul>' if files else ''}</article>"
    )
