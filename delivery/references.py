"""What the catalogue refers to: `env:NAME` and `file:PATH`."""

import os
from pathlib import Path

from delivery.signing import NotASecret, read_secret
from domain.errors import BudkavleError

MAX_BYTES = 1024 * 1024
"""Of a file that is read."""


class SetupWrong(BudkavleError):
    """What is needed to call a receiver cannot be read. The message names the reference and never its value."""


def secret_of(reference: str) -> bytes:
    """The key that signs, from a variable of the environment or a file. Raises `SetupWrong`."""
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
    """The file that a reference names. Raises `SetupWrong`."""
    kind, _, path = reference.partition(":")
    if kind != "file" or not path:
        # Not shown: it may be the secret itself.
        raise SetupWrong("a reference is neither env:NAME nor file:PATH")
    return Path(path)


def read_file(reference: str) -> bytes:
    """What the file holds, read here and now: files of a local disk, a few kilobytes each. Raises `SetupWrong`."""
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
