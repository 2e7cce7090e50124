"""Serve the constant files of pages: style sheets, scripts, images, contracts."""

import gzip
import hashlib
from asyncio import to_thread
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The media types of files of pages, by suffix."""

_SMALLEST_COMPRESSED = 1400
"""Bytes. A smaller response fits into one packet anyway."""


def create_file_route(path: str, source: Path | bytes, media_type: str) -> Route:
    """Return the route of a constant file, which is read when it is first requested.

    Browsers ask at each use whether the file has changed (`ETag`), so that a new version is complete at once.
    """
    file = _File(source)

    async def send(request: Request) -> Response:
        headers = {
            "Content-Type": media_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
            "ETag": file.tag,
            "Vary": "Accept-Encoding",
        }
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if len(file.content) < _SMALLEST_COMPRESSED or not _accepts_gzip(request):
            return Response(file.content, headers=headers)
        return Response(await to_thread(file.compress), headers=headers | {"Content-Encoding": "gzip"})

    return Route(path, send)


def _accepts_gzip(request: Request) -> bool:
    offers = [offer.replace(" ", "") for offer in request.headers.get("accept-encoding", "").lower().split(",")]
    return "gzip" in offers


class _File:
    """The content of a file, also compressed, computed once."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._compressed = b""

    @cached_property
    def content(self) -> bytes:
        return self._source if isinstance(self._source, bytes) else self._source.read_bytes()

    @cached_property
    def tag(self) -> str:
        # Weak, because the compressed form has the same tag.
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def compress(self) -> bytes:
        self._compressed = self._compressed or gzip.compress(self.content, mtime=0)
        return self._compressed
