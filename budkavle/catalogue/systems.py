"""Parse the systems of a catalogue file."""

import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import yaml

from budkavle.catalogue.base_urls import (
    find_base_url_faults,
    find_token_url_faults,
    normalise_base_url,
    normalise_token_url,
)
from budkavle.catalogue.certificate_files import CertificateFileWrong, read_fingerprint
from budkavle.catalogue.references import check_ca, check_client_certificate, check_value
from delivery.references import read_signing_key, read_value
from delivery.static_headers import MAX_HEADERS, find_name_fault
from domain.catalogue import ClientAuthentication, ClientCertificate, StaticHeader, System, TokenClient
from openapi.yaml_nodes import Nodes, quote_text

REQUIRED = ("systemIdentifier", "name", "baseUrl", "certificates")
OPTIONAL = ("webhookSecrets", "allowPrivateAddresses", "clientCertificate", "ca", "headers", "oauth2")

OAUTH2_REQUIRED = ("tokenUrl", "clientId", "clientSecret")
OAUTH2_OPTIONAL = ("scope", "audience", "resource", "authentication")

MAX_PARAMETER = 1024
"""Maximum characters of a parameter of a request for a token."""

_PARAMETER = re.compile(rf"[ -~]{{1,{MAX_PARAMETER}}}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}|[0-9a-f]{2}(:[0-9a-f]{2}){31}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


class Systems:
    """Parses systems. It checks each value separately, so that one fault hides no other."""

    def __init__(self, nodes: Nodes, folder: Path, check_at: datetime | None = None) -> None:
        """`folder` is that of the catalogue, to which `file:` is relative.

        With `check_at`, references are resolved on this machine, and certificates must be valid at that moment.
        """
        self._nodes = nodes
        self._check_at = check_at
        self._folder = folder
        self._seen: dict[str, yaml.Node] = {}

    def read(self, node: yaml.Node) -> System | None:
        """Return one system, or None if any part of it is invalid."""
        faults = len(self._nodes.faults)
        values = self._nodes.read_mapping(node, "a system", REQUIRED, OPTIONAL)
        is_private = self._nodes.read_flag(values.get("allowPrivateAddresses"), "allowPrivateAddresses")
        system = System(
            id=self._read_id(values.get("systemIdentifier")),
            name=self._nodes.read_text(values.get("name"), "name") or "",
            base_url=self._read_base_url(values.get("baseUrl"), is_private=is_private),
            certificates=self._read_certificates(values.get("certificates")),
            webhook_secrets=self._read_secrets(values.get("webhookSecrets")),
            allow_private_addresses=is_private,
            client_certificate=self._read_client_certificate(values.get("clientCertificate")),
            ca=self._read_ca(values.get("ca")),
            headers=self._read_headers(values.get("headers"), has_tokens="oauth2" in values),
            oauth2=self._read_token_client(values.get("oauth2"), is_private=is_private),
        )
        return system if len(self._nodes.faults) == faults else None

    def _read_id(self, node: yaml.Node | None) -> str:
        text = self._nodes.read_text(node, "systemIdentifier")
        if node is None or text is None:
            return ""
        if _UUID.fullmatch(text.lower()):
            self._nodes.is_first(node, f"system {text.lower()}", self._seen)
        else:
            self._nodes.add_fault(node, f"systemIdentifier must be a UUID, not {quote_text(text)}")
        return text.lower()

    def _read_base_url(self, node: yaml.Node | None, *, is_private: bool) -> str:
        text = self._nodes.read_text(node, "baseUrl")
        if node is None or text is None:
            return ""
        for fault in find_base_url_faults(text, is_private=is_private):
            self._nodes.add_fault(node, f"baseUrl {fault}")
        return normalise_base_url(text)

    def _read_certificates(self, section: yaml.Node | None) -> frozenset[str]:
        """Return the fingerprints: those in the file, and those of certificates in other files."""
        fingerprints = set()
        seen: dict[str, yaml.Node] = {}
        for node in self._nodes.read_sequence(section, "certificates"):
            text = self._nodes.read_text(node, "a certificate")
            fingerprint = None if text is None else self._read_fingerprint(node, text)
            if fingerprint is not None and self._nodes.is_first(node, f"certificate sha256:{fingerprint}", seen):
                fingerprints.add(fingerprint)
        return frozenset(fingerprints)

    def _read_fingerprint(self, node: yaml.Node, text: str) -> str | None:
        kind, _, rest = text.partition(":")
        if kind == "sha256" and _FINGERPRINT.fullmatch(rest.lower()):
            return rest.lower().replace(":", "")
        if kind == "file" and rest:
            try:
                return read_fingerprint(self._folder / rest)
            except CertificateFileWrong as exc:
                self._nodes.add_fault(node, str(exc))
                return None
        self._nodes.add_fault(
            node, "a certificate must be sha256: and 64 hexadecimal digits, colons between pairs allowed, or file:PATH"
        )
        return None

    def _read_secrets(self, section: yaml.Node | None) -> tuple[str, ...]:
        secrets = []
        seen: dict[str, yaml.Node] = {}
        for node in self._nodes.read_sequence(section, "webhookSecrets"):
            reference = self._read_reference(node, "a webhook secret", "the secret", read_signing_key)
            if reference is not None and self._nodes.is_first(node, f"webhook secret {reference}", seen):
                secrets.append(reference)
        return tuple(secrets)

    def _read_headers(self, section: yaml.Node | None, *, has_tokens: bool) -> tuple[StaticHeader, ...]:
        entries = self._nodes.read_entries(section, "headers")
        if section is not None and len(entries) > MAX_HEADERS:
            self._nodes.add_fault(section, f"headers has {len(entries)} entries; at most {MAX_HEADERS} are allowed")
        headers = []
        seen: dict[str, yaml.Node] = {}
        for key, node in entries:
            name = self._nodes.read_text(key, "the name of a header")
            if name is None:
                continue
            fault = find_name_fault(name)
            if fault is not None:
                self._nodes.add_fault(key, f"header {quote_text(name)} {fault}")
            elif has_tokens and name.lower() == "authorization":
                self._nodes.add_fault(key, f"header {quote_text(name)} has the token of oauth2; remove one of them")
            reference = self._read_reference(node, f"header {quote_text(name)}", "the value", read_value)
            if reference is not None and self._nodes.is_first(key, f"header {name.lower()}", seen):
                headers.append(StaticHeader(name, reference))
        return tuple(sorted(headers))

    def _read_token_client(self, node: yaml.Node | None, *, is_private: bool) -> TokenClient | None:
        if node is None:
            return None
        values = self._nodes.read_mapping(node, "oauth2", OAUTH2_REQUIRED, OAUTH2_OPTIONAL)
        url = self._nodes.read_text(values.get("tokenUrl"), "tokenUrl")
        for fault in () if url is None else find_token_url_faults(url, is_private=is_private):
            self._nodes.add_fault(values["tokenUrl"], f"tokenUrl {fault}")
        secret = values.get("clientSecret")
        reference = None if secret is None else self._read_reference(secret, "clientSecret", "the secret", read_value)
        return TokenClient(
            token_url=normalise_token_url(url or ""),
            client_id=self._read_parameter(values, "clientId") or "",
            client_secret=reference or "",
            scope=self._read_parameter(values, "scope"),
            audience=self._read_parameter(values, "audience"),
            resource=self._read_parameter(values, "resource"),
            authentication=self._read_authentication(values.get("authentication")),
        )

    def _read_parameter(self, values: dict[str, yaml.Node], name: str) -> str | None:
        text = self._nodes.read_text(values.get(name), name)
        if text is not None and not _PARAMETER.fullmatch(text):
            self._nodes.add_fault(values[name], f"{name} must be at most {MAX_PARAMETER} ASCII characters")
        return text

    def _read_authentication(self, node: yaml.Node | None) -> ClientAuthentication:
        text = self._nodes.read_text(node, "authentication")
        if node is not None and text is not None:
            if text in set(ClientAuthentication):
                return ClientAuthentication(text)
            self._nodes.add_fault(node, f"authentication must be {' or '.join(ClientAuthentication)}")
        return ClientAuthentication.BASIC

    def _read_reference(self, node: yaml.Node, name: str, what: str, read: Callable[[str], object]) -> str | None:
        """Return a reference to a secret, which the worker reads with `read`.

        Messages must not contain a value, which may be the secret itself.
        """
        text = self._nodes.read_text(node, name, is_secret=True)
        if text is None:
            return None
        kind, _, rest = text.partition(":")
        if kind == "env" and _VARIABLE.fullmatch(rest):
            reference = text
        elif kind == "file" and rest:
            reference = self._make_absolute(rest)
        else:
            self._nodes.add_fault(node, f"{name} must be env:NAME or file:PATH, and never {what} itself")
            return None
        if self._check_at is not None:
            self._add_faults(node, check_value(reference, read))
        return reference

    def _read_client_certificate(self, node: yaml.Node | None) -> ClientCertificate | None:
        if node is None:
            return None
        values = self._nodes.read_mapping(node, "clientCertificate", ("certificate", "key"))
        certificate, key = (self._read_file_reference(values.get(name), name) for name in ("certificate", "key"))
        if not certificate or not key:
            return None
        if self._check_at is not None:
            found = check_client_certificate(certificate, key, self._check_at)
            for name, faults in zip(("certificate", "key"), found, strict=True):
                self._add_faults(values[name], faults)
        return ClientCertificate(certificate, key)

    def _read_ca(self, node: yaml.Node | None) -> str | None:
        reference = self._read_file_reference(node, "ca")
        if node is not None and reference is not None and self._check_at is not None:
            self._add_faults(node, check_ca(reference, self._check_at))
        return reference

    def _add_faults(self, node: yaml.Node, faults: list[str]) -> None:
        for fault in faults:
            self._nodes.add_fault(node, fault)

    def _read_file_reference(self, node: yaml.Node | None, name: str) -> str | None:
        text = self._nodes.read_text(node, name, is_secret=True)
        if node is None or text is None:
            return None
        kind, _, rest = text.partition(":")
        if kind != "file" or not rest:
            self._nodes.add_fault(node, f"{name} must be file:PATH")
            return None
        return self._make_absolute(rest)

    def _make_absolute(self, path: str) -> str:
        # Do not resolve symbolic links: operators use them to replace files while programs run.
        return f"file:{os.path.abspath(self._folder / path)}"  # noqa: PTH100  # Path.resolve would follow links.
