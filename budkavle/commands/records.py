"""Print records: as tables on a terminal, and otherwise as lines of JSON for programs (decision 0044).

`rich` is imported only to print a table.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import click

from budkavle.commands.console import print_line
from budkavle.commands.progress import show_progress
from domain.subscriptions import COPENHAGEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from budkavle.commands.progress import Report

    Record = Mapping[str, Any]

ROWS = 500
"""Rows of a table. Longer lists are several tables, so that rows are printed while others are read."""

_GAP = 2
"""Spaces between two cells."""

_STYLES = {
    "blocked": "yellow",
    "delivered": "green",
    "parked": "red",
    "paused": "yellow",
    "problem": "red",
    "published": "green",
    "refused": "red",
    "rejected": "red",
    "revoked": "red",
    "skipped": "bright_black",
    "unknown": "yellow",
    "warning": "yellow",
    "ok": "green",
    "yes": "yellow",
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*\+00:00", re.ASCII)

json_option = click.option("--json", "as_json", is_flag=True, help="Print lines of JSON on a terminal too.")
"""The option of every command that prints records."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, and the key of its values in a record, or a function that returns them.

    If the terminal is too narrow, columns of high ranks are left out; those of rank 0 stay. A column with a `shortest`
    width is narrowed to it before others are left out: its texts are shortened, or wrapped if it `is_wrapped`.
    """

    heading: str
    value: str | Callable[[Any], object]
    rank: int = 0
    shortest: int | None = None
    is_wrapped: bool = False
    is_number: bool = False

    def render(self, record: Record) -> str:
        """Return the text of a cell. Its characters are printable, since values may come from receivers and callers."""
        value = record.get(self.value) if isinstance(self.value, str) else self.value(record)
        return render_value(value)


@dataclass(slots=True)
class RecordPrinter:
    """Prints records one by one: lines of JSON at once, rows of tables up to `ROWS` at a time.

    `noun` is the plural of what is listed.
    """

    columns: Sequence[Column]
    noun: str
    as_json: bool
    ensure_ascii: bool = False
    _rows: list[Record] = field(default_factory=list)
    _printed: int = 0
    _progress: ExitStack = field(default_factory=ExitStack)
    _report: Report | None = None

    @property
    def is_table(self) -> bool:
        """Return whether people read the output."""
        return is_for_people(as_json=self.as_json)

    def __enter__(self) -> Self:
        # A pipe may end in a program that prints on the same terminal.
        if sys.stderr.isatty() and stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
            self._report = self._progress.enter_context(show_progress(f"{self.noun.capitalize()} printed:"))
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.close()
        if not self.is_table:
            return
        self._print_rows()
        if exception[0] is None and not self._printed:
            print_line(f"No {self.noun}.")

    def print(self, record: Record, names: Mapping[str, str] = MappingProxyType({})) -> None:
        """Print a record. `names` has the names of systems by id, for tables."""
        if not self.is_table:
            print_line(json.dumps(record, ensure_ascii=self.ensure_ascii))
            self._printed += 1
            if self._report is not None and self._printed % ROWS == 0:
                self._report(self._printed)
            return
        self._rows.append(_add_system_name(record, names))
        if len(self._rows) == ROWS:
            self._print_rows()

    def _print_rows(self) -> None:
        if self._rows:
            print_table(self.columns, self._rows)
        self._printed += len(self._rows)
        self._rows = []


def is_for_people(*, as_json: bool = False) -> bool:
    """Return whether standard output is a terminal on which the caller did not ask for JSON.

    FORCE_COLOR does not count: it is often set for programs that read the output.
    """
    return not as_json and sys.stdout.isatty()


def print_records(
    columns: Sequence[Column],
    records: Iterable[Record],
    noun: str,
    names: Mapping[str, str] = MappingProxyType({}),
    *,
    as_json: bool = False,
) -> None:
    """Print a list of records."""
    with RecordPrinter(columns, noun, as_json) as printer:
        for record in records:
            printer.print(record, names)


def print_record(
    columns: Sequence[Column],
    record: Record,
    names: Mapping[str, str] = MappingProxyType({}),
    *,
    as_json: bool,
    ensure_ascii: bool = False,
) -> None:
    """Print one record: on a terminal with a line for each of its values."""
    if not is_for_people(as_json=as_json):
        print_line(json.dumps(record, ensure_ascii=ensure_ascii))
        return
    from rich.table import Table
    from rich.text import Text

    console = create_console()
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    named = _add_system_name(record, names)
    for column in columns:
        text = column.render(named)
        if text:
            cell = _make_encodable(console, text)
            grid.add_row(Text(column.heading, style="bold"), Text(cell, style=_choose_style(text)))
    console.print(grid)


def print_table(columns: Sequence[Column], records: Sequence[Record]) -> None:
    """Print a table on the terminal, and below it the headings for which it has no room."""
    console = create_console()
    cells = {column.heading: [_make_encodable(console, column.render(each)) for each in records] for column in columns}
    # A column without values would take the room of others.
    filled = [column for column in columns if column.rank == 0 or any(cells[column.heading])]
    naturals = {column.heading: _measure(column.heading, cells[column.heading]) for column in filled}
    shown = _select_columns(filled, naturals, console.width)
    console.print(_build_table(shown, cells, _share_width(shown, naturals, console.width), len(records)))
    notes = ["Times are Copenhagen time."] if any(map(_TIME.fullmatch, _list_cells(shown, cells))) else []
    if hidden := [column.heading for column in filled if column not in shown]:
        notes.append(f"Not shown at this width: {', '.join(hidden)}.")
    if notes:
        console.print(" ".join(notes), style="dim")


def describe_subscription(record: Record) -> str:
    """Return the identity of a subscription as options take it."""
    return f"{record['orgType']}/{record['orgCode']}/{record['entityType']}"


def _add_system_name(record: Record, names: Mapping[str, str]) -> Record:
    """Return a record with the name of its system or chain, or with the id of a system that is not in the catalogue."""
    system = record.get("system", record.get("chain"))
    return record if system is None else {**record, "systemName": names.get(system, system)}


def create_console() -> Console:
    """Return the terminal. Its width and colours follow COLUMNS, NO_COLOR and TERM."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def render_value(value: object) -> str:
    """Return a value of a record for people: a time in Copenhagen, "yes" for true, lists separated by commas."""
    match value:
        case None | False:
            return ""
        case True:
            return "yes"
        case list() | tuple() if not any(isinstance(each, dict) for each in value):
            return ", ".join(render_value(each) for each in value)
        case list() | tuple() | dict():
            return _escape(json.dumps(value, ensure_ascii=False)) if value else ""
    text = str(value)
    if _MOMENT.fullmatch(text):
        return f"{datetime.fromisoformat(text).astimezone(COPENHAGEN):%Y-%m-%d %H:%M:%S}"
    return _escape(text)


def _escape(text: str) -> str:
    """Return a text without characters that would control the terminal or reorder its text."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode() for each in text
    )


def _choose_style(text: str) -> str:
    """Return the style of a cell: that of the first of its values that has one."""
    return next((_STYLES[value] for value in text.split(", ") if value in _STYLES), "")


def _make_encodable(console: Console, text: str) -> str:
    return text.encode(console.encoding, "backslashreplace").decode(console.encoding)


def _list_cells(columns: Iterable[Column], cells: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for column in columns:
        yield from cells[column.heading]


def _measure(heading: str, cells: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, [heading, *cells]))


def _select_columns(columns: Sequence[Column], naturals: Mapping[str, int], width: int) -> list[Column]:
    """Return the columns that fit, in their order: those of low ranks first."""
    shown: set[str] = set()
    left = width + _GAP
    for column in sorted(columns, key=lambda each: each.rank):
        needed = _compute_minimum(column, naturals) + _GAP
        if column.rank == 0 or needed <= left:
            shown.add(column.heading)
            left -= needed
    return [column for column in columns if column.heading in shown]


def _compute_minimum(column: Column, naturals: Mapping[str, int]) -> int:
    natural = naturals[column.heading]
    return natural if column.shortest is None else min(natural, max(column.shortest, len(column.heading)))


def _share_width(shown: Sequence[Column], naturals: Mapping[str, int], width: int) -> dict[str, int]:
    """Return the widths of columns: the natural ones, and what remains is shared among the shortened ones."""
    widths = {column.heading: _compute_minimum(column, naturals) for column in shown}
    spare = width - sum(widths.values()) - _GAP * (len(shown) - 1)
    shortened = sorted(
        (each.heading for each in shown if each.shortest is not None), key=lambda heading: naturals[heading]
    )
    for left, heading in zip(range(len(shortened), 0, -1), shortened, strict=True):
        more = max(0, min(naturals[heading] - widths[heading], spare // left))
        widths[heading] += more
        spare -= more
    return widths


def _build_table(
    columns: Sequence[Column], cells: Mapping[str, Sequence[str]], widths: Mapping[str, int], rows: int
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), header_style="bold"
    )
    for column in columns:
        table.add_column(
            column.heading,
            width=widths[column.heading],
            justify="right" if column.is_number else "left",
            no_wrap=column.shortest is not None and not column.is_wrapped,
            overflow="fold" if column.shortest is None or column.is_wrapped else "ellipsis",
        )
    for row in range(rows):
        texts = [cells[column.heading][row] for column in columns]
        table.add_row(*(Text(text, style=_choose_style(text)) for text in texts))
    return table
