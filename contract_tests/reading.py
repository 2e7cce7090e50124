"""Bodies of answers, which must have an end, and headers that the contracts do not name."""

import re
import time
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import requests

MAX_BYTES = 256 * 1024 * 1024
"""Of an answer, several times the largest that there is: an endless one must not fill the memory."""
MAX_SECONDS = 240
"""For a body: each byte of one that drips may come in time, and the last of them never."""

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What reading an answer raises that has not the form of the contract."""

_DATE = re.compile("[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")

_PIECE = 256
"""Bytes that are waited for at once, so few that a body that drips is noticed."""


def read_whole(response: requests.Response) -> None:
    """Reads the whole body of an answer that streams; one without an end fails the check."""
    pieces, size, begun = [], 0, time.monotonic()
    for piece in response.iter_content(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES or time.monotonic() - begun > MAX_SECONDS:
            response.close()
            path, seconds = response.request.path_url, time.monotonic() - begun
            raise AssertionError(f"the answer to {path} has no end: {size} bytes in {seconds:.0f} seconds")
    # There is no other place that its `json` and `text` read.
    response._content = b"".join(pieces)  # noqa: SLF001  # `requests` itself keeps a body there.


def time_differs(response: requests.Response, moment: datetime, at_most: timedelta) -> bool:
    """Return whether the server's own clock, by the header `Date`, shows that a moment was not just now.

    The contracts do not name that header: where it is absent, broken or repeated (by a proxy, for example), it shows
    nothing. Neither does it if the moment is now by this machine's clock: the clock of a proxy may be wrong.
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
