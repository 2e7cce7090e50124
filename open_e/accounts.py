"""The account of one Open-E instance. It is a module of its own, so that settings import no client."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Account:
    """The endpoint of one Open-E instance and its credentials. `url` is the full URL of its callback.

    With an empty username no credentials are sent. `ca` is a PEM file with the CA of the server's certificate, or None
    for the public CAs.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca: str | None = None
