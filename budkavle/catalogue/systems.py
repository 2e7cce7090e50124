"""Parse the systems of a catalogue file."""

import os
import re
from datetime import datetime
from pathlib import Path

import yaml

from budkavle.catalogue.base_urls import find_base_url_faults, normalize_base_url
from budkavle.catalogue.certificate_files import CertificateFileWrong, read_fingerprint
from budkavle.catalogue.references import check_ca, check_client_certificate, check_secret
from domain.catalogue import ClientCertificate, System
from openapi.yaml_nodes import Nodes, quote_text

REQUIRED = ("systemIdentifier", "name", "baseUrl", "certificates")
OPTIONAL = ("webhookSecrets", "allowPrivateAddresses", "clientCertificate", "ca")

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
        return normalize_base_url(text)

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
        """Return the references to secrets. Messages must not contain a value, which may be the secret itself."""
        secrets = []
        seen: dict[str, yaml.Node] = {}
        for node in self._nodes.read_sequence(section, "webhookSecrets"):
            text = self._nodes.read_text(node, "a webhook secret", is_secret=True)
            if text is None:
                continue
            kind, _, rest = text.partition(":")
            if kind == "env" and _VARIABLE.fullmatch(rest):
                reference = text
            elif kind == "file" and rest:
                reference = self._make_absolute(rest)
            else:
                self._nodes.add_fault(
                    node, "a webhook secret must be env:NAME or file:PATH, and never the secret itself"
                )
                continue
            if self._nodes.is_first(node, f"webhook secret {reference}", seen):
                secrets.append(reference)
                if self._check_at is not None:
                    self._add_faults(node, check_secret(reference))
        return tuple(secrets)

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
