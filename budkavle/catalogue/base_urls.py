"""Base URLs of systems, to which a webhookUrl (which begins with `/`) is appended, and URLs of token endpoints."""

import ipaddress
import re
from contextlib import suppress

from delivery.addresses import may_be_called

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>[?#].*)?", re.DOTALL
)
_AUTHORITY = re.compile(r"(?:(?P<user>.*)@)?(?P<host>\[[^\]]*\]|[^:@\[\]]*)(?::(?P<port>[^@\[\]]*))?", re.DOTALL)
_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?",
    re.ASCII,
)
# Resolvers interpret each of these as an IPv4 address: 2852039166, 0xa9fea9fe, 0251.0376.0251.0376, 169.254.43518.
_ENDS_IN_NUMBER = re.compile(r"(^|\.)([0-9]+|0[xX][0-9A-Fa-f]*)\.?$", re.ASCII)
_PATH = re.compile(r"(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*", re.ASCII)
_QUERY = re.compile(r"([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*", re.ASCII)
_DOTS = re.compile(r"/(\.|%2[Ee]){1,2}(?=/|$)")

MAX_LENGTH = 1024
MAX_PORT = 65535


def find_base_url_faults(text: str, *, is_private: bool) -> list[str]:
    """Return the faults of a base URL. `is_private` is whether the system may have private addresses."""
    url = _URL.fullmatch(text)
    if url is None or url["scheme"].lower() not in {"http", "https"} or len(text) > MAX_LENGTH:
        return [f"must be an absolute URL, https://HOST/PATH, of at most {MAX_LENGTH} characters"]
    faults = []
    if url["scheme"].lower() == "http" and not is_private:
        faults.append("must begin with https://; http:// needs allowPrivateAddresses: true")
    if url["rest"] is not None:
        faults.append("must not have a query or a fragment")
    authority = _AUTHORITY.fullmatch(url["authority"])
    if authority is not None and authority["user"] is not None:
        # Do not include the value: it may contain a password.
        faults.append("must not have a user or a password")
    if authority is None or not _is_host(authority["host"]):
        faults.append("must have a host: a name in ASCII, an IPv4 address or an IPv6 address in brackets")
    else:
        faults += _find_address_faults(authority["host"].strip("[]"), is_private=is_private)
    if authority is not None and authority["port"] is not None and not _is_port(authority["port"]):
        faults.append(f"must have a port from 1 to {MAX_PORT}, or none")
    path = url["path"].removesuffix("/")
    if not _PATH.fullmatch(path) or _DOTS.search(path):
        faults.append("must have a path of plain segments: none empty, `.` or `..`, other characters percent-encoded")
    return faults


def normalise_base_url(text: str) -> str:
    """Return a valid base URL in its stored form: without a final `/`, with scheme and host in lower case."""
    url = _URL.fullmatch(text)
    return f"{url['scheme']}://{url['authority']}".lower() + url["path"].removesuffix("/") if url else text


def find_token_url_faults(text: str, *, is_private: bool) -> list[str]:
    """Return the faults of the URL of a token endpoint: a base URL that may have a query (RFC 6749, section 3.2)."""
    url, _, query = text.partition("?")
    faults = find_base_url_faults(url, is_private=is_private)
    if not _QUERY.fullmatch(query) or len(text) > MAX_LENGTH:
        faults.append(f"must have a percent-encoded query, or none, and at most {MAX_LENGTH} characters")
    return faults


def normalise_token_url(text: str) -> str:
    """Return a valid URL of a token endpoint with scheme and host in lower case."""
    url = _URL.fullmatch(text)
    return f"{url['scheme']}://{url['authority']}".lower() + url["path"] + (url["rest"] or "") if url else text


def _find_address_faults(host: str, *, is_private: bool) -> list[str]:
    """Return the faults of an address literal that must not be called. Host names have none here."""
    with suppress(ValueError):
        address = str(ipaddress.ip_address(host))
        if not may_be_called(address, allow_private=True):
            return [f"must not have the address {address}, which is never called"]
        if not is_private and not may_be_called(address, allow_private=False):
            return [f"must not have the private address {address} without allowPrivateAddresses: true"]
    return []


def _is_host(host: str) -> bool:
    if host.startswith("["):
        try:
            return bool(ipaddress.IPv6Address(host[1:-1]).scope_id is None)
        except ValueError:
            return False
    if _ENDS_IN_NUMBER.search(host):
        try:
            return bool(ipaddress.IPv4Address(host))
        except ValueError:
            return False
    return _NAME.fullmatch(host) is not None


def _is_port(port: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) is not None and 0 < int(port) <= MAX_PORT
