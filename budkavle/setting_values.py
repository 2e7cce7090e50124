"""Parse the values of settings. Faults contain no value, which may be secret."""

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_network
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from domain.callers import check_caller_name
from domain.municipalities import VALID_IDS

Network = IPv4Network | IPv6Network

_URL = "must be a URL such as https://host.example/path"
FAULT_TEXTS = {"bool_parsing": "must be True or False", "url_parsing": _URL, "url_scheme": _URL}
"""Texts of faults by their type in pydantic, where its own does not say what is expected."""


def parse_networks(given: object) -> object:
    """Return addresses and networks, separated by commas. A fault contains the position of an entry, not its text."""
    if not isinstance(given, str):
        return given
    networks: list[Network] = []
    for place, entry in enumerate(given.split(","), 1):
        try:
            network: Network = ip_network(entry.strip())
        except ValueError:
            message = "entry {place} must be an address, or a network without host bits such as 10.0.0.0/8"
            raise PydanticCustomError("network", message, {"place": place}) from None
        mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
        # Callers with an IPv4 address are identified by it, also on dual-stack sockets.
        if mapped is not None and network.prefixlen >= _MAPPED_BITS:
            network = IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
        networks.append(network)
    return tuple(networks)


def parse_references(given: object) -> object:
    """Return references, separated by commas. A fault contains the position of an entry, which may be a secret."""
    if not isinstance(given, str):
        return given
    references = tuple(entry.strip() for entry in given.split(","))
    for place, entry in enumerate(references, 1):
        if not _is_reference(entry):
            raise PydanticCustomError("reference", "entry {place} must be env:NAME or file:PATH", {"place": place})
    return references


def check_reference(given: str) -> str:
    """Return one reference, or an empty text, unchanged."""
    if given and not _is_reference(given):
        raise PydanticCustomError("reference", "must be env:NAME or file:PATH")
    return given


def _is_reference(text: str) -> bool:
    kind, _, name = text.partition(":")
    return kind in {"env", "file"} and bool(name)


def _parse_names(given: object, known: Collection[str], text: str) -> object:
    """Return names, separated by commas. A fault contains the position of an entry, not its text."""
    if not isinstance(given, str):
        return given
    names = tuple(entry.strip() for entry in given.split(","))
    for place, entry in enumerate(names, 1):
        if entry not in known:
            raise PydanticCustomError("name", f"entry {{place}} is not {text}", {"place": place})
    return names


COMPATIBILITY_APIS = ("web-messages-3.2", "oep-integrator-1.5")
"""The contracts of replaced services that can be turned on."""


def parse_apis(given: object) -> object:
    """Return the names of compatibility APIs, separated by commas."""
    return _parse_names(given, COMPATIBILITY_APIS, f"one of {', '.join(COMPATIBILITY_APIS)}")


def parse_municipalities(given: object) -> object:
    """Return the ids of municipalities and counties, separated by commas."""
    return _parse_names(given, VALID_IDS, "the id of a Swedish municipality or county")


def parse_certificates(given: object) -> object:
    """Return entries `NAME=FINGERPRINT`, separated by commas, with fingerprints in lower-case hexadecimal."""
    if not isinstance(given, str):
        return given
    found: dict[str, str] = {}
    for place, entry in enumerate(given.split(","), 1):
        name, _, fingerprint = (part.strip() for part in entry.rpartition("="))
        fingerprint = fingerprint.replace(":", "").lower()
        try:
            check_caller_name(name)
            is_usable = len(bytes.fromhex(fingerprint)) == _FINGERPRINT_BYTES and fingerprint not in found
        except ValueError:
            is_usable = False
        if not is_usable:
            message = "entry {place} must be NAME=SHA-256, with a fingerprint of its own in hexadecimal"
            raise PydanticCustomError("certificate", message, {"place": place})
        found[fingerprint] = name
    return tuple(f"{name}={fingerprint}" for fingerprint, name in found.items())


_FINGERPRINT_BYTES = 32


def check_time_zone(name: str) -> str:
    """Return the name of a time zone unchanged if it exists."""
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise PydanticCustomError("time_zone", "must be a time zone such as Europe/Stockholm") from None
    return name


_MAPPED_BITS = 96
"""The number of bits before the IPv4 address in `::ffff:192.0.2.1`."""
