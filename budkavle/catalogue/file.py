"""The file in which operators configure systems, message types and permissions."""

from datetime import datetime
from pathlib import Path

import yaml

from budkavle.catalogue.systems import Systems
from domain.catalogue import Allowed, Catalogue, System, WebMessageEvent
from domain.subscriptions import MessageType
from openapi.yaml_nodes import Nodes

MAX_TYPE = 2147483647
MIN_ORG_CODE, MAX_ORG_CODE = -1, 99999999

SECTIONS = ("systems", "messageTypes", "allowedSubscriptions")


def read_catalogue(path: Path, check_at: datetime | None = None) -> Catalogue:
    """Return the catalogue in a file.

    Certificates of callers are read. Secrets, keys and CAs are references that are resolved where they are used, so
    `file:` becomes absolute. With `check_at` they are resolved here too, and certificates must be valid at that moment.
    Raises `FileWrong` with all faults and their lines.
    """
    nodes, document = Nodes.read(path)
    systems = Systems(nodes, path.absolute().parent, check_at)
    catalogue = None if document is None else _read(nodes, document, systems)
    nodes.raise_faults("the catalogue is invalid; nothing was applied")
    assert catalogue is not None  # noqa: S101  # An absent part is a fault, which was raised above.
    return catalogue


def _read(nodes: Nodes, document: yaml.Node, systems: Systems) -> Catalogue:
    sections = nodes.read_mapping(document, "the catalogue", SECTIONS, ("webMessageEvent",))
    types = _read_message_types(nodes, sections.get("messageTypes"))
    return Catalogue(
        systems=_read_systems(nodes, sections.get("systems"), systems),
        message_types=types,
        allowed=_read_allowed(nodes, sections.get("allowedSubscriptions"), types),
        web_message_event=_read_web_message_event(nodes, sections.get("webMessageEvent"), types),
    )


def _read_systems(nodes: Nodes, section: yaml.Node | None, reader: Systems) -> dict[str, System]:
    found = [reader.read(node) for node in nodes.read_sequence(section, "systems")]
    return {system.id: system for system in found if system is not None}


def _read_message_types(nodes: Nodes, section: yaml.Node | None) -> dict[int, MessageType]:
    """Return the types by number, including those with faults in other values, so that references to them are valid."""
    types = {}
    seen: dict[str, yaml.Node] = {}
    for node in nodes.read_sequence(section, "messageTypes"):
        values = nodes.read_mapping(node, "a message type", ("entityType", "name"), ("startDato", "slutDato"))
        entity_type = _read_entity_type(nodes, values)
        name = nodes.read_text(values.get("name"), "name")
        start = nodes.read_day(values.get("startDato"), "startDato")
        end = nodes.read_day(values.get("slutDato"), "slutDato")
        if start is not None and end is not None and end < start:
            nodes.add_fault(values["slutDato"], f"slutDato {end} is before startDato {start}")
        if entity_type is not None and nodes.is_first(values["entityType"], f"message type {entity_type}", seen):
            types[entity_type] = MessageType(entity_type, name or "", start, end)
    return types


def _read_allowed(nodes: Nodes, section: yaml.Node | None, types: dict[int, MessageType]) -> frozenset[Allowed]:
    pairs = set()
    seen: dict[str, yaml.Node] = {}
    for node in nodes.read_sequence(section, "allowedSubscriptions"):
        values = nodes.read_mapping(node, "an allowed subscription", ("orgType", "entityType"))
        org_type = nodes.read_number(values.get("orgType"), "orgType", 0, MAX_TYPE)
        entity_type = _read_known_type(nodes, values, types)
        if org_type is not None and entity_type is not None:
            nodes.is_first(node, f"orgType {org_type} with entityType {entity_type}", seen)
            pairs.add(Allowed(org_type, entity_type))
    return frozenset(pairs)


def _read_web_message_event(
    nodes: Nodes, node: yaml.Node | None, types: dict[int, MessageType]
) -> WebMessageEvent | None:
    if node is None:
        return None
    values = nodes.read_mapping(node, "webMessageEvent", ("orgType", "orgCode", "entityType"))
    org_type = nodes.read_number(values.get("orgType"), "orgType", 0, MAX_TYPE)
    org_code = nodes.read_number(values.get("orgCode"), "orgCode", MIN_ORG_CODE, MAX_ORG_CODE)
    entity_type = _read_known_type(nodes, values, types)
    if org_type is None or org_code is None or entity_type is None:
        return None
    return WebMessageEvent(org_type, org_code, entity_type)


def _read_known_type(nodes: Nodes, values: dict[str, yaml.Node], types: dict[int, MessageType]) -> int | None:
    entity_type = _read_entity_type(nodes, values)
    if entity_type is not None and entity_type not in types:
        nodes.add_fault(values["entityType"], f"entityType {entity_type} is not among the messageTypes")
    return entity_type


def _read_entity_type(nodes: Nodes, values: dict[str, yaml.Node]) -> int | None:
    return nodes.read_number(values.get("entityType"), "entityType", 0, MAX_TYPE)
