"""Write requests as shell commands, with keys and certificates as shell variables."""

import shlex
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from contract_tests.evidence import SentRequest
from contract_tests.target import CheckTarget
from contract_tests.tokens import cut_token, extend_token, unsign_token

KEPT_IN_LINE = 4096
"""Maximum bytes of a body in a command. Larger and binary bodies are saved in a file."""

SHELL = {"apikey": "API_KEY", "client-cert": "CLIENT_CERT"}
"""Headers with secret or long values, and the shell variables for them."""

TOKEN_FORMS: dict[str, Callable[[str], str]] = {
    "$TOKEN": str,
    "${TOKEN%?}": cut_token,
    "${TOKEN}x": extend_token,
    "${TOKEN%.*}.": unsign_token,
}
"""Shell words for a token, and for the invalid ones that are derived from it."""


def format_curl(call: SentRequest, target: CheckTarget, folder: Path) -> str:
    """Return a call as a curl command. Bodies that do not fit are saved in the folder."""
    words = [
        "curl -sS -i --path-as-is -X",
        shlex.quote(call.method),
        *tls_options(target, with_certificate=call.by_tls),
    ]
    for name, value in call.headers.items():
        words += ["-H", _header(target, name, value)]
    if call.body:
        words += ["--data-binary", format_body(call.body, folder)]
    if not any(name.lower() == "content-type" for name in call.headers):
        # By default curl sends the content type of a web form.
        words += ["-H", "Content-Type:"] if call.body else []
    return " ".join([*words, quote_url(target.url + call.path)])


def tls_options(target: CheckTarget, *, with_certificate: bool) -> Iterable[str]:
    """Yield curl's options for the trusted CA and the client certificate of TLS."""
    if target.ca is not None:
        yield from ("--cacert", shlex.quote(target.ca))
    if with_certificate and target.is_tls and target.certificate is not None:
        yield from ("--cert", shlex.quote(target.certificate.file))
        if target.certificate.key is not None:
            yield from ("--key", shlex.quote(target.certificate.key))


def format_body(data: bytes, folder: Path) -> str:
    """Return a body as a shell word: the text itself, or a reference to a saved file."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    # A shell word cannot contain NUL, and curl reads a leading @ as a file name.
    if len(data) > KEPT_IN_LINE or "\0" in text or text.startswith("@"):
        return shlex.quote(f"@{save_body(data, folder)}")
    return shlex.quote(text)


def save_body(data: bytes, folder: Path) -> Path:
    """Save bytes and return the file, whose name is derived from the content."""
    file = folder / "sent" / f"{sha256(data).hexdigest()[:16]}.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file.resolve()


def quote_url(url: str) -> str:
    """Return a URL as a shell word, with globbing disabled if it contains braces or brackets."""
    is_pattern = any(character in urlsplit(url)._replace(netloc="").geturl() for character in "[]{}")
    return f"--globoff {shlex.quote(url)}" if is_pattern else shlex.quote(url)


def _header(target: CheckTarget, name: str, value: str) -> str:
    # curl removes a header without a value; a semicolon sends it empty.
    if not value:
        return shlex.quote(f"{name};")
    if name.lower() == "authorization":
        return _authorization(target, name, value)
    variable = SHELL.get(name.lower())
    if variable is None:
        return shlex.quote(f"{name}: {value}")
    if variable == "API_KEY" and value == target.publish_key != target.api_key:
        variable = "PUBLISH_KEY"
    known = {target.api_key, target.publish_key, target.certificate and target.certificate.header}
    return f'"{name}: ${variable}"' if value in known else shlex.quote(f"{name}: {value}")


def _authorization(target: CheckTarget, name: str, value: str) -> str:
    scheme, _, given = value.partition(" ")
    for token in target.tokens:
        for word, derive in TOKEN_FORMS.items():
            if given == derive(token):
                return f'"{name}: {scheme} {word}"'
    return shlex.quote(f"{name}: {value}")
