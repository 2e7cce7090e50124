"""A request as a line for the shell, with keys and certificates in the shell's variables."""

import shlex
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from contract_tests.evidence import Call
from contract_tests.target import Target

KEPT_IN_LINE = 4096
"""Bytes of a body that stand in the line; a larger one is saved, and so is one that is no text."""

SHELL = {"apikey": "API_KEY", "client-cert": "CLIENT_CERT"}
"""Headers that are secret or long: the shell's variables that hold them."""


def curl(call: Call, target: Target, folder: Path) -> str:
    """One line; what it sends from a file is saved in the folder."""
    words = ["curl -sS -i --path-as-is -X", shlex.quote(call.method), *trust(target, with_certificate=call.by_tls)]
    for name, value in call.headers.items():
        words += ["-H", _header(target, name, value)]
    if call.body:
        words += ["--data-binary", body(call.body, folder)]
    if not any(name.lower() == "content-type" for name in call.headers):
        # curl says of itself that a body is that of a web page's form.
        words += ["-H", "Content-Type:"] if call.body else []
    return " ".join([*words, quoted(target.url + call.path)])


def trust(target: Target, *, with_certificate: bool) -> Iterable[str]:
    """Words that say whom curl trusts, and who calls where that goes by TLS."""
    if target.ca is not None:
        yield from ("--cacert", shlex.quote(target.ca))
    if with_certificate and target.is_tls and target.certificate is not None:
        yield from ("--cert", shlex.quote(target.certificate.file))
        if target.certificate.key is not None:
            yield from ("--key", shlex.quote(target.certificate.key))


def body(data: bytes, folder: Path) -> str:
    """A body as a word: itself, or the file that it is saved in."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    # A word holds no NUL, and one that begins with @ would name a file.
    if len(data) > KEPT_IN_LINE or "\0" in text or text.startswith("@"):
        return shlex.quote(f"@{save(data, folder)}")
    return shlex.quote(text)


def save(data: bytes, folder: Path) -> Path:
    """A file of its own for these bytes, always the same for the same."""
    file = folder / "sent" / f"{sha256(data).hexdigest()[:16]}.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file.resolve()


def quoted(url: str) -> str:
    """A URL as a word. curl reads braces and brackets as patterns unless it is told not to."""
    is_pattern = any(character in urlsplit(url)._replace(netloc="").geturl() for character in "[]{}")
    return f"--globoff {shlex.quote(url)}" if is_pattern else shlex.quote(url)


def _header(target: Target, name: str, value: str) -> str:
    # Without a value curl takes a header out; a semicolon says that it is empty.
    if not value:
        return shlex.quote(f"{name};")
    variable = SHELL.get(name.lower())
    if variable is None:
        return shlex.quote(f"{name}: {value}")
    if variable == "API_KEY" and value == target.publish_key != target.api_key:
        variable = "PUBLISH_KEY"
    known = {target.api_key, target.publish_key, target.certificate and target.certificate.header}
    return f'"{name}: ${variable}"' if value in known else shlex.quote(f"{name}: {value}")
