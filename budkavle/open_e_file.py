"""The file in which operators configure the Open-E of municipalities that have their own."""

from pathlib import Path
from urllib.parse import urlsplit

import yaml

from delivery.references import ReceiverMisconfigured, read_value
from domain.municipalities import VALID_IDS, name_own_open_e
from domain.web_messages import OepInstance, OpenEName
from open_e.accounts import Account
from openapi.yaml_nodes import Nodes, quote_text


def read_municipal_accounts(path: Path, ca: str | None) -> dict[OpenEName, Account]:
    """Return the accounts in a file by the names of their Open-E. `ca` is the PEM file of all, None for public CAs.

    Raises `FileWrong` with all faults and their lines, or `BudkavleError` if the file cannot be read.
    """
    nodes, document = Nodes.read(path)
    accounts: dict[OpenEName, Account] = {}
    if document is not None:
        sections = nodes.read_mapping(document, "the file", ("municipalities",))
        seen: dict[str, yaml.Node] = {}
        for key, value in nodes.read_entries(sections.get("municipalities"), "municipalities"):
            municipality_id = nodes.read_text(key, "a municipality")
            if municipality_id is None or not nodes.is_first(key, f"municipality {municipality_id}", seen):
                continue
            if municipality_id not in VALID_IDS:
                nodes.add_fault(key, f"{quote_text(municipality_id)} is not the id of a municipality or county")
            accounts |= _read_instances(nodes, municipality_id, value, ca)
    nodes.raise_faults("the file of municipalities is invalid")
    return accounts


def _read_instances(nodes: Nodes, municipality_id: str, node: yaml.Node, ca: str | None) -> dict[OpenEName, Account]:
    given = nodes.read_mapping(node, "a municipality", (), [str(instance) for instance in OepInstance])
    if not given and isinstance(node, yaml.MappingNode):
        nodes.add_fault(node, "a municipality must have external, internal or both")
    accounts = {}
    for name, value in given.items():
        account = _read_account(nodes, value, ca)
        if account is not None:
            accounts[name_own_open_e(municipality_id, OepInstance(name))] = account
    return accounts


def _read_account(nodes: Nodes, node: yaml.Node, ca: str | None) -> Account | None:
    values = nodes.read_mapping(node, "an Open-E", ("url",), ("username", "password"))
    url = nodes.read_text(values.get("url"), "url")
    if url is not None and not _is_callback(url):
        nodes.add_fault(values["url"], "url must be https://host/api/callback")
    username = nodes.read_text(values.get("username"), "username") or ""
    reference = nodes.read_text(values.get("password"), "password", is_secret=True)
    if bool(username) != (reference is not None):
        nodes.add_fault(node, "username and password belong together")
    password = ""
    if reference is not None:
        try:
            password = read_value(reference)
        except ReceiverMisconfigured as exc:
            nodes.add_fault(values["password"], f"password: {exc}")
    return None if url is None else Account(url, username, password, ca)


def _is_callback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_port
