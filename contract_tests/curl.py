"""A request as a line for the shell, with keys and certificates in the shell's variables."""

import shlex
from collections.abc import Mapping

from contract_tests.target import Target

KEPT_IN_LINE = 4096
"""Bytes of a body that stand in the line; a larger one is told by its size."""

SHELL = {"apikey": "API_KEY", "client-cert": "CLIENT_CERT"}
"""Headers that are secret or long: the shell's variables that hold them."""


def curl(
    target: Target, method: str, path: str, headers: Mapping[str, str], body: bytes | None, *, by_tls: bool = False
) -> str:
    """One line; `by_tls` when the client certificate goes by TLS."""
    words = ["curl -sS -i --path-as-is -X", shlex.quote(method)]
    if target.ca is not None:
        words += ["--cacert", shlex.quote(target.ca)]
    if by_tls and target.certificate is not None:
        words += ["--cert", shlex.quote(target.certificate.file)]
        words += [] if target.certificate.key is None else ["--key", shlex.quote(target.certificate.key)]
    for name, value in headers.items():
        words += ["-H", _header(target, name, value)]
    if body:
        words += ["--data-binary", _body(body)]
    return " ".join([*words, shlex.quote(target.url + path)])


def _header(target: Target, name: str, value: str) -> str:
    variable = SHELL.get(name.lower())
    if variable is None:
        return shlex.quote(f"{name}: {value}")
    if variable == "API_KEY" and value == target.publish_key != target.api_key:
        variable = "PUBLISH_KEY"
    known = {target.api_key, target.publish_key, target.certificate and target.certificate.header}
    return f'"{name}: ${variable}"' if value in known else shlex.quote(f"{name}: {value}")


def _body(body: bytes) -> str:
    if len(body) > KEPT_IN_LINE:
        return f"@BODY  # of {len(body)} bytes, beginning with {body[:80]!r}"
    try:
        return shlex.quote(body.decode())
    except UnicodeDecodeError:
        return "$'" + "".join(f"\\x{byte:02x}" for byte in body) + "'"
