"""What a mock Open-E knows when it starts: accounts, users, families of flows, cases, and faults to come.

All of it is plain data. `budkavle mock-open-e --scenario FILE` reads one from YAML; Python tests make one themselves.
"""

from dataclasses import dataclass

from mock_open_e.behaviour.orders import Instance, Order


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may call, by HTTP Basic."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class User:
    """Somebody whom `principal/userID` may name, by `username`. `number` is what the messageapi calls userID."""

    username: str
    firstname: str = ""
    lastname: str = ""
    email: str = ""
    number: int = 1

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.firstname} {self.lastname}".strip()


@dataclass(frozen=True, slots=True)
class Status:
    """A status that a flow has, found by number or by alias."""

    number: int
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """A flow family. What is None is open: to every account, every status, every user and group as manager."""

    number: int
    name: str = "Flow"
    accounts: frozenset[str] | None = None
    statuses: tuple[Status, ...] | None = None
    managers: frozenset[str] | None = None
    manager_groups: frozenset[str] | None = None
    read_receipts: bool = True


@dataclass(frozen=True, slots=True)
class DeclaredCase:
    """A case that is there from the start, in one instance or, with None, in both."""

    number: int
    family: int | None = None
    instance: Instance | None = None
    status: int = 0
    managers: tuple[str, ...] = ()
    manager_groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole beginning.

    Without `accounts` nobody needs credentials; without `users` every userID is a user's; without `cases` every
    positive number is a case, created on first use. `allowed_families`: cases of other families, or of none, are not
    found. `strict` refuses what Open-E silently swallows.
    """

    accounts: tuple[Account, ...] = ()
    users: tuple[User, ...] | None = None
    families: tuple[Family, ...] = ()
    cases: tuple[DeclaredCase, ...] | None = None
    faults: tuple[Order, ...] = ()
    allowed_families: frozenset[int] | None = None
    strict: bool = False

    def user(self, username: str) -> User | None:
        """The user of that name, or None if there is none."""
        if self.users is None:
            return User(username)
        return next((user for user in self.users if user.username == username), None)

    def family(self, number: int | None) -> Family | None:
        """The declared family of that number."""
        return next((family for family in self.families if family.number == number), None)
