"""Resolve references of the catalogue: `env:NAME` and `file:PATH`."""

import os
from pathlib import Path

from delivery.signing import NotASecret, read_secret
from domain.errors import BudkavleError

MAX_BYTES = 1024 * 1024
"""Maximum bytes of a file that is read."""


class SetupWrong(BudkavleError):
    """The configuration of a receiver cannot be read. The message contains the reference, never its value."""


def secret_of(reference: str) -> bytes:
    """Return the signing key from an environment variable or a file. Raises `SetupWrong`."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        text = os.environ.get(name)
        if text is None:
            raise SetupWrong(f"{reference} is not set")
    else:
        try:
            text = read_file(reference).decode()
        except UnicodeDecodeError:
            raise SetupWrong(f"{reference} holds no text") from None
    try:
        return read_secret(text)
    except NotASecret:
        raise SetupWrong(f"{reference} holds no secret: whsec_ and base64, or base64 alone") from None


def path_of(reference: str) -> Path:
    """Return the path in a `file:` reference. Raises `SetupWrong`."""
    kind, _, path = reference.partition(":")
    if kind != "file" or not path:
        # Do not include the reference: it may be the secret itself.
        raise SetupWrong("a reference is neither env:NAME nor file:PATH")
    return Path(path)


def read_file(reference: str) -> bytes:
    """Return the content of a file. It blocks; the files are local and a few kilobytes long. Raises `SetupWrong`."""
    path = path_of(reference)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "its name is none"
        raise SetupWrong(f"{reference} cannot be read: {why}") from exc
    if len(data) > MAX_BYTES:
        raise SetupWrong(f"{reference} is larger than {MAX_BYTES} bytes")
    return data
