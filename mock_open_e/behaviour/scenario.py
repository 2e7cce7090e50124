"""The initial state of a mock Open-E: accounts, users, families of flows, cases, and ordered faults.

A scenario is plain data. `budkavle mock-open-e --scenario FILE` reads one from YAML; Python tests construct one.
"""

from dataclasses import dataclass, field

from mock_open_e.behaviour.conditions import Conditions
from mock_open_e.behaviour.orders import Instance, Order


@dataclass(frozen=True, slots=True)
class Account:
    """An account for HTTP Basic."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class User:
    """A user that `principal/userID` may contain, by `username`. `number` is the userID of the messageapi."""

    username: str
    firstname: str = ""
    lastname: str = ""
    email: str = ""
    number: int = 1

    @property
    def name(self) -> str:
        """The first and last name."""
        return f"{self.firstname} {self.lastname}".strip()


@dataclass(frozen=True, slots=True)
class Status:
    """A status of a flow, found by number or by alias."""

    number: int
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A flow family. None means unrestricted: all accounts, statuses, or users and groups as managers."""

    number: int
    name: str = "Flow"
    accounts: frozenset[str] | None = None
    statuses: tuple[Status, ...] | None = None
    managers: frozenset[str] | None = None
    manager_groups: frozenset[str] | None = None
    read_receipts: bool = True


@dataclass(frozen=True, slots=True)
class DeclaredCase:
    """A case that exists from the start, in one instance or, with None, in both."""

    number: int
    family: int | None = None
    instance: Instance | None = None
    status: int = 0
    managers: tuple[str, ...] = ()
    manager_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A complete initial state.

    Without `accounts`, calls need no credentials. Without `users`, every userID belongs to a user. Without `cases`,
    every positive number is a case, created on first use. With `allowed_families`, cases of other families, or of none,
    are not found. `strict` rejects what Open-E silently ignores. `external` and `internal` are the conditions of the
    two instances.
    """

    accounts: tuple[Account, ...] = ()
    users: tuple[User, ...] | None = None
    families: tuple[Family, ...] = ()
    cases: tuple[DeclaredCase, ...] | None = None
    faults: tuple[Order, ...] = ()
    allowed_families: frozenset[int] | None = None
    strict: bool = False
    external: Conditions = field(default_factory=Conditions)
    internal: Conditions = field(default_factory=Conditions)

    def user(self, username: str) -> User | None:
        """Return the user with that name, or None."""
        if self.users is None:
            return User(username)
        return next((user for user in self.users if user.username == username), None)

    def family(self, number: int | None) -> Family | None:
        """Return the declared family with that number, or None."""
        return next((family for family in self.families if family.number == number), None)
