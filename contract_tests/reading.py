"""Read bodies of responses with limits, and headers that the contracts do not specify."""

import re
import time
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import requests

MAX_BYTES = 256 * 1024 * 1024
"""Maximum bytes of a response, several times the largest valid one: an endless response must not exhaust the memory."""
MAX_SECONDS = 240
"""Maximum seconds for a body: a slow body may never reach its end although each byte arrives in time."""

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""Errors that occur while reading a response that does not have the form of the contract."""

_DATE = re.compile("[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")

_PIECE = 256
"""Bytes per read, small enough to notice a slow body."""


def read_whole(response: requests.Response) -> None:
    """Read the whole body of a streaming response. Fail the check if the body has no end."""
    pieces, size, begun = [], 0, time.monotonic()
    for piece in response.iter_content(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES or time.monotonic() - begun > MAX_SECONDS:
            response.close()
            path, seconds = response.request.path_url, time.monotonic() - begun
            raise AssertionError(f"the answer to {path} has no end: {size} bytes in {seconds:.0f} seconds")
    # The properties `json` and `text` read from no other attribute.
    response._content = b"".join(pieces)  # noqa: SLF001  # `requests` itself keeps a body there.


def time_differs(response: requests.Response, moment: datetime, at_most: timedelta) -> bool:
    """Return whether the `Date` header shows that a moment differs from the server's clock by at least `at_most`.

    The contracts do not specify that header. If it is missing, invalid or repeated (for example by a proxy), the result
    is False. It is also False if the moment is now by this machine's clock, because the clock of a proxy may be wrong.
    """
    assert moment.utcoffset() is not None, f"a time has an offset from UTC, but was {moment.isoformat()}"
    text = response.headers.get("Date", "")
    if _DATE.fullmatch(text) is None:
        return False
    try:
        answered = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return False
    return all(abs(moment - now) >= at_most for now in (answered, datetime.now(moment.tzinfo)))
