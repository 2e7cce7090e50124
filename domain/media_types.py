"""Determine the media type of a file from its content, or from its name where the content is ambiguous."""

import mimetypes
from pathlib import PurePosixPath

import puremagic

UNKNOWN = "application/octet-stream"

_MIN_CONFIDENCE = 0.3
"""Below this confidence, puremagic matched only two or three bytes, which a text may contain too."""

_INSPECTED_BYTES = 64 * 1024
"""Bytes to inspect. Signatures are at the beginning of files."""

_AMBIGUOUS_TYPES = {
    "",
    UNKNOWN,
    "application/zip",
    "application/json",
    "application/xml",
    "application/msword",  # Any OLE document: Word, Excel, PowerPoint, Outlook, Visio.
    "application/x-ole-storage",
    "application/vnd.ms-excel",
    "application/vnd.ms-powerpoint",
}

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_OFFICE = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".msg": "application/vnd.ms-outlook",
    ".rtf": "application/rtf",
    ".heic": "image/heic",
    ".md": "text/markdown",
    ".p7m": "application/pkcs7-mime",
    ".asice": "application/vnd.etsi.asic-e+zip",
}

# Use only Python's own table: with the files of the operating system, the result would depend on the machine.
_BY_NAME = mimetypes.MimeTypes(filenames=())
for _ending, _type in _OFFICE.items():
    _BY_NAME.add_type(_type, _ending)


def detect_media_type(data: bytes | bytearray, file_name: str) -> str:
    """Return the media type of a file, `application/octet-stream` if neither content nor name determine it."""
    return _from_content(data) or _from_name(file_name) or UNKNOWN


def _from_content(data: bytes | bytearray) -> str | None:
    if data.startswith((_ZIP, _OLE)):
        return None
    try:
        matches = puremagic.magic_string(bytes(data[:_INSPECTED_BYTES]))
    except (puremagic.PureError, ValueError):
        return None
    best = matches[0] if matches else None
    if best is None or best.confidence < _MIN_CONFIDENCE:
        return None
    found: str = best.mime_type
    if found in _AMBIGUOUS_TYPES or found.startswith(("text/", "message/")) or found.endswith("+xml"):
        return None
    return found


def _from_name(file_name: str) -> str | None:
    # `guess_type` parses names as URLs, where prefixes such as `data:` have a meaning.
    ending = PurePosixPath(file_name).suffix.lower()
    return _BY_NAME.types_map[True].get(ending)
