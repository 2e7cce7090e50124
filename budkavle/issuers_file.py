"""The file in which operators configure the trusted issuers of access tokens."""

import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from domain.callers import parse_scope
from oauth2.file_key_sets import read_key_set
from oauth2.issuers import (
    ALGORITHMS,
    AT_JWT,
    DEFAULT_SCOPE_CLAIM,
    DEFAULT_TOLERANCE,
    Issuer,
    TrustedIssuers,
    normalise_type,
)
from oauth2.key_sets import KeySetUnusable
from openapi.yaml_nodes import Nodes, quote_text

REQUIRED = ("issuer", "audience", "algorithms", "jwks", "scopes")
OPTIONAL = ("type", "clockToleranceSeconds", "systems", "header")

MAX_BYTES = 64 * 1024
"""Maximum bytes of the file. A running service serves no caller while it parses the file."""

MAX_TOLERANCE = 300
MAX_LENGTH = 255
"""Maximum characters of an issuer, an audience and a claim."""

RESERVED_HEADERS = frozenset(
    {
        "apikey",
        "authorization",
        "client-cert",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "forwarded",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "x-forwarded-for",
    }
)
"""Headers that cannot contain a gateway's assertion, since they have another meaning."""

REGISTERED_CLAIMS = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti", "cnf"})
"""Claims that cannot contain scopes or systems."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)


def read_issuers(path: Path) -> TrustedIssuers:
    """Return the issuers in a file. JWK Sets in files are read too; those at URLs are not fetched.

    Raises `FileWrong` with all faults and their lines, or `BudkavleError` if the file cannot be read.
    """
    nodes, document = Nodes.read(path, MAX_BYTES)
    trusted = None if document is None else _read(nodes, document, path.absolute().parent)
    nodes.raise_faults("the file of issuers is invalid")
    assert trusted is not None  # noqa: S101  # An absent part is a fault, which was raised above.
    return trusted


def _read(nodes: Nodes, document: yaml.Node, folder: Path) -> TrustedIssuers:
    sections = nodes.read_mapping(document, "the file", ("issuers",), ("resource",))
    seen: dict[str, yaml.Node] = {}
    issuers = []
    for node in nodes.read_sequence(sections.get("issuers"), "issuers"):
        issuer = _read_issuer(nodes, node, folder)
        if issuer is not None and nodes.is_first(node, _name(issuer), seen):
            issuers.append(issuer)
    if "issuers" in sections and not issuers and not nodes.faults:
        nodes.add_fault(sections["issuers"], "issuers must have at least one issuer")
    resource = _read_resource(nodes, sections.get("resource"))
    audiences = (audience for issuer in issuers for audience in issuer.audiences)
    return TrustedIssuers(tuple(issuers), resource or next(filter(_is_https_url, audiences), None))


def _name(issuer: Issuer) -> str:
    return f"issuer {quote_text(issuer.issuer)} with the header {issuer.header or 'authorization'}"


def _read_issuer(nodes: Nodes, node: yaml.Node, folder: Path) -> Issuer | None:
    """Return one issuer, or None if any part of it is invalid. Each part is checked, so that no fault hides another."""
    faults = len(nodes.faults)
    values = nodes.read_mapping(node, "an issuer", REQUIRED, OPTIONAL)
    algorithms = _read_algorithms(nodes, values.get("algorithms"))
    claim, scope_map = _read_scopes(nodes, values.get("scopes"))
    tolerance = nodes.read_number(values.get("clockToleranceSeconds"), "clockToleranceSeconds", 0, MAX_TOLERANCE)
    issuer = Issuer(
        issuer=_read_identifier(nodes, values.get("issuer"), "issuer") or "",
        audiences=_read_audiences(nodes, values.get("audience")),
        algorithms=algorithms,
        jwks=_read_location(nodes, values.get("jwks"), folder, algorithms),
        type=normalise_type(nodes.read_text(values.get("type"), "type") or AT_JWT),
        clock_tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
        scope_claim=claim,
        scope_map=scope_map,
        system_claim=_read_system_claim(nodes, values.get("systems")),
        header=_read_header(nodes, values.get("header")),
    )
    return issuer if len(nodes.faults) == faults else None


def _read_identifier(nodes: Nodes, node: yaml.Node | None, name: str) -> str | None:
    text = nodes.read_text(node, name)
    if node is not None and text is not None and (len(text) > MAX_LENGTH or "#" in text or " " in text):
        nodes.add_fault(node, f"{name} must have at most {MAX_LENGTH} characters, without spaces and #")
        return None
    return text


def _read_one_or_more(nodes: Nodes, node: yaml.Node | None, name: str) -> list[yaml.Node]:
    """Return the nodes of a list, or a single value as a list of one."""
    if not isinstance(node, yaml.SequenceNode):
        return [] if node is None else [node]
    if not node.value:
        nodes.add_fault(node, f"{name} must not be empty")
    return list(node.value)


def _read_audiences(nodes: Nodes, node: yaml.Node | None) -> tuple[str, ...]:
    read = (_read_identifier(nodes, each, "audience") for each in _read_one_or_more(nodes, node, "audience"))
    return tuple(audience for audience in read if audience is not None)


def _read_algorithms(nodes: Nodes, node: yaml.Node | None) -> frozenset[str]:
    found = set()
    for each in nodes.read_sequence(node, "algorithms"):
        name = nodes.read_text(each, "an algorithm") or ""
        if name in ALGORITHMS:
            found.add(name)
        elif name:
            # Symmetric algorithms would make everybody who verifies tokens an issuer of them.
            known = ", ".join(ALGORITHMS)
            nodes.add_fault(each, f"algorithms must not contain {quote_text(name)}; it may have {known}")
    if isinstance(node, yaml.SequenceNode) and not node.value:
        nodes.add_fault(node, "algorithms must not be empty")
    return frozenset(found)


def _read_location(nodes: Nodes, node: yaml.Node | None, folder: Path, algorithms: Collection[str]) -> str:
    """Return the location of a JWK Set with an absolute path. A file must have a key for one of the algorithms."""
    location = nodes.read_text(node, "jwks")
    if node is None or location is None:
        return ""
    if not location.startswith("file:"):
        if not _is_https_url(location):
            nodes.add_fault(node, "jwks must be https://HOST/PATH without user and fragment, or file:PATH")
        return location
    path = folder / location.removeprefix("file:")
    try:
        keys = read_key_set(path)
    except KeySetUnusable as exc:
        nodes.add_fault(node, f"{location}: {exc}")
    else:
        if algorithms and not any(keys.find(None, name) for name in algorithms):
            nodes.add_fault(node, f"{location} has no key for {', '.join(sorted(algorithms))}")
    return f"file:{path}"


def _is_https_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        has_host = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and not {" ", "#"} & set(text)
    return url.scheme == "https" and has_host and url.username is None and is_plain


def _read_scopes(nodes: Nodes, node: yaml.Node | None) -> tuple[str, dict[str, frozenset[str]]]:
    """Return the claim with scopes, and the scopes that each of its values grants."""
    values = {} if node is None else nodes.read_mapping(node, "scopes", ("map",), ("claim",))
    claim = _read_claim(nodes, values.get("claim"), "scopes") or DEFAULT_SCOPE_CLAIM
    found: dict[str, frozenset[str]] = {}
    table = values.get("map")
    if table is not None and (not isinstance(table, yaml.MappingNode) or not table.value):
        nodes.add_fault(table, "map must be a mapping from values of the claim to scopes, with at least one")
    elif table is not None:
        seen: dict[str, yaml.Node] = {}
        for key, value in table.value:
            name = nodes.read_text(key, "a value of the claim")
            if name is not None and nodes.is_first(key, f"value {quote_text(name)}", seen):
                found[name] = _read_granted(nodes, value)
    return claim, found


def _read_granted(nodes: Nodes, node: yaml.Node) -> frozenset[str]:
    scopes: set[str] = set()
    for each in _read_one_or_more(nodes, node, "the scopes of a value"):
        text = nodes.read_text(each, "a scope")
        if text is not None:
            try:
                scopes |= parse_scope(text)
            except ValueError as exc:
                nodes.add_fault(each, str(exc))
    return frozenset(scopes)


def _read_system_claim(nodes: Nodes, node: yaml.Node | None) -> str | None:
    if node is None:
        return None
    return _read_claim(nodes, nodes.read_mapping(node, "systems", ("claim",)).get("claim"), "systems")


def _read_claim(nodes: Nodes, node: yaml.Node | None, section: str) -> str | None:
    claim = nodes.read_text(node, "claim")
    if node is not None and claim in REGISTERED_CLAIMS:
        nodes.add_fault(node, f"the claim of {section} must not be {claim}, which has another meaning")
    return claim


def _read_header(nodes: Nodes, node: yaml.Node | None) -> str | None:
    header = nodes.read_text(node, "header")
    if node is None or header is None:
        return None
    if not _HEADER.fullmatch(header):
        nodes.add_fault(node, "header must be the name of an HTTP header")
    elif header.lower() in RESERVED_HEADERS:
        nodes.add_fault(
            node, f"header must not be {header}; name the header of the gateway, or omit it for Authorization"
        )
    return header.lower()


def _read_resource(nodes: Nodes, node: yaml.Node | None) -> str | None:
    resource = nodes.read_text(node, "resource")
    if node is not None and resource is not None and not _is_https_url(resource):
        nodes.add_fault(node, "resource must be an https URL without user and fragment")
    return resource
