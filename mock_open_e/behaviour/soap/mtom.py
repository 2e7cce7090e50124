"""MTOM requests: the envelope and the files of a multipart/related body, found by their Content-ID."""

import re
from email.message import Message as Headers
from email.parser import BytesHeaderParser
from typing import NamedTuple

_MAX_PARTS = 1000


class Parts(NamedTuple):
    """The envelope, its charset, and the other parts by their ids."""

    envelope: bytes
    charset: str | None
    files: dict[str, bytes]


def split(kind: Headers, body: bytes | bytearray) -> Parts | None:
    """Return the parts of a body with that Content-Type, or None if it is not an MTOM request."""
    boundary = kind.get_param("boundary")
    if kind.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        return None
    start = kind.get_param("start")
    wanted = _strip_id(start if isinstance(start, str) else "")
    envelope: Parts | None = None
    files: dict[str, bytes] = {}
    delimiter = re.escape(b"--" + boundary.encode("latin-1", "replace"))
    edges = re.finditer(rb"(?:\A|\r?\n)" + delimiter + rb"(?P<end>--)?[ \t]*(?:\r?\n|\Z)", bytes(body))
    begin: int | None = None
    for _, edge in zip(range(_MAX_PARTS), edges, strict=False):
        if begin is not None:
            head, data = _split_part(bytes(body[begin : edge.start()]))
            is_xml = head.get_content_type() in {"application/xop+xml", "text/xml"}
            content_id = _strip_id(head.get("content-id", ""))
            if envelope is None and is_xml and wanted in {"", content_id}:
                charset = head.get_param("charset")
                envelope = Parts(data, charset if isinstance(charset, str) else None, files)
            else:
                files[content_id] = data
        begin = None if edge["end"] else edge.end()
    return envelope


def _split_part(part: bytes) -> tuple[Headers, bytes]:
    edge = re.search(rb"(?:\A|\r?\n)\r?\n", part)
    if edge is None:
        return BytesHeaderParser().parsebytes(part), b""
    return BytesHeaderParser().parsebytes(part[: edge.start()]), part[edge.end() :]


def _strip_id(content_id: str) -> str:
    return content_id.strip().removeprefix("<").removesuffix(">")
