"""Declare functions as work for a database: a read, a write or a mark, and its cost (decision 0004).

The function that does the work is decorated, so its callers choose nothing: `Database.read` accepts only a `Read`,
`Database.write` only a `Write`, `Database.mark` only a `Mark`. Other work calls a declared function like any function,
with the connection of its own transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import sqlalchemy as sa

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Item = TypeVar("Item")

WorkFunction = Callable[Concatenate[sa.Connection, P], T]
BatchFunction = Callable[[sa.Connection, Sequence[Any]], Sequence[Any]]
"""Returns the results of the items in their order. A result that is an exception is raised for its item alone."""


class Cost(Enum):
    """The cost of work. Databases run costly work so that other callers do not wait for it."""

    SHORT = "a few quick statements"
    BULK = "quick statements that read or change many rows within the database"
    LARGE = "much data to transfer"
    LONG = "long computations, here or in the database"


@dataclass(frozen=True, slots=True, eq=False)
class _Work(Generic[P, T_co]):
    function: Callable[Concatenate[sa.Connection, P], T_co]
    cost: Cost = Cost.SHORT
    choose_cost: Callable[..., Cost] | None = None
    """Returns the cost for given arguments, if it depends on them."""
    is_of_queue: bool = False
    """Whether PostgreSQL must scan the indexes of the queue in order, as all marks do (decision 0011)."""

    def __call__(self, connection: sa.Connection, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Run the function within other work."""
        return self.function(connection, *args, **kwargs)

    def find_cost(self, *args: P.args, **kwargs: P.kwargs) -> Cost:
        """Return the cost for these arguments."""
        return self.cost if self.choose_cost is None else self.choose_cost(*args, **kwargs)


@dataclass(frozen=True, slots=True, eq=False)
class Read(_Work[P, T_co]):
    """Work that changes nothing. Each statement sees the data committed before it begins; if long, all see the same.

    With `batch`, one call may read the items of several callers.
    """

    batch: BatchFunction | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Write(_Work[P, T_co]):
    """Work that is one transaction. With `batch`, one call may write the items of several callers."""

    batch: BatchFunction | None = None
    is_one_statement: bool = False
    """Whether a batch is a single statement on PostgreSQL, which needs no transaction around it."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark(_Work[P, T_co]):
    """Short work that writes marks that expire: statements may commit one by one, and a crash may undo them."""


def short_read(function: WorkFunction[P, T]) -> Read[P, T]:
    """Declare a read of a few quick statements."""
    return Read(function)


def queue_read(function: WorkFunction[P, T]) -> Read[P, T]:
    """Declare a short read of due deliveries."""
    return Read(function, is_of_queue=True)


def batched_read(function: Callable[[sa.Connection, Sequence[Item]], Sequence[T | Exception]]) -> Read[[Item], T]:
    """Declare a short read of one item, which may run in one batch with the items that wait for the same work.

    The function receives all items of the batch and returns the result of each, in the order of the items. On
    PostgreSQL it must read them with as few statements as for one item. On SQLite it should return after a large
    result: it runs on the event loop, and the other items are then read one by one.
    """
    return Read(_adapt_to_items(function), batch=function)


def large_read(function: WorkFunction[P, T]) -> Read[P, T]:
    """Declare a read of much data."""
    return Read(function, Cost.LARGE)


def long_read(function: WorkFunction[P, T]) -> Read[P, T]:
    """Declare a read with long computations, whose statements all see the same snapshot."""
    return Read(function, Cost.LONG)


def read_with_cost(choose_cost: Callable[..., Cost]) -> Callable[[WorkFunction[P, T]], Read[P, T]]:
    """Declare a read whose cost depends on its arguments, which `choose_cost` receives."""
    return lambda function: Read(function, choose_cost=choose_cost)


def short_write(function: WorkFunction[P, T]) -> Write[P, T]:
    """Declare a write of a few quick statements."""
    return Write(function)


def queue_write(function: WorkFunction[P, T]) -> Write[P, T]:
    """Declare a short write of deliveries."""
    return Write(function, is_of_queue=True)


def large_queue_write(function: WorkFunction[P, T]) -> Write[P, T]:
    """Declare a write that may read many deliveries."""
    return Write(function, Cost.LARGE, is_of_queue=True)


def bulk_write(function: WorkFunction[P, T]) -> Write[P, T]:
    """Declare a write that changes many rows."""
    return Write(function, Cost.BULK)


def large_write(function: WorkFunction[P, T]) -> Write[P, T]:
    """Declare a write of much data."""
    return Write(function, Cost.LARGE)


def long_write(function: WorkFunction[P, T]) -> Write[P, T]:
    """Declare a write with long computations."""
    return Write(function, Cost.LONG)


def write_with_cost(choose_cost: Callable[..., Cost]) -> Callable[[WorkFunction[P, T]], Write[P, T]]:
    """Declare a write whose cost depends on its arguments, which `choose_cost` receives."""
    return lambda function: Write(function, choose_cost=choose_cost)


def batched_write(function: Callable[[sa.Connection, Sequence[Item]], Sequence[T | Exception]]) -> Write[[Item], T]:
    """Declare a short write of one item, which runs in one batch with the items that wait for the same work.

    The function receives all items of the batch and must write them with as few statements as for one item. It returns
    the result of each, in the order of the items. If it raises, it is called again for each item alone, and an error
    reaches only the caller of its item.
    """
    return Write(_adapt_to_items(function), batch=function, is_one_statement=True)


def batched_transaction(
    function: Callable[[sa.Connection, Sequence[Item]], Sequence[T | Exception]],
) -> Write[[Item], T]:
    """Declare a short write as `batched_write` does, but one that needs several statements on PostgreSQL too."""
    return Write(_adapt_to_items(function), batch=function)


def _adapt_to_items(
    function: Callable[[sa.Connection, Sequence[Item]], Sequence[T | Exception]],
) -> WorkFunction[[Item], T]:
    def run_for_one(connection: sa.Connection, item: Item) -> T:
        [result] = function(connection, [item])
        if isinstance(result, Exception):
            raise result
        return result

    return run_for_one


def mark(function: WorkFunction[P, T]) -> Mark[P, T]:
    """Declare a short write of marks that expire."""
    return Mark(function)
