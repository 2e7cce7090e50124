"""Resolve references of the catalogue: `env:NAME` and `file:PATH`."""

import os
import re
from pathlib import Path

from delivery.signing import NotASecret, read_secret
from domain.errors import BudkavleError

MAX_BYTES = 1024 * 1024
"""Maximum bytes of a file that is read."""

MAX_VALUE = 4096
"""Maximum characters of the value of a header."""

_VALUE = re.compile(rf"[ -~]{{1,{MAX_VALUE}}}")


class ReceiverMisconfigured(BudkavleError):
    """The configuration of a receiver cannot be read. The message contains the reference, never its value."""


def read_signing_key(reference: str) -> bytes:
    """Return the signing key from an environment variable or a file. Raises `ReceiverMisconfigured`."""
    try:
        return read_secret(_read_text(reference))
    except NotASecret:
        raise ReceiverMisconfigured(
            f"{reference} contains no secret: it must be base64, optionally after whsec_"
        ) from None


def read_value(reference: str) -> str:
    """Return a printable text from an environment variable or a file, without the white space around it.

    Raises `ReceiverMisconfigured`.
    """
    value = _read_text(reference).strip()
    if not _VALUE.fullmatch(value):
        raise ReceiverMisconfigured(f"{reference} must contain 1 to {MAX_VALUE} printable ASCII characters")
    return value


def _read_text(reference: str) -> str:
    kind, _, name = reference.partition(":")
    if kind == "env":
        text = os.environ.get(name)
        if text is None:
            raise ReceiverMisconfigured(f"{reference} is not set")
        return text
    try:
        return read_file(reference).decode()
    except UnicodeDecodeError:
        raise ReceiverMisconfigured(f"{reference} is not UTF-8 text") from None


def resolve_path(reference: str) -> Path:
    """Return the path in a `file:` reference. Raises `ReceiverMisconfigured`."""
    kind, _, path = reference.partition(":")
    if kind != "file" or not path:
        # Do not include the reference: it may be the secret itself.
        raise ReceiverMisconfigured("a reference must be env:NAME or file:PATH")
    return Path(path)


def read_file(reference: str) -> bytes:
    """Return the content of a file. Raises `ReceiverMisconfigured`.

    The read blocks the event loop for a moment: these files are local and a few kilobytes long.
    """
    path = resolve_path(reference)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) else "its name is invalid"
        raise ReceiverMisconfigured(f"{reference} cannot be read: {cause}") from exc
    if len(data) > MAX_BYTES:
        raise ReceiverMisconfigured(f"{reference} is larger than {MAX_BYTES} bytes")
    return data
