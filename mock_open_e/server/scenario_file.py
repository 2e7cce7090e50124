"""Parse the file with the initial state of a mock Open-E: a scenario in YAML."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeVar

import yaml

from mock_open_e import (
    FAULT_NAMES,
    INSTANCES,
    OPERATION_NAMES,
    Account,
    Conditions,
    DeclaredCase,
    Family,
    Order,
    Scenario,
    Status,
    User,
)
from mock_open_e.behaviour.conditions import LONGEST_SECONDS, MOST_TAKEN_IDS, is_time_zone
from openapi.yaml_nodes import Nodes, quote_text

MAX_INT = 2147483647
MAX_SECONDS = 3600

_SECTIONS = ("strict", "credentials", "users", "families", "allowedFamilies", "cases", "faults", "conditions")
_SECONDS = re.compile(r"-?[0-9]{1,5}(\.[0-9]{1,6})?", re.ASCII)

_Choice = TypeVar("_Choice", bound=str)


def read_scenario(path: Path) -> Scenario:
    """Return the scenario in a file. Raises `FileWrong` with all faults and their lines."""
    nodes, document = Nodes.read(path)
    scenario = Scenario() if document is None else _Reader(nodes).read(document)
    nodes.raise_faults("the scenario is invalid; the mock did not start")
    return scenario


class _Reader:
    """Parses a scenario, and checks references to other parts of it."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._accounts: dict[str, Account] = {}
        self._users: dict[str, User] | None = None
        self._families: dict[int, Family] = {}
        self._cases: dict[tuple[str, int], DeclaredCase] | None = None

    def read(self, document: yaml.Node) -> Scenario:
        """Return the scenario, which is unusable if any fault was found."""
        nodes = self._nodes
        sections = nodes.read_mapping(document, "the scenario", (), _SECTIONS)
        for node in nodes.read_sequence(sections.get("credentials"), "credentials"):
            self._read_account(node)
        if "users" in sections:
            self._users = {}
            for number, node in enumerate(nodes.read_sequence(sections["users"], "users"), 1):
                self._read_user(node, number)
        seen: dict[str, yaml.Node] = {}
        for node in nodes.read_sequence(sections.get("families"), "families"):
            self._read_family(node, seen)
        if "cases" in sections:
            self._cases = {}
            seen = {}
            for node in nodes.read_sequence(sections["cases"], "cases"):
                self._read_case(node, seen)
        allowed = [
            self._read_family_number(node, "allowedFamilies")
            for node in nodes.read_sequence(sections.get("allowedFamilies"), "allowedFamilies")
        ]
        conditions = (
            nodes.read_mapping(sections["conditions"], "conditions", (), INSTANCES) if "conditions" in sections else {}
        )
        faults = [self._read_fault(node) for node in nodes.read_sequence(sections.get("faults"), "faults")]
        return Scenario(
            accounts=tuple(self._accounts.values()),
            users=None if self._users is None else tuple(self._users.values()),
            families=tuple(self._families.values()),
            cases=None if self._cases is None else tuple(self._cases.values()),
            faults=tuple(fault for fault in faults if fault is not None),
            allowed_families=frozenset(n for n in allowed if n is not None) if "allowedFamilies" in sections else None,
            strict=nodes.read_flag(sections.get("strict"), "strict"),
            **{instance: self._conditions(node) for instance, node in conditions.items()},
        )

    def _read_account(self, node: yaml.Node) -> None:
        values = self._nodes.read_mapping(node, "credentials", ("username", "password"))
        username = self._nodes.read_text(values.get("username"), "username")
        password = self._nodes.read_text(values.get("password"), "password", is_secret=True)
        if username is not None and ":" in username:
            self._nodes.add_fault(values["username"], "username must not contain a colon, which HTTP Basic reserves")
        elif username is not None and username in self._accounts:
            self._nodes.add_fault(values["username"], f"username {quote_text(username)} is a duplicate")
        elif username is not None:
            self._accounts[username] = Account(username, password or "")

    def _read_user(self, node: yaml.Node, number: int) -> None:
        assert self._users is not None  # noqa: S101  # Its caller has just made it.
        values = self._nodes.read_mapping(node, "a user", ("username",), ("firstname", "lastname", "email"))
        texts = {name: self._nodes.read_text(value, name) or "" for name, value in values.items()}
        username = texts.pop("username", "")
        if username in self._users:
            self._nodes.add_fault(values["username"], f"username {quote_text(username)} is a duplicate")
        elif username:
            self._users[username] = User(username, number=number, **texts)

    def _read_family(self, node: yaml.Node, seen: dict[str, yaml.Node]) -> None:
        nodes = self._nodes
        optional = ("accounts", "statuses", "managers", "managerGroups", "readReceipts")
        values = nodes.read_mapping(node, "a family", ("number", "name"), optional)
        number = nodes.read_number(values.get("number"), "number", 1, MAX_INT)
        name = nodes.read_text(values.get("name"), "name")
        family = Family(
            number or 0,
            name or "",
            accounts=self._read_names(values, "accounts", self._accounts),
            statuses=self._read_statuses(values.get("statuses")),
            managers=self._read_names(values, "managers", self._users),
            manager_groups=self._read_names(values, "managerGroups", None),
            read_receipts="readReceipts" not in values or nodes.read_flag(values["readReceipts"], "readReceipts"),
        )
        if number is not None and nodes.is_first(values["number"], f"family {number}", seen):
            self._families[number] = family

    def _read_statuses(self, section: yaml.Node | None) -> tuple[Status, ...] | None:
        if section is None:
            return None
        statuses = []
        seen: dict[str, yaml.Node] = {}
        for node in self._nodes.read_sequence(section, "statuses"):
            values = self._nodes.read_mapping(node, "a status", ("number",), ("alias",))
            number = self._nodes.read_number(values.get("number"), "number", 1, MAX_INT)
            alias = self._nodes.read_text(values.get("alias"), "alias")
            if number is not None and self._nodes.is_first(values["number"], f"status {number}", seen):
                statuses.append(Status(number, alias))
        return tuple(statuses)

    def _read_names(
        self, values: Mapping[str, yaml.Node], key: str, known: Collection[str] | None
    ) -> frozenset[str] | None:
        """Return the names in a list. If any are declared, all of them must be."""
        if key not in values:
            return None
        return frozenset(self._list_of_names(values[key], key, known))

    def _list_of_names(self, section: yaml.Node | None, key: str, known: Collection[str] | None) -> list[str]:
        names = []
        for node in self._nodes.read_sequence(section, key):
            name = self._nodes.read_text(node, f"each of {key}")
            if name is not None and known is not None and name not in known:
                where = "credentials" if key == "accounts" else "users"
                self._nodes.add_fault(node, f"{key}: {quote_text(name)} is not among the {where}")
            elif name is not None:
                names.append(name)
        return names

    def _read_family_number(self, node: yaml.Node | None, name: str) -> int | None:
        number = self._nodes.read_number(node, name, 1, MAX_INT)
        if node is not None and number is not None and number not in self._families:
            self._nodes.add_fault(node, f"{name}: {number} is not among the families")
        return number

    def _read_case(self, node: yaml.Node, seen: dict[str, yaml.Node]) -> None:
        assert self._cases is not None  # noqa: S101  # Its caller has just made it.
        nodes = self._nodes
        optional = ("family", "instance", "status", "managers", "managerGroups")
        values = nodes.read_mapping(node, "a case", ("number",), optional)
        number = nodes.read_number(values.get("number"), "number", 1, MAX_INT)
        family = self._read_family_number(values.get("family"), "family")
        instance = self._read_choice(values.get("instance"), "instance", INSTANCES)
        status = nodes.read_number(values.get("status"), "status", 1, MAX_INT)
        statuses = None if family is None or family not in self._families else self._families[family].statuses
        if statuses is not None and status is not None and status not in {each.number for each in statuses}:
            nodes.add_fault(values["status"], f"status {status} is not among the statuses of family {family}")
        managers = self._list_of_names(values.get("managers"), "managers", self._users)
        groups = self._list_of_names(values.get("managerGroups"), "managerGroups", None)
        if number is None:
            return
        for each in INSTANCES if instance is None else (instance,):
            if nodes.is_first(values["number"], f"case {number} of the {each} instance", seen):
                case = DeclaredCase(number, family, each, status or 0, tuple(managers), tuple(groups))
                self._cases[each, number] = case

    def _read_fault(self, node: yaml.Node) -> Order | None:
        nodes = self._nodes
        optional = ("times", "every", "seconds", "operation", "case", "instance")
        values = nodes.read_mapping(node, "a fault", ("fault",), optional)
        fault = self._read_choice(values.get("fault"), "fault", FAULT_NAMES)
        times = nodes.read_number(values.get("times"), "times", 1, MAX_INT)
        every = nodes.read_number(values.get("every"), "every", 1, MAX_INT)
        seconds = self._read_seconds(values.get("seconds"), "seconds", 0, MAX_SECONDS, 1.0)
        operation = self._read_choice(values.get("operation"), "operation", OPERATION_NAMES)
        case = nodes.read_number(values.get("case"), "case", 1, MAX_INT)
        instance = self._read_choice(values.get("instance"), "instance", INSTANCES)
        is_known = self._cases is None or case is None or any(number == case for _, number in self._cases)
        if not is_known:
            nodes.add_fault(values["case"], f"case {case} is not among the cases")
        if fault is None:
            return None
        times = 1 if times is None and "every" not in values else times
        return Order(fault, times, seconds, every or 1, operation, case, instance)

    def _conditions(self, node: yaml.Node) -> Conditions:
        nodes = self._nodes
        values = nodes.read_mapping(
            node, "the conditions of an instance", (), ("clockSeconds", "timeZone", "staleSeconds", "takenIds")
        )
        zone = nodes.read_text(values.get("timeZone"), "timeZone")
        if zone is not None and not is_time_zone(zone):
            nodes.add_fault(
                values["timeZone"], f"timeZone: {quote_text(zone)} is not an IANA time zone that this machine knows"
            )
            zone = None
        return Conditions(
            self._read_seconds(values.get("clockSeconds"), "clockSeconds", -LONGEST_SECONDS, LONGEST_SECONDS, 0.0),
            zone,
            self._read_seconds(values.get("staleSeconds"), "staleSeconds", 0, LONGEST_SECONDS, 0.0),
            nodes.read_number(values.get("takenIds"), "takenIds", 0, MOST_TAKEN_IDS) or 0,
        )

    def _read_seconds(self, node: yaml.Node | None, name: str, lowest: int, highest: int, default: float) -> float:
        if node is None:
            return default
        if isinstance(node, yaml.ScalarNode) and _SECONDS.fullmatch(node.value):
            seconds = float(node.value)
            if lowest <= seconds <= highest:
                return seconds
        self._nodes.add_fault(node, f"{name} must be a number from {lowest} to {highest}")
        return default

    def _read_choice(self, node: yaml.Node | None, name: str, choices: Collection[_Choice]) -> _Choice | None:
        text = self._nodes.read_text(node, name)
        found = next((choice for choice in choices if choice == text), None)
        if node is not None and text is not None and found is None:
            self._nodes.add_fault(node, f"{name} must be one of {', '.join(choices)}")
        return found
