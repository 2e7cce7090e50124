"""Read the forms of the operations page, and check that a page of this origin has sent them."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.types import Receive

from domain.errors import Forbidden, Invalid, RefusalReason, TooLarge, UnsupportedMediaType, Violation

MAX_BYTES = 16_384
"""Bytes of a form, far more than any page sends."""

MEDIA_TYPE = "application/x-www-form-urlencoded"

_FOREIGN = "Another page has sent this form. Open the operations page itself, and try again."


def check_origin(request: Request) -> None:
    """Raise `Forbidden` unless the browser says that a page of this origin sends the request.

    `Sec-Fetch-Site` comes with HTTPS and on this machine, `Origin` with every form. A proxy may end TLS, so only host
    and port are compared.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_own = site == "same-origin"
    else:
        try:
            origin = urlsplit(request.headers.get("origin", "")).netloc
        except ValueError:
            origin = ""
        is_own = origin != "" and origin == request.headers.get("host")
    if not is_own:
        raise Forbidden(RefusalReason.NO_KEY, _FOREIGN)


async def read_form(request: Request, receive: Receive) -> Mapping[str, str]:
    """Return the fields of a form. Raises `Invalid`, `TooLarge` and `UnsupportedMediaType`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE:
        raise UnsupportedMediaType(f"The form must be {MEDIA_TYPE}")
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _build_error("must be complete")
        body += message.get("body", b"")
        if len(body) > MAX_BYTES:
            raise TooLarge(f"The form must be at most {MAX_BYTES} bytes", MAX_BYTES)
        more = message.get("more_body", False)
    return parse_fields(bytes(body))


def parse_fields(text: bytes) -> Mapping[str, str]:
    """Return the fields of a form or query; of several with one name, the last. Raises `Invalid`."""
    try:
        fields = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50, separator="&"
        )
    except ValueError as exc:
        raise _build_error("must be URL-encoded UTF-8 with at most 50 fields") from exc
    if any("\0" in name or "\0" in value for name, value in fields):
        raise _build_error("must not contain U+0000")
    return dict(fields)


def _build_error(text: str) -> Invalid:
    return Invalid([Violation("form", text)])
