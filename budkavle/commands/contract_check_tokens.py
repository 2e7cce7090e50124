"""The options of `contract-check` and `receiver-check` for access tokens."""

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from budkavle.commands.checking import FILE, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract_tests.tokens import TokenSource

    Command = Callable[..., object]

AUTHENTICATIONS = ("client_secret_basic", "client_secret_post")

SECRET = "BUDKAVLE_CHECK_CLIENT_SECRET"  # noqa: S105  # The name of a variable.


def add_client_options(command: "Command") -> "Command":
    """Add the options of client credentials to a command."""
    options = (
        click.option(
            "--token-url",
            metavar="URL",
            envvar="BUDKAVLE_CHECK_TOKEN_URL",
            show_envvar=True,
            help="The endpoint that issues access tokens for client credentials.",
        ),
        click.option(
            "--client-id", envvar="BUDKAVLE_CHECK_CLIENT_ID", show_envvar=True, help="The client, for --token-url."
        ),
        click.option(
            "--client-secret-file",
            type=FILE,
            help=f"The client's secret; by default it is in {SECRET}.",
        ),
        click.option(
            "--client-authentication",
            type=click.Choice(AUTHENTICATIONS),
            default=AUTHENTICATIONS[0],
            show_default=True,
            help="Where --token-url takes the secret: in a header, or in the body.",
        ),
        click.option(
            "--token-parameter",
            "token_parameters",
            metavar="NAME=VALUE",
            multiple=True,
            help="Sent to --token-url, such as scope=publish; may be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_token_source(
    token: str | None,
    token_url: str | None,
    client_id: str | None,
    secret_file: Path | None,
    authentication: str,
    parameters: tuple[str, ...],
    trust: ssl.SSLContext | None,
) -> "TokenSource | None":
    """Return the source of tokens, None without one. Raises `UsageError`.

    `trust` is None for the CAs of the machine.
    """
    from contract_tests.tokens import ClientCredentials, GivenToken

    if token_url is None:
        if client_id is not None or secret_file is not None or parameters:
            raise click.UsageError("--client-id, --client-secret-file and --token-parameter need --token-url")
        return GivenToken(token) if token else None
    if token:
        raise click.UsageError("--token and --token-url exclude each other")
    if not client_id:
        raise click.UsageError("--token-url needs --client-id")
    if not _is_safe(token_url):
        raise click.BadParameter("must begin with https://, except on this machine", param_hint="--token-url")
    pairs = [(name, value) for name, _, value in (parameter.partition("=") for parameter in parameters)]
    if not all("=" in parameter for parameter in parameters):
        raise click.BadParameter("must be NAME=VALUE", param_hint="--token-parameter")
    is_in_body = authentication == AUTHENTICATIONS[1]
    return ClientCredentials(
        token_url, client_id, _read_secret(secret_file), pairs, trust or ssl.create_default_context(), is_in_body
    )


def _is_safe(url: str) -> bool:
    """Return whether the secret may be sent to a URL: by TLS, or within this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = parts.hostname or ""
    is_plain = url.isascii() and not set("\\@# \t\r\n") & set(url) and host != ""
    return is_plain and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _read_secret(file: Path | None) -> str:
    try:
        secret = os.environ.get(SECRET, "") if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise click.BadParameter(f"cannot be read: {exc}", param_hint="--client-secret-file") from exc
    if not secret:
        raise click.UsageError(f"--token-url needs --client-secret-file or {SECRET}, which must not be empty")
    return secret
