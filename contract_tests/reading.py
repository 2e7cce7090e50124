"""Bodies of answers, which must have an end."""

import requests

MAX_BYTES = 256 * 1024 * 1024
"""Of an answer, several times the largest that there is: an endless one must not fill the memory."""


def read_whole(response: requests.Response) -> None:
    """Reads the whole body of an answer that streams; one without an end fails the check."""
    pieces, size = [], 0
    for piece in response.iter_content(65_536):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            response.close()
            raise AssertionError(f"{response.request.path_url} was answered with more than {MAX_BYTES} bytes")
    # Where `requests` itself keeps a body that it has read.
    response._content = b"".join(pieces)  # noqa: SLF001  # There is no other place that its `json` and `text` read.
