"""Bodies of answers, which must have an end."""

import time

import requests

MAX_BYTES = 256 * 1024 * 1024
"""Of an answer, several times the largest that there is: an endless one must not fill the memory."""
MAX_SECONDS = 240
"""For a body: each byte of one that drips may come in time, and the last of them never."""

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
