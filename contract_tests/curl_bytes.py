"""Write raw requests as shell commands: curl where it can send exactly these bytes, otherwise a command with a file."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from contract_tests.curl import KEPT_IN_LINE, quote_url, save_body, tls_options
from contract_tests.evidence import SentBytes
from contract_tests.target import (
    API_KEY,
    BASE_PATH,
    CERTIFICATE,
    CUT_API_KEY,
    HOST,
    PUBLISH_KEY,
    SWAPPED_API_KEY,
    TOKEN,
    CheckTarget,
)

SHELL = {
    API_KEY: "$API_KEY",
    PUBLISH_KEY: "$PUBLISH_KEY",
    CERTIFICATE: "$CLIENT_CERT",
    TOKEN: "$TOKEN",
    CUT_API_KEY: "${API_KEY%?}",
    SWAPPED_API_KEY: '$(printf %s "$API_KEY" | tr a-zA-Z A-Za-z)',
}
"""Placeholders for secrets in raw requests, and the shell variables for them."""

_SECRET = re.compile("|".join(re.escape(name) for name in SHELL))
_HEAD = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.1\r\nHost: \{host\}((?:\r\n[!-9;-~]+: [!-~]+(?: [!-~]+)*)*)\r\n\r\n")
_PLAIN_TARGET = re.compile(r"/[\w/.~%?&=+,:;@!$'()*-]*", re.ASCII)
# curl handles these headers itself or sends more than requested.
_NOT_OF_CURL = re.compile(rb"\r\n(transfer-encoding|expect|upgrade|connection|content-encoding): ", re.IGNORECASE)
_METHODS_NOT_OF_CURL = {b"HEAD", b"CONNECT"}

_SECONDS = 10
"""Seconds that a command waits for a server that keeps the connection open."""


def format_raw(sent: SentBytes, target: CheckTarget, name: str, folder: Path) -> str:
    """Return raw bytes as a shell command. `name` is that of the check. Content of files is saved in the folder."""
    if sent.size > len(sent.data):
        return f"# {name} sent {sent.size} bytes on one connection, more than are kept: run it again"
    data = bytes(sent.data)
    if not data:
        return f"# {name} sent nothing on one connection"
    return _curl(data, target, folder) or _send_file(data, target, folder)


def _curl(data: bytes, target: CheckTarget, folder: Path) -> str | None:
    """Return a curl command if curl sends exactly these bytes in this order, otherwise None."""
    found = _HEAD.match(data)
    if found is None or found[1] in _METHODS_NOT_OF_CURL or _NOT_OF_CURL.search(found[0]):
        return None
    method, path, body = found[1].decode(), found[2].decode(), data[found.end() :]
    headers = [header.decode() for header in found[3].split(b"\r\n")[1:]]
    names = [header.split(":")[0].lower() for header in headers]
    lengths = [header.split(": ")[1] for header, name in zip(headers, names, strict=True) if name == "content-length"]
    is_whole = lengths == [str(len(body))] or (not lengths and not body)
    if not is_whole or _SECRET.search(body.decode("latin-1")):
        return None
    is_of_tls = target.is_tls and f"Client-Cert: {CERTIFICATE}" in headers
    words = ["curl -sS -i --path-as-is -X", method, *tls_options(target, with_certificate=is_of_tls)]
    for header in headers:
        if not (is_of_tls and header == f"Client-Cert: {CERTIFICATE}"):
            words += ["-H", _quote_word(header)]
    # Remove the headers that curl adds by itself.
    words += [f"-H {name}:" for name in ("User-Agent", "Accept") if name.lower() not in names]
    if body:
        words += [] if "content-type" in names else ["-H Content-Type:"]
        words += ["--data-binary", _body(body, folder)]
    return " ".join([*words, _url(path, target)])


def _url(path: str, target: CheckTarget) -> str:
    below = path.removeprefix(BASE_PATH)
    if path.startswith(BASE_PATH) and _PLAIN_TARGET.fullmatch(below):
        return quote_url(target.url + below)
    known = path.replace(BASE_PATH, target.base_path).replace(HOST, urlsplit(target.url).netloc)
    return f"--request-target {_quote_word(known)} {quote_url(target.url)}"


def _body(body: bytes, folder: Path) -> str:
    is_text = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in body)
    if is_text and len(body) <= KEPT_IN_LINE and not body.startswith(b"@"):
        return shlex.quote(body.decode())
    return shlex.quote(f"@{save_body(body, folder)}")


def _quote_word(text: str) -> str:
    """Return a text as a shell word with variables in place of the placeholders."""
    return "".join(_quote_pieces(text)) or "''"


def _quote_pieces(text: str) -> Iterator[str]:
    place = 0
    for found in _SECRET.finditer(text):
        if found.start() > place:
            yield shlex.quote(text[place : found.start()])
        yield f'"{SHELL[found[0]]}"'
        place = found.end()
    if place < len(text):
        yield shlex.quote(text[place:])


def _send_file(data: bytes, target: CheckTarget, folder: Path) -> str:
    """Return a command that sends the bytes of a file. curl's telnet stops at the end of input and doubles 0xFF."""
    with_certificate = f"Client-Cert: {CERTIFICATE}\r\n".encode() in data
    if target.is_tls:
        data = data.replace(f"Client-Cert: {CERTIFICATE}\r\n".encode(), b"")
    data = data.replace(HOST.encode(), urlsplit(target.url).netloc.encode())
    data = data.replace(BASE_PATH.encode(), target.base_path.encode())
    file = shlex.quote(str(save_body(data, folder)))
    names = [name for name in SHELL if name.encode() in data]
    fill = "".join(f' -e "s|{name}|{_replacement(name)}|g"' for name in names)
    read = f"LC_ALL=C sed{fill} {file}" if names else f"cat {file}"
    return f"{read} | {_connect(target, with_certificate=with_certificate)}"


def _replacement(name: str) -> str:
    """Return a shell expression that escapes the value of a variable for sed."""
    return f"$(printf %s \"{SHELL[name]}\" | sed 's/[&|\\\\]/\\\\&/g')"


def _connect(target: CheckTarget, *, with_certificate: bool) -> str:
    """Return a command that sends its input and prints the response."""
    if not target.is_tls:
        socket = shlex.quote(f"/dev/tcp/{target.host}/{target.port}")
        return f"bash -c {shlex.quote(f'exec 3<>{socket}; cat >&3; timeout {_SECONDS} cat <&3')}"
    words = [f"timeout {_SECONDS} openssl s_client -quiet -verify_quiet -connect"]
    host = f"[{target.host}]" if ":" in target.host else target.host
    words.append(shlex.quote(f"{host}:{target.port}"))
    words += [] if target.ca is None else ["-CAfile", shlex.quote(target.ca)]
    if with_certificate and target.certificate is not None:
        words += ["-cert", shlex.quote(target.certificate.file)]
        words += ["-key", shlex.quote(target.certificate.key or target.certificate.file)]
    return " ".join(words)
