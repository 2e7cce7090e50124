"""Decode the content of calls as text."""

from collections.abc import Mapping
from email.message import Message as Headers


def decode_content(headers: Mapping[str, str], body: bytes) -> str:
    """Return a body as text in the charset of its Content-Type, without unpaired surrogates."""
    kind = Headers()
    kind["content-type"] = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    charset = kind.get_content_charset() or "utf-8"
    try:
        text = body.decode(charset, "replace")
    except (LookupError, ValueError):
        # The charset does not exist, or it is one of Python's non-text codecs.
        text = body.decode("utf-8", "replace")
    # Some charsets can decode to unpaired surrogates, which JSON cannot contain.
    return text.encode("utf-8", "replace").decode()
