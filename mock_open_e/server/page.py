"""The inbox page of the mock Open-E: three files without a build step and without external resources."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "inbox"

_HEADERS = {
    # The page shows text of callers, so only these files may contain scripts and styles.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageFile(NamedTuple):
    """One file of the page, with its response headers."""

    content: bytes
    headers: Mapping[str, str]


def read_page_files() -> Mapping[str, PageFile]:
    """Return the files of the page by path. All addresses in them are relative."""
    kinds = {
        "/": ("index.html", "text/html; charset=utf-8"),
        "/inbox.css": ("inbox.css", "text/css; charset=utf-8"),
        "/inbox.js": ("inbox.js", "text/javascript; charset=utf-8"),
        "/text.js": ("text.js", "text/javascript; charset=utf-8"),
    }
    return {
        path: PageFile((_FOLDER / name).read_bytes(), {**_HEADERS, "Content-Type": media_type})
        for path, (name, media_type) in kinds.items()
    }
